"""A discrete gripper beside a continuous arm: double DQN, its penalty, its exploration, and a task that it solves."""

import dataclasses
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor

from controllers.reference import ToolDelta
from robo_rl.agents.gripper import GraspConfig, GraspCritic, GripperEntry
from robo_rl.agents.mailbox import PolicyMailbox
from robo_rl.agents.perturbation import PerturbationConfig
from robo_rl.agents.sac import SAC, SACConfig
from robo_rl.contracts.learning import Batch
from robo_rl.errors import UserError

OBSERVATIONS = gymnasium.spaces.Dict(state=gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32))
ACTIONS = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
SWITCH = GripperEntry(switch=True, observed=("state", 1))
OBS = {"state": torch.tensor([[0.5, 1.0], [-0.5, -1.0], [0.0, 1.0]])}


def agent(entry: GripperEntry | None = SWITCH, *, seed: int = 0, **settings: object) -> SAC:
    config = SACConfig(**({"critics": 2, "hidden": (16, 16), "gripper": "discrete"} | settings))
    return SAC(OBSERVATIONS, ACTIONS, config, seed=seed, gripper=entry)


def batch(rows: int = 64, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    state, after = torch.randn(2, rows, 2, generator=g)
    action = torch.rand(rows, 2, generator=g) * 2 - 1
    reward, discount = torch.rand(2, rows, generator=g)
    return Batch({"state": state}, action, reward, {"state": after}, discount)


@given(st.floats(-1.0, 1.0), st.floats(0.0, 0.08))
def test_a_choice_is_what_the_switch_makes_of_the_entry(entry: float, before: float) -> None:
    delta = ToolDelta(translation=0.01, gripper=True, max_width=0.08, switch=True)
    as_entry = SWITCH.values[int(SWITCH.choice(torch.tensor([entry]))[0])]
    widths = [
        float(delta.apply(np.array([0, 0, 0, e]), np.zeros(3), np.eye(3), np.array([before]))[2][0])
        for e in (entry, as_entry)
    ]
    assert widths[0] == widths[1]


def test_only_what_moves_the_gripper_is_a_change() -> None:
    choice = torch.tensor([0, 0, 1, 1, 2, 2])
    command = torch.tensor([1.0, -1.0, 1.0, -1.0, 1.0, -1.0])
    assert SWITCH.changes(choice, command).tolist() == [True, False, False, False, False, True]
    opening = GripperEntry(switch=False)
    assert opening.values == (-1.0, 1.0)
    assert opening.choice(torch.tensor([-0.3, 0.3])).tolist() == [0, 1]
    assert opening.changes(torch.tensor([0, 0, 1, 1]), torch.tensor([1.0, -1.0, 1.0, -1.0])).tolist() == [
        True, False, False, True,
    ]  # fmt: skip


def critic(**settings: object) -> GraspCritic:
    config = SACConfig(hidden=(), gripper="discrete", **settings)
    return GraspCritic(SWITCH, 1, config, generator=torch.Generator().manual_seed(0), device=torch.device("cpu"))


def set_values(network: torch.nn.Module, values: list[float]) -> None:
    with torch.no_grad():
        network.layers[-1].weight.zero_()
        network.layers[-1].bias.copy_(torch.tensor(values))


def test_the_target_is_that_of_double_dqn() -> None:
    grasp = critic()
    set_values(grasp.network, [0.0, 3.0, 1.0])  # the online network takes the second
    set_values(grasp.target_network, [9.0, 0.5, 7.0])  # whose value is the target network's, not its own maximum
    reward, discount = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.9])
    changed = torch.tensor([True, False])
    target = grasp.target(reward, discount, torch.zeros(2, 1), changed)
    assert target.tolist() == pytest.approx([1.0 - 0.02, 0.9 * 0.5])
    bounded = critic(q_bounds=(0.0, 1.0))
    set_values(bounded.target_network, [9.0, 9.0, 9.0])
    assert bounded.target(reward, discount, torch.zeros(2, 1), changed).tolist() == pytest.approx([0.98, 1.0])
    assert bounded.target(-reward, 0 * discount, torch.zeros(2, 1), changed).tolist() == pytest.approx([-1.02, 0.0])


