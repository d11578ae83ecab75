"""Stable-Baselines3's SAC and replay memory.

Its own networks, optimisers and averages also make the block of RLPD, which it lacks; there it has no layer norm, and
so less to do.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import gymnasium
import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import polyak_update
from timing import Setup, Work, serve

SETUP = Setup.read()
STATE = gymnasium.spaces.Box(-np.inf, np.inf, (SETUP.obs,), np.float32)
ACTION = gymnasium.spaces.Box(-1.0, 1.0, (SETUP.actions,), np.float32)
IMAGE = gymnasium.spaces.Box(0, 255, (3, SETUP.image, SETUP.image), np.uint8)
PIXELS = gymnasium.spaces.Dict(state=STATE, **{f"camera.{i}": IMAGE for i in range(SETUP.cameras)})


class Space(gymnasium.Env):
    """An environment that is asked for its spaces only."""

    observation_space = STATE
    action_space = ACTION


def fill(memory: Any, space: gymnasium.Space, count: int) -> Any:
    """Fill a memory with whole episodes."""
    random = np.random.default_rng(0)

    def draw(each: gymnasium.Space) -> Any:
        if isinstance(each, gymnasium.spaces.Dict):
            return {key: draw(part) for key, part in each.spaces.items()}
        shape = (1, *each.shape)
        return random.integers(256, size=shape, dtype=np.uint8) if len(shape) > 2 else random.standard_normal(shape)

    for number in range(count):
        if number % SETUP.episode == 0:
            obs = draw(space)
        following = draw(space)
        action = random.uniform(-1, 1, (1, SETUP.actions)).astype(np.float32)
        memory.add(obs, following, action, random.standard_normal(1), np.zeros(1), [{}])
        obs = following
    return memory


def state_memory(count: int, **options: Any) -> Any:
    """A full memory of vectors."""
    return fill(ReplayBuffer(count, STATE, ACTION, device=SETUP.device, **options), STATE, count)


def pixel_memory(count: int) -> Any:
    """A full memory of images; that of dictionaries cannot share frames."""
    memory = DictReplayBuffer(count, PIXELS, ACTION, device=SETUP.device, handle_timeout_termination=False)
    return fill(memory, PIXELS, count)


def make(critics: int) -> SAC:
    """A learner with a full memory."""
    model = SAC(
        "MlpPolicy", Space(), batch_size=SETUP.batch, buffer_size=SETUP.transitions, device=SETUP.device,
        policy_kwargs={"net_arch": [SETUP.hidden, SETUP.hidden], "n_critics": critics},
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    fill(model.replay_buffer, STATE, SETUP.transitions)
    return model


def block(critics: int) -> Work:
    """The block of RLPD."""
    model = make(critics)
    batches = [model.replay_buffer.sample(SETUP.batch) for _ in range(SETUP.utd)]
    return partial(updates, model, batches)


def updates(model: Any, batches: list[Any]) -> None:
    """One update of the critics for each batch, then one of policy and temperature, as in SAC.train."""
    for data in batches:
        with torch.no_grad():
            action, log_prob = model.actor.action_log_prob(data.next_observations)
            chosen = torch.randperm(len(model.critic_target.q_networks))[:2].tolist()
            features = torch.cat([data.next_observations, action], dim=1)
            values = torch.cat([model.critic_target.q_networks[i](features) for i in chosen], dim=1)
            value = values.min(dim=1, keepdim=True).values - model.log_ent_coef.exp() * log_prob.reshape(-1, 1)
            wanted = data.rewards + (1 - data.dones) * model.gamma * value
        loss = sum(torch.nn.functional.mse_loss(q, wanted) for q in model.critic(data.observations, data.actions))
        model.critic.optimizer.zero_grad()
        loss.backward()
        model.critic.optimizer.step()
        polyak_update(model.critic.parameters(), model.critic_target.parameters(), model.tau)
    action, log_prob = model.actor.action_log_prob(data.observations)
    value = torch.cat(model.critic(data.observations, action), dim=1).mean(dim=1, keepdim=True)
    loss = (model.log_ent_coef.exp().detach() * log_prob.reshape(-1, 1) - value).mean()
    model.actor.optimizer.zero_grad()
    loss.backward()
    model.actor.optimizer.step()
    loss = -(model.log_ent_coef * (log_prob + model.target_entropy).detach()).mean()
    model.ent_coef_optimizer.zero_grad()
    loss.backward()
    model.ent_coef_optimizer.step()


def act() -> Work:
    """One action."""
    return partial(make(2).predict, np.random.default_rng(1).standard_normal(SETUP.obs).astype(np.float32))


if __name__ == "__main__":
    serve(
        {
            "block_10": partial(block, 10),
            "block_2": partial(block, 2),
            "sac": lambda: partial(make(2).train, gradient_steps=1, batch_size=SETUP.batch),
            "act": act,
            "replay": lambda: partial(state_memory(SETUP.transitions).sample, SETUP.batch),
            "replay_images": lambda: partial(pixel_memory(SETUP.frames).sample, SETUP.batch),
        },
        ("stable-baselines3", "torch"),
        stores={
            "state": state_memory,
            "state_shared": partial(state_memory, optimize_memory_usage=True, handle_timeout_termination=False),
            "images": pixel_memory,
        },
        wait=torch.cuda.synchronize if SETUP.device == "cuda" else lambda: None,
    )
