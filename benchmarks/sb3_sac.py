"""Stable-Baselines3's SAC on any Gymnasium id, under the clock, evaluation and stopping rule of ``robo-rl train``.

One seed; :mod:`benchmarks.learning` and :mod:`benchmarks.fetch` run several:

    python -m benchmarks.sb3_sac robo_rl/PegInsertion-v0 --minutes 15 --seed 0
    python -m benchmarks.sb3_sac FetchPush-v4 --settings her --steps 50000 --target None --seed 0

The last line on standard output is the outcome, as JSON.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import tyro

from benchmarks.evaluation_rule import EvaluationRule
from robo_rl.threads import configure

if TYPE_CHECKING:
    import gymnasium

    from robo_rl.contracts.learning import BatchedEnv, Obs


@dataclass(frozen=True)
class Options:
    """How to train."""

    env_id: tyro.conf.Positional[str]
    """Gymnasium id."""
    seed: int = 0
    """Seed of everything that is drawn."""
    minutes: float | None = None
    """Minutes of training at most, evaluations included."""
    steps: int = 1_000_000
    """Environment steps at most."""
    settings: Literal["default", "like-ours", "her"] = "default"
    """Hyperparameters: those of Stable-Baselines3; batch size, updates per step, discount and warm-up of
    ``robo-rl train`` for that task; or hindsight relabelling with the step sizes and discount that RL
    Baselines3 Zoo has for FetchPush, but networks and batches for one core (the Zoo's are 512 wide and 2048)."""
    demos: int = 0
    """Demonstrations of the task's expert that its memory holds from the start, those of ``robo-rl train``."""
    target: float | None = 0.95
    """Success rate at which training stops, confirmed by an evaluation of ``final_episodes``; None: never."""
    eval_every: int = 5_000
    """Environment steps between evaluations."""
    eval_episodes: int = 20
    """Episodes of an evaluation while training."""
    eval_envs: int = 10
    """Environments stepped side by side in evaluations."""
    final_episodes: int = 100
    """Episodes of a confirmation and of the final evaluation."""


def main(options: Options) -> dict[str, Any]:
    """Train and return the outcome."""
    configure(1)
    from stable_baselines3 import SAC
    from stable_baselines3.common.callbacks import BaseCallback

    training_env, evaluation_env = _environments(options)
    policy = "MultiInputPolicy" if "desired_goal" in evaluation_env.observation_space.spaces else "MlpPolicy"
    arguments = _arguments(options, evaluation_env.action_space.shape[0])
    model = SAC(policy, training_env, seed=options.seed, device="cpu", **arguments)
    _remember_demonstrations(model, options)
    rule = EvaluationRule(
        evaluation_env,
        lambda obs, *, explore: _predict(model, obs, explore=explore),
        lambda: {name: value.clone() for name, value in model.policy.state_dict().items()},
        target=options.target,
        episodes=options.eval_episodes,
        final_episodes=options.final_episodes,
    )

    class Watch(BaseCallback):
        """Evaluates, and stops training in time."""

        reason = "steps"
        evaluated_at = -1

        def _on_training_start(self) -> None:
            rule.start()

        def _on_step(self) -> bool:
            if self.num_timesteps % options.eval_every == 0:
                self.look()
            if rule.target_reached:
                self.reason = "target"
            elif options.minutes is not None and rule.seconds >= 60.0 * options.minutes:
                self.reason = "time"
            return self.reason == "steps"

        def _on_training_end(self) -> None:
            if self.evaluated_at != self.num_timesteps:
                self.look()

        def look(self) -> None:
            """Evaluate."""
            self.evaluated_at = self.num_timesteps
            rule.evaluate(self.num_timesteps, model._n_updates)

    watch = Watch()
    model.learn(options.steps, callback=watch)
    figures = rule.finish(model.policy.load_state_dict)
    training_env.close()
    evaluation_env.close()
    return {
        **figures,
        "env_steps": watch.num_timesteps,
        "updates": model._n_updates,
        "demos": options.demos,
        "stopped_by": "target" if rule.target_reached else watch.reason,
        "arguments": json.loads(json.dumps(arguments, default=lambda kind: kind.__name__)),
    }


def _remember_demonstrations(model: Any, options: Options) -> None:
    """Put demonstrations where it draws from: uniformly, the oldest make room, as any transition of its own."""
    if not options.demos:
        return
    from benchmarks.setups import demonstrated
    from envs.gymnasium_adapters import IDS

    if options.env_id not in IDS:
        raise SystemExit(f"demos: {options.env_id} has no scripted expert; leave --demos out")
    batch = demonstrated(IDS[options.env_id][0], options.demos, options.seed)
    assert batch is not None
    rows = (batch.obs["state"], batch.next_obs["state"], batch.action, batch.reward, batch.discount == 0.0)
    for obs, following, action, reward, terminated in zip(*(each.numpy() for each in rows), strict=True):
        model.replay_buffer.add(obs, following, action, reward, terminated, [{}])


def _environments(options: Options) -> tuple[gymnasium.Env, BatchedEnv]:
    """One to train in, and the same as a batch to evaluate in."""
    import gymnasium

    from envs.gymnasium_adapters import IDS
    from robo_rl.commands.environments import make_environment
    from robo_rl.training.config import TrainConfig

    task, robot = IDS.get(options.env_id, (f"gym:{options.env_id}", "panda"))
    config = TrainConfig(task, robot=robot, threads=1)
    evaluation_env = make_environment(config, options.eval_envs, options.seed)  # also registers foreign ids
    training_env = gymnasium.make(options.env_id)
    space = training_env.action_space
    if not isinstance(space, gymnasium.spaces.Box) or (space.low != -1.0).any() or (space.high != 1.0).any():
        raise SystemExit(f"{options.env_id}: actions must lie in [-1, 1], so that both sides give the same ones")
    return training_env, evaluation_env


def _arguments(options: Options, actions: int) -> dict[str, Any]:
    """What Stable-Baselines3's SAC is told beside its defaults."""
    if options.settings == "default":
        return {}
    if options.settings == "her":
        from stable_baselines3 import HerReplayBuffer

        return {
            "replay_buffer_class": HerReplayBuffer,
            "replay_buffer_kwargs": {"n_sampled_goal": 4, "goal_selection_strategy": "future"},
            "learning_rate": 1e-3,
            "tau": 0.05,
            "gamma": 0.95,
            "batch_size": 256,
            "learning_starts": 1_000,
            "policy_kwargs": {"net_arch": [256, 256, 256]},
        }
    from benchmarks.setups import resolved_config
    from envs.gymnasium_adapters import IDS

    config = resolved_config(IDS[options.env_id][0])
    return {
        "batch_size": config.batch_size,
        "gradient_steps": max(1, round(config.utd)),
        "gamma": config.discount,
        "learning_starts": config.warmup_steps,
        "target_entropy": -0.5 * actions,
    }


def _predict(model: Any, obs: Obs, *, explore: bool) -> Any:
    import torch

    parts = {key: value.numpy() for key, value in obs.items()}
    action, _ = model.predict(parts["state"] if set(parts) == {"state"} else parts, deterministic=not explore)
    return torch.as_tensor(action, dtype=torch.float32)


if __name__ == "__main__":
    print(json.dumps(main(tyro.cli(Options, description=__doc__))))
