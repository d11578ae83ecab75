"""TorchRL's REDQ and replay memory."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from tensordict import TensorDict
from tensordict.nn import NormalParamExtractor, TensorDictModule
from timing import Setup, Work, serve
from torch import nn
from torchrl.data import LazyTensorStorage, TensorDictReplayBuffer
from torchrl.data.tensor_specs import Bounded
from torchrl.modules import MLP, ProbabilisticActor, TanhNormal, ValueOperator
from torchrl.objectives import REDQLoss, SoftUpdate

SETUP = Setup.read()


def memory(count: int, *, images: bool) -> TensorDictReplayBuffer:
    """A full buffer."""

    def observed(rows: int) -> dict[str, torch.Tensor]:
        found = {"observation": torch.randn(rows, SETUP.obs)}
        for i in range(SETUP.cameras if images else 0):
            shape = (rows, SETUP.image, SETUP.image, 3)
            found[f"camera.{i}"] = torch.randint(256, shape, dtype=torch.uint8)
        return found

    buffer = TensorDictReplayBuffer(
        storage=LazyTensorStorage(count, device=SETUP.device), batch_size=min(SETUP.batch, count)
    )
    rows = 10
    for _ in range(0, count, rows):
        after: dict[str, Any] = observed(rows)
        nothing = torch.zeros(rows, 1, dtype=torch.bool)
        after |= {"reward": torch.randn(rows, 1), "done": nothing, "terminated": nothing}
        action = 2.0 * torch.rand(rows, SETUP.actions) - 1.0
        buffer.extend(TensorDict({**observed(rows), "action": action, "next": after}, batch_size=[rows]))
    return buffer


def learner(critics: int) -> tuple[REDQLoss, SoftUpdate, dict[str, torch.optim.Optimizer]]:
    """A loss of ``critics``, two of which make the target, with its averages and optimisers."""
    width = [SETUP.hidden, SETUP.hidden]
    body = nn.Sequential(
        MLP(SETUP.obs, 2 * SETUP.actions, num_cells=width, activation_class=nn.ReLU), NormalParamExtractor()
    )
    actor = ProbabilisticActor(
        TensorDictModule(body, ["observation"], ["loc", "scale"]),
        in_keys=["loc", "scale"], spec=Bounded(-1.0, 1.0, (SETUP.actions,)), distribution_class=TanhNormal,
        return_log_prob=True,
    ).to(SETUP.device)  # fmt: skip
    network = MLP(
        SETUP.obs + SETUP.actions, 1, num_cells=width, activation_class=nn.ReLU, norm_class=nn.LayerNorm,
        norm_kwargs={"normalized_shape": SETUP.hidden},
    )  # fmt: skip
    critic = ValueOperator(network, in_keys=["observation", "action"]).to(SETUP.device)
    loss = REDQLoss(actor, critic, num_qvalue_nets=critics, sub_sample_len=2)
    loss.make_value_estimator(gamma=0.99)
    parameters = {
        "qvalue": list(loss.qvalue_network_params.flatten_keys().values()),
        "actor": list(loss.actor_network_params.flatten_keys().values()),
        "alpha": [loss.log_alpha],
    }
    return loss, SoftUpdate(loss, tau=0.005), {name: torch.optim.Adam(each, 3e-4) for name, each in parameters.items()}


def block(critics: int) -> Work:
    """As many updates of the critics as a block has, then one of policy and temperature.

    A call of the loss computes all of its parts, the policy's too; that is how it comes.
    """
    loss, average, optimisers = learner(critics)
    buffer = memory(SETUP.transitions, images=False)
    batches = [buffer.sample() for _ in range(SETUP.utd)]

    def updates() -> None:
        for batch in batches:
            optimisers["qvalue"].zero_grad()
            loss(batch)["loss_qvalue"].backward()
            optimisers["qvalue"].step()
            average.step()
        found = loss(batches[-1])
        for part in ("actor", "alpha"):
            optimisers[part].zero_grad()
            found[f"loss_{part}"].backward(retain_graph=True)
            optimisers[part].step()

    return updates


if __name__ == "__main__":
    serve(
        {
            "block_10": partial(block, 10),
            "block_2": partial(block, 2),
            "replay": lambda: memory(SETUP.transitions, images=False).sample,
            "replay_images": lambda: memory(SETUP.frames, images=True).sample,
        },
        ("torchrl", "tensordict", "torch"),
        stores={"state": partial(memory, images=False), "images": partial(memory, images=True)},
        wait=torch.cuda.synchronize if SETUP.device == "cuda" else lambda: None,
    )
