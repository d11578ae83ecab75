"""LeRobot's SAC from demonstrations, under the clock, evaluation and stopping rule of ``robo-rl train``.

One seed; :mod:`benchmarks.learning` runs several:

    python -m benchmarks.lerobot_sac peg_insertion --minutes 15 --seed 0

Its own networks, losses, memories and updates, as its learner takes them: half of each batch from the demonstrations,
gradients clipped, the policy once an environment step. Batch, updates per step, discount, warm-up and first temperature
are those of ``robo-rl train`` for the task; observations are scaled to [-1, 1] by the demonstrations' range. It acts
and learns in turns, so every transition is there and the newest weights act, which its processes do not ensure. It runs
in LeRobot's virtual environment, which is made if need be. The last line on standard output is the outcome, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from benchmarks.peers import PeerError
from benchmarks.report import ROOT
from robo_rl.threads import configure

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


@dataclass(frozen=True)
class Options:
    """How to train."""

    task: tyro.conf.Positional[str]
    """Name of the task."""
    seed: int = 0
    """Seed of everything that is drawn."""
    demos: int = 20
    """Demonstrations, those of ``robo-rl train``."""
    critics: int = 2
    """Critics; of more than two, two make the target."""
    minutes: float = 15.0
    """Minutes of training at most, evaluations included."""
    steps: int = 1_000_000
    """Environment steps at most."""
    target: float | None = 0.95
    """Success rate at which training stops, confirmed by an evaluation of ``final_episodes``; None: never."""
    eval_every: int = 1_000
    """Environment steps between evaluations."""
    eval_episodes: int = 20
    """Episodes of an evaluation while training."""
    eval_envs: int = 10
    """Environments stepped side by side in evaluations."""
    final_episodes: int = 100
    """Episodes of a confirmation and of the final evaluation."""
    venvs: Path = Path("runs/benchmarks")
    """Folder of the peers' virtual environments."""


class Training:
    """LeRobot's learner between our environment and our evaluation rule.

    Args:
        options: see there.
    """

    def __init__(self, options: Options) -> None:
        import torch

        from benchmarks.learners.lerobot_updates import Learner, ReplayBuffer
        from benchmarks.setups import demonstrated, resolved_config
        from robo_rl.commands.environments import make_environment

        torch.manual_seed(options.seed)
        self.options = options
        self.config = config = resolved_config(options.task, seed=options.seed, threads=1)
        self.env = make_environment(config, 1, options.seed)
        self.evaluation_env = make_environment(config, options.eval_envs, options.seed)
        demos = demonstrated(options.task, options.demos, options.seed)
        if demos is None:
            raise SystemExit("demos: LeRobot's SAC is compared with demonstrations; give at least 1")
        low, high = (getattr(demos.obs["state"], end)(dim=0).values for end in ("min", "max"))
        self.middle, self.half = (low + high) / 2.0, ((high - low) / 2.0).clamp(min=1e-3)
        width, actions = demos.obs["state"].shape[1], demos.action.shape[1]
        self.learner = Learner(
            width, actions, critics=options.critics, discount=config.discount,
            temperature_init=config.agent.initial_temperature,
        )  # fmt: skip
        keys = ["observation.state"]
        memory = {"device": "cpu", "state_keys": keys, "storage_device": "cpu", "use_drq": False}
        self.online = ReplayBuffer(capacity=min(options.steps, config.replay_capacity), **memory)
        self.offline = ReplayBuffer(capacity=len(demos.reward), **memory)
        for i in range(len(demos.reward)):
            self.offline.add(
                state=self.seen({"state": demos.obs["state"][i : i + 1]}), action=demos.action[i : i + 1],
                reward=float(demos.reward[i]), next_state=self.seen({"state": demos.next_obs["state"][i : i + 1]}),
                done=bool(demos.discount[i] == 0.0), truncated=False,
            )  # fmt: skip
        self.updates = 0

    def seen(self, obs: Obs) -> Obs:
        """An observation as LeRobot names and scales it."""
        return {"observation.state": (obs["state"] - self.middle) / self.half}

    def act(self, obs: Obs, *, explore: bool) -> Any:
        """Return actions (B, A): drawn, or the policy's mode (its own ``select_action`` always draws)."""
        import torch

        seen = self.seen(obs)
        with torch.no_grad():
            if explore:
                return self.learner.policy.select_action(seen)
            return torch.tanh(self.learner.policy.actor(seen)[2])

    def step(self, obs: Obs, *, random: bool) -> Obs:
        """Take one step in the environment, keep it, and return what is seen next."""
        import torch

        width = self.env.action_space.shape[0]
        action = 2.0 * torch.rand(1, width) - 1.0 if random else self.act(obs, explore=True)
        step = self.env.step(action)
        self.online.add(
            state=self.seen(obs), action=step.info.get("executed_action", action), reward=float(step.reward[0]),
            next_state=self.seen(step.obs), done=bool(step.terminated[0]), truncated=bool(step.truncated[0]),
        )  # fmt: skip
        return self.env.reset() if bool(step.done[0]) else step.obs

    def learn(self, updates: int) -> None:
        """As many updates of the critics, then one of policy and temperature; half of each batch demonstrations."""
        from benchmarks.learners.lerobot_updates import concatenate_batch_transitions

        half = self.config.batch_size // 2
        batches = [
            concatenate_batch_transitions(self.online.sample(half), self.offline.sample(half)) for _ in range(updates)
        ]
        self.learner.updates(batches)
        self.updates += updates

    def run(self) -> dict[str, Any]:
        """Train and return the outcome."""
        from benchmarks.evaluation_rule import EvaluationRule

        options, policy = self.options, self.learner.policy
        rule = EvaluationRule(
            self.evaluation_env, self.act, lambda: {name: value.clone() for name, value in policy.state_dict().items()},
            target=options.target, episodes=options.eval_episodes, final_episodes=options.final_episodes,
        )  # fmt: skip
        rule.start()
        obs, taken, reason = self.env.reset(), 0, "steps"
        utd = max(1, round(self.config.utd))
        while taken < options.steps:
            obs = self.step(obs, random=taken < self.config.warmup_steps)
            taken += 1
            if taken >= self.config.warmup_steps:
                self.learn(utd)
            if taken % options.eval_every == 0:
                rule.evaluate(taken, self.updates)
            if rule.target_reached or rule.seconds >= 60.0 * options.minutes:
                reason = "target" if rule.target_reached else "time"
                break
        if taken % options.eval_every:
            rule.evaluate(taken, self.updates)
        figures = rule.finish(policy.load_state_dict)
        self.env.close()
        self.evaluation_env.close()
        counters = {"env_steps": taken, "updates": self.updates, "demos": options.demos, "stopped_by": reason}
        return figures | counters


def main(options: Options) -> dict[str, Any]:
    """Train and return the outcome; goes on in LeRobot's virtual environment where this is another."""
    if find_spec("lerobot") is None:
        from benchmarks.learners.catalogue import LEARNERS, Peer

        entry = LEARNERS["lerobot"]
        assert isinstance(entry, Peer)
        try:
            python = entry.python(options.venvs, cuda=False)
        except PeerError as error:
            raise SystemExit(f"LeRobot cannot be installed: {error}") from None
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        sys.stdout.flush()
        os.execve(python, [str(python), "-m", "benchmarks.lerobot_sac", *sys.argv[1:]], environment)
    configure(1)
    return Training(options).run()


if __name__ == "__main__":
    print(json.dumps(main(tyro.cli(Options, description=__doc__))))
