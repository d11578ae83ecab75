"""Stable-Baselines3's SAC.

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
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.utils import polyak_update
from timing import ACTIONS, BATCH, HIDDEN, OBS, TRANSITIONS, UTD, serve


class Space(gymnasium.Env):
    """An environment that is asked for its spaces only."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (OBS,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (ACTIONS,), np.float32)


def make(critics: int) -> SAC:
    """A learner with a full buffer."""
    model = SAC(
        "MlpPolicy", Space(), batch_size=BATCH, buffer_size=TRANSITIONS, device="cpu",
        policy_kwargs={"net_arch": [HIDDEN, HIDDEN], "n_critics": critics},
    )  # fmt: skip
    model.set_logger(Logger(None, []))
    random = np.random.default_rng(0)
    for _ in range(TRANSITIONS):
        obs, following = random.standard_normal((2, 1, OBS)).astype(np.float32)
        action = random.uniform(-1, 1, (1, ACTIONS)).astype(np.float32)
        model.replay_buffer.add(obs, following, action, random.standard_normal(1), np.zeros(1), [{}])
    return model


def block(model: Any, batches: list[Any]) -> None:
    """20 updates of the critics, then one of policy and temperature, as in SAC.train."""
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


def main() -> None:
    """Serve."""
    ten, two = make(10), make(2)
    batches = [two.replay_buffer.sample(BATCH) for _ in range(UTD)]
    obs = np.random.default_rng(1).standard_normal(OBS).astype(np.float32)
    serve(
        {
            "block_10": partial(block, ten, batches),
            "block_2": partial(block, two, batches),
            "sac": partial(two.train, 1, BATCH),
            "act": partial(two.predict, obs),
            "replay": partial(two.replay_buffer.sample, BATCH),
        },
        ("stable-baselines3", "torch"),
    )


if __name__ == "__main__":
    main()
