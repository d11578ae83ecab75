"""Compiled updates: the same numbers as plain ones, and plain ones where nothing can be compiled."""

from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch

from robo_rl.agents.compilation import Compiler
from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
BFLOAT16 = pytest.mark.skipif(
    not torch.ops.mkldnn._is_mkldnn_bf16_supported(), reason="this processor has no bfloat16 products"
)


def agent(device: str = "cpu", **settings: object) -> SAC:
    small = {"critics": 3, "hidden": (16, 16)}
    return SAC(OBSERVATIONS, ACTIONS, SACConfig(**(small | settings)), device=device)


def batch(n: int = 32, seed: int = 0, device: str = "cpu") -> Batch:
    g = torch.Generator().manual_seed(seed)
    state, after = torch.randn(2, n, 3, generator=g).to(device)
    action = (torch.rand(n, 2, generator=g) * 2 - 1).to(device)
    reward, discount = torch.rand(2, n, generator=g).to(device)
    return Batch({"state": state}, action, reward, {"state": after}, discount)


def learn_alike(plain: SAC, quick: SAC, *, tolerance: float, device: str = "cpu") -> None:
    """Both learn the same: metrics, weights, target weights and the optimiser's moments."""
    for seed in range(3):
        data = batch(seed=seed, device=device)
        one, other = plain.update(data, utd=4), quick.update(data, utd=4)
        for name, value in one.items():
            torch.testing.assert_close(value, other[name], rtol=tolerance, atol=tolerance)
    one, other = plain.state_dict(), quick.state_dict()
    assert one.keys() == other.keys()
    for name, value in one.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, other[name], rtol=10 * tolerance, atol=tolerance, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"entropy_backup": True, "actor_q": "min"},
        {"hl_gauss": True, "q_bounds": (0.0, 1.0), "critic_dropout": 0.2, "perturb": PerturbationConfig(every=5)},
        pytest.param({"critic_norm": "none", "bfloat16": True}, marks=BFLOAT16),
    ],
    ids=["plain", "hl_gauss_dropout_perturb", "bfloat16"],
)
def test_it_learns_the_same(settings: dict[str, object], recwarn: pytest.WarningsRecorder) -> None:
    quick = agent(compile=True, **settings)
    learn_alike(agent(**settings), quick, tolerance=0.02 if settings.get("bfloat16") else 1e-4)
    assert quick.critic_step._compiler.works
    assert not [w for w in recwarn if "not compiled" in str(w.message)]


@pytest.mark.gpu
@pytest.mark.parametrize("settings", [{}, {"hl_gauss": True, "q_bounds": (0.0, 1.0)}])
def test_it_learns_the_same_by_cuda_graphs(settings: dict[str, object]) -> None:
    quick = agent("cuda", compile=True, **settings)
    learn_alike(agent("cuda", **settings), quick, tolerance=1e-3, device="cuda")
    assert quick.critic_step._compiler.works


def no_compiler(function: Callable[..., object], **_: object) -> Callable[..., object]:
    def call(*_: object) -> object:
        raise RuntimeError("there is no C++ compiler here\nand more")

    return call


def test_where_it_cannot_be_compiled_it_says_why_once_and_learns_all_the_same(monkeypatch) -> None:
    monkeypatch.setattr(torch, "compile", no_compiler)
    quick, plain = agent(compile=True), agent()
    with pytest.warns(UserWarning, match="not compiled: there is no C[^\n]*$") as said:
        quick.update(batch(), utd=4)
    quick.update(batch(), utd=4)
    assert len(said) == 1
    plain.update(batch(), utd=4)
    plain.update(batch(), utd=4)
    one, other = plain.state_dict(), quick.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_graph_that_fails_later_stops_them_all_and_nothing_is_learned_twice(monkeypatch) -> None:
    """The policy's functions are compiled here, the critics' is not."""

    def only_the_policy(function: Callable[..., object], **options: object) -> Callable[..., object]:
        return no_compiler(function) if function.__name__ == "_traced" else function

    monkeypatch.setattr(torch, "compile", only_the_policy)
    quick, plain = agent(compile=True), agent()
    with pytest.warns(UserWarning, match="not compiled"):
        quick.update(batch(), utd=4)
    plain.update(batch(), utd=4)
    one, other = plain.state_dict(), quick.state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_one_graph_learns_the_same_uncompiled(monkeypatch) -> None:
    """What is compiled, run as it is: gradient, Adam and target critics in one function."""
    monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    for settings in ({}, {"critic_norm": "none"}, {"critic_dropout": 0.2}):
        learn_alike(agent(**settings), agent(compile=True, **settings), tolerance=1e-5)


def test_what_is_returned_is_the_caller_s_where_graphs_are_recorded(monkeypatch) -> None:
    kept = torch.zeros(2)
    monkeypatch.setattr(torch, "compile", lambda function, mode, **_: function if mode == "reduce-overhead" else None)
    found, none = Compiler(torch.device("cuda"), wanted=True).of(lambda: (kept, None))()
    assert none is None
    assert found is not kept
    assert torch.equal(found, kept)


@pytest.mark.parametrize("settings", [{"optimiser": "adan"}, {"critic_norm": "batch"}, {"critic_norm": "weight"}])
def test_what_cannot_be_compiled_is_refused_in_one_line(settings: dict[str, object]) -> None:
    with pytest.raises(UserError, match=r"compile: .* cannot be compiled; leave it out") as refused:
        agent(compile=True, **settings)
    assert "\n" not in str(refused.value)