def test_the_penalty_is_the_grasp_critics_alone() -> None:
    """Nothing is rewarded and every step is the last: all values of the arm are 0, a change costs the penalty."""
    sac = agent(critic_lr=3e-3, grasp=GraspConfig(penalty=0.5))
    g = torch.Generator().manual_seed(0)
    for _ in range(300):
        command = torch.randint(2, (64,), generator=g) * 2.0 - 1.0
        state = torch.stack([torch.rand(64, generator=g), command], dim=1)
        action = torch.stack([torch.rand(64, generator=g), torch.randint(3, (64,), generator=g) - 1.0], dim=1)
        sac.update(Batch({"state": state}, action, torch.zeros(64), {"state": state}, torch.zeros(64)), utd=1)
    opened, closed = torch.tensor([[0.5, 1.0]]), torch.tensor([[0.5, -1.0]])
    assert sac.grasp is not None
    assert sac.grasp.network(opened)[0].tolist() == pytest.approx([-0.5, 0.0, 0.0], abs=0.08)
    assert sac.grasp.network(closed)[0].tolist() == pytest.approx([0.0, 0.0, -0.5], abs=0.08)
    inputs = torch.cat([opened, torch.zeros(1, 1)], dim=1)
    assert sac.critic(inputs).abs().max().item() < 0.08


def test_the_last_entry_is_a_choice_and_exploring_draws_others() -> None:
    sac = agent(grasp=GraspConfig(epsilon=0.3))
    assert sac.target_entropy == -0.5  # of the arm's one action
    set_values(sac.grasp.network, [0.0, 0.0, 1.0])
    many = {"state": torch.zeros(4000, 2)}
    assert sac.act(many, explore=False)[:, -1].unique().tolist() == [1.0]
    explored = sac.act(many, explore=True)
    share = torch.tensor([(explored[:, -1] == value).float().mean() for value in SWITCH.values])
    assert share.tolist() == pytest.approx([0.1, 0.1, 0.8], abs=0.03)
    assert explored[:, 0].std() > 0.1
    never = agent(grasp=GraspConfig(epsilon=0.0))
    assert torch.equal(never.act(OBS, explore=True)[:, -1], never.act(OBS, explore=False)[:, -1])


def test_boltzmann_draws_by_value() -> None:
    sac = agent(grasp=GraspConfig(exploration="boltzmann", temperature=0.5))
    set_values(sac.grasp.network, [0.0, 0.5, 1.0])
    drawn = sac.act({"state": torch.zeros(8000, 2)}, explore=True)[:, -1]
    share = torch.tensor([(drawn == value).float().mean() for value in SWITCH.values])
    assert share.tolist() == pytest.approx(torch.tensor([0.0, 1.0, 2.0]).softmax(0).tolist(), abs=0.03)


@pytest.mark.parametrize("choice", ["off", "greedy"])
def test_the_mailbox_acts_as_the_agent_does_and_with_weights_of_its_own(choice: str) -> None:
    from robo_rl.agents.imitation import IBRLConfig

    sac, twin = (agent(ibrl=IBRLConfig(choice=choice), grasp=GraspConfig(epsilon=0.5)) for _ in range(2))
    mailbox = PolicyMailbox(sac)
    first = mailbox.act(OBS, explore=False)
    for seed in range(3):
        sac.update(batch(seed=seed), utd=2)
        twin.update(batch(seed=seed), utd=2)
    assert torch.equal(mailbox.act(OBS, explore=False), first)
    mailbox.publish()
    mailbox.adopt()
    for explore in (False, True, True):
        assert torch.equal(mailbox.act(OBS, explore=explore), twin.act(OBS, explore=explore))


def test_goes_on_bit_for_bit_after_save_and_load(tmp_path) -> None:
    sac, other = agent(), agent(seed=1)
    sac.update(batch(), utd=2)
    save_file(sac.state_dict(), tmp_path / "sac.safetensors")
    other.load_state_dict(load_file(tmp_path / "sac.safetensors"))
    for one in (sac, other):
        one.update(batch(seed=1), utd=2)
    for name, value in sac.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
    third = agent(seed=2)
    third.load_policy_state(sac.policy_state())
    assert torch.equal(third.act(OBS, explore=False), sac.act(OBS, explore=False))
    plain = SAC(OBSERVATIONS, ACTIONS, SACConfig(critics=2, hidden=(16, 16)))
    with pytest.raises(UserError, match="of another agent"):
        plain.load_policy_state(sac.policy_state())


def test_images_are_seen_by_the_grasp_critic_and_not_moved_by_it() -> None:
    space = gymnasium.spaces.Dict(
        {
            "camera.front.rgb": gymnasium.spaces.Box(0, 255, (32, 32, 3), np.uint8),
            "proprio": gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32),
        }
    )
    config = SACConfig(critics=2, hidden=(16,), gripper="discrete")
    sac = SAC(space, ACTIONS, config, gripper=GripperEntry(True, ("proprio", 1)))
    g = torch.Generator().manual_seed(0)
    obs, after = (
        {
            "camera.front.rgb": torch.randint(256, (8, 32, 32, 3), generator=g, dtype=torch.uint8),
            "proprio": torch.randn(8, 2, generator=g),
        }
        for _ in range(2)
    )
    sac.update(Batch(obs, torch.rand(8, 2, generator=g), torch.zeros(8), after, torch.ones(8)), utd=2)
    assert sac.act(obs, explore=False).shape == (8, 2)
    before = [p.clone() for p in sac.encoder.parameters()]
    encoded = sac._features(Batch(obs, torch.rand(8, 2, generator=g), torch.ones(8), after, torch.ones(8)))
    for parameter in sac.encoder.parameters():
        parameter.grad = None
    sac.grasp.update(encoded)
    assert all(p.grad is None for p in sac.encoder.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, sac.encoder.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gripper": "continuous", "grasp": GraspConfig(penalty=0.1)}, "gripper to discrete"),
        ({"gripper": "discrete", "perturb": PerturbationConfig(every=10)}, "not perturbed"),
    ],
)
def test_what_does_not_go_together_is_refused(settings: dict, said: str) -> None:
    with pytest.raises(UserError, match=said):
        SACConfig(**settings)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UserError, match="move no gripper"):
        agent(None)
    with pytest.raises(UserError, match="observed_gripper"):
        agent(GripperEntry(switch=True))
    agent(GripperEntry(switch=True), grasp=GraspConfig(penalty=0.0)).update(batch(), utd=1)
    for wrong in ({"penalty": -1.0}, {"epsilon": 1.1}, {"temperature": 0.0, "exploration": "boltzmann"}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            GraspConfig(**wrong)
    with pytest.raises(UserError, match="does nothing"):
        GraspConfig(temperature=1.0)
    with pytest.raises(UserError, match="does nothing"):
        GraspConfig(exploration="boltzmann", epsilon=0.5)


def test_a_task_says_which_entry_it_is() -> None:
    delta = ToolDelta(translation=0.01, gripper=True, max_width=0.08, switch=True)
    env = SimpleNamespace(
        task=SimpleNamespace(tool_delta=delta, observed_gripper={"state": 1}), observation_space=OBSERVATIONS
    )
    assert GripperEntry.of(env) == SWITCH
    env.task.tool_delta = dataclasses.replace(delta, gripper=False)
    assert GripperEntry.of(env) is None
    assert GripperEntry.of(SimpleNamespace(observation_space=OBSERVATIONS)) is None


class Grasping:
    """A finger over a line: go to 0 (within 0.15), then close; who closes elsewhere has to open to try again."""

    horizon = 12

    def __init__(self, seed: int) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def play(self, act) -> Tensor:
        """Return rows of state 2, action 2, reward, next state 2, discount."""
        x, command, rows = 2 * torch.rand((), generator=self.generator) - 1, torch.tensor(1.0), []
        for _ in range(self.horizon):
            state = torch.stack([x, command])
            action = act(state)
            entry = SWITCH.values[int(SWITCH.choice(action[1:])[0])]
            now = command if entry == 0.0 else torch.tensor(entry)
            done = (x.abs() < 0.15) & (command > 0) & (now < 0)
            command, x = now, (x + 0.3 * action[0]).clamp(-1.5, 1.5)
            after = torch.stack([x, command])
            rows.append(torch.cat([state, action, done.float()[None], after, 0.9 * (~done).float()[None]]))
            if done:
                break
        return torch.stack(rows)


def solved(*, shuffled: bool, seed: int = 0) -> float:
    """Success rate of the mode after some hundred episodes, some of them shown; ``shuffled`` learns wrong grips."""
    sac = agent(
        seed=seed, hidden=(32, 32), critic_lr=2e-3, actor_lr=2e-3, q_bounds=(0.0, 1.0),
        grasp=GraspConfig(epsilon=0.1),
    )  # fmt: skip
    world, g = Grasping(seed), torch.Generator().manual_seed(seed)

    def expert(state: Tensor) -> Tensor:
        near = state[0].abs() < 0.1
        grip = torch.tensor(1.0) if state[1] < 0 else torch.where(near, -1.0, 0.0)
        return torch.stack([(-state[0] / 0.3).clamp(-1, 1), grip])

    def policy(explore: bool):
        return lambda state: sac.act({"state": state[None]}, explore=explore)[0]

    memory = torch.cat([world.play(expert) for _ in range(20)])
    for _ in range(60):
        memory = torch.cat([memory, world.play(policy(True))])
        for _ in range(8):
            rows = memory[torch.randint(len(memory), (128,), generator=g)]
            action = rows[:, 2:4].clone()
            if shuffled:
                action[:, 1] = action[torch.randperm(128, generator=g), 1]
            sac.update(Batch({"state": rows[:, :2]}, action, rows[:, 4], {"state": rows[:, 5:7]}, rows[:, 7]), utd=1)
    test = Grasping(1000)
    return sum(test.play(policy(False))[-1, 4].item() for _ in range(40)) / 40


def test_it_learns_where_to_grasp() -> None:
    assert solved(shuffled=False) >= 0.9


def test_it_does_not_from_the_grips_of_other_steps() -> None:
    assert solved(shuffled=True) <= 0.5
