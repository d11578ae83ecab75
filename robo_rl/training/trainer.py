"""The training loop: act, step, remember, learn at a fixed ratio, evaluate, store what it takes to go on."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal

import torch

from robo_rl.agents.sac import SAC
from robo_rl.contracts.learning import BatchedEnv, Step
from robo_rl.errors import UserError
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.mixing import MixedReplay
from robo_rl.training.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.evaluation import EvaluationResult, evaluate
from robo_rl.training.progress import TrainingProgress
from robo_rl.training.run_folder import RunFolder

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Metrics, Obs
    from robo_rl.data.episodes import EpisodeWriter
    from robo_rl.human.supervision import Supervision

# Start states of evaluations. They are far from the seeds that people give, so that no training start is among them;
# the final ones are used for nothing else, so that no choice made while training has seen them.
PERIODIC_SEED, CONFIRMATION_SEED, FINAL_SEED = 1_000_001, 1_000_002, 1_000_003

_SHOWN_EPISODES = 50  # that success and return of the progress bar are taken over
_REFRESH = 0.5  # seconds between refreshes of the progress bar

StopReason = Literal["target", "steps", "time", "interrupted"]


class Trainer:
    """Trains one agent in one environment, and can be resumed from any of its checkpoints.

    Counters of environment steps count single environments: one step of 8 environments is 8.

    Args:
        config: how to train.
        run: where to.
        env: to learn in.
        evaluation_env: to evaluate in.
        agent: that learns.
        memory: that experience is added to.
        demonstrations: that part of each batch is drawn from, None for none.
        progress: to show it with.
        should_stop: asked at every step; once true, training stops where its state is whole.
        episodes: where every step is kept, None for nowhere.

    Attributes:
        supervision: takes in the steps of an environment in which people may take over, None where nobody is.

    Example:
        >>> trainer = Trainer(config, run, env, evaluation_env, agent, memory, None, progress)   # doctest: +SKIP
        >>> reason = trainer.train()                                                               # doctest: +SKIP
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        env: BatchedEnv,
        evaluation_env: BatchedEnv,
        agent: SAC,
        memory: ReplayBuffer,
        demonstrations: ReplayBuffer | None,
        progress: TrainingProgress,
        should_stop: Callable[[], bool] = lambda: False,
        episodes: EpisodeWriter | None = None,
    ) -> None:
        self.supervision: Supervision | None = None
        self.episodes = episodes
        self.config, self.run, self.env, self.evaluation_env = config, run, env, evaluation_env
        self.agent, self.memory, self.demonstrations = agent, memory, demonstrations
        following = config.agent.auxiliary.following
        self.source = MixedReplay(memory, demonstrations, config.demo_ratio, following=following)
        self.progress, self.should_stop = progress, should_stop
        self.env_steps = 0
        self.updates = 0
        self.target_reached = False
        self.last_evaluation: dict[str, Any] | None = None
        self._owed = 0.0  # critic updates that the steps taken so far still allow
        self._seconds_before = 0.0  # of earlier starts of this run
        self._started = time.monotonic()
        self._best: list[float] = []
        self._evaluated_at = -1
        self._evaluation_due = False  # true while one is under way, so that one that is cut short is made up for
        self._episodes = 0
        self._recent: deque[tuple[float, float, float]] = deque(maxlen=_SHOWN_EPISODES)  # success, return, length
        self._metrics: Metrics = {}
        self._returns = torch.zeros(env.num_envs, device=env.device)
        self._lengths = torch.zeros(env.num_envs, device=env.device)
        self._warmup = torch.Generator().manual_seed(config.seed + 3)
        self._learning = self._evaluating = 0.0  # seconds of this start

    @property
    def seconds(self) -> float:
        """Seconds of training so far, evaluations and earlier starts included."""
        return self._seconds_before + time.monotonic() - self._started

    def spent(self) -> dict[str, float]:
        """Seconds since this start of the run: what went into images, learning and evaluations, and all of it."""
        parts = {
            "rendering": getattr(self.env, "render_seconds", 0.0),
            "encoding": getattr(self.env, "encode_seconds", 0.0),
            "learning": self._learning,
            "evaluating": self._evaluating,
            "all": time.monotonic() - self._started,
        }
        return {name: round(seconds, 3) for name, seconds in parts.items()}

    def train(self) -> StopReason:
        """Train until the target is reached, steps or time are used up, or somebody stops it; then store a checkpoint.

        Returns:
            Why it stopped.

        Raises:
            StorageError: if something could not be stored; what was finished before is intact.
        """
        self._started = time.monotonic()
        if self._evaluation_due:
            self._evaluate()
        obs = self.env.reset()
        shared = self.evaluation_env is self.env
        refreshed = 0.0
        while (reason := self._reason_to_stop()) is None:
            before = self.env_steps
            action = self._action(obs)
            step = self.env.step(action)
            if self.supervision is None:
                self.memory.add(obs, step.info["executed_action"], step)
            else:
                self.supervision.add(obs, step)
            if self.episodes is not None:
                self.episodes.add(obs, action, step)
            self.env_steps += self.env.num_envs
            self._evaluation_due |= self._crossed(self.config.eval_every, before)
            # Where both are one environment, an evaluation waits for the end of the episode, and begins the next one.
            evaluates = self._evaluation_due and (not shared or bool(step.done.all()))
            obs = self._next_obs(step, reset=not (shared and evaluates))
            self._learn()
            if self._crossed(self.config.log_every, before):
                self._log()
            if evaluates:
                self._evaluate()
                obs = self.env.reset() if shared else obs
            if self._crossed(self.config.checkpoint_every, before):
                self.save()
            if time.monotonic() - refreshed > _REFRESH:
                refreshed = time.monotonic()
                self._show()
        if reason in ("steps", "time") and self._evaluated_at != self.env_steps:
            self._evaluate()
            reason = "target" if self.target_reached else reason
        self._show()
        if self.supervision is not None:
            self.supervision.flush()
        self.save()
        return "interrupted" if self.should_stop() else reason

    def save(self) -> Checkpoint:
        """Store everything that it takes to go on."""
        self.run.sync()
        parts = {
            "policy": self.agent.policy_state(),
            "agent": self.agent.state_dict(),
            "replay": self.memory.state_dict(),
            "random": {"torch": torch.get_rng_state(), "warmup": self._warmup.get_state()},
        }
        if self.demonstrations is not None:
            parts["demonstrations"] = self.demonstrations.state_dict()
        return save_checkpoint(self.run.checkpoints, "latest", parts, self._state())

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint: learner, optimisers, memory, random numbers, counters and elapsed time.

        Episodes that were under way are cut, since no simulator can be asked for all of its state; new ones begin.

        Raises:
            UserError: if the checkpoint is of another task or another make of agent.
        """
        state = checkpoint.state
        check_task(state, self.config, checkpoint)
        self.agent.load_state_dict(checkpoint.tensors("agent"))
        self.memory.load_state_dict(checkpoint.tensors("replay"))
        self.memory.break_stream()
        if self.demonstrations is not None:
            self.demonstrations.load_state_dict(checkpoint.tensors("demonstrations"))
        random = checkpoint.tensors("random")
        torch.set_rng_state(random["torch"])
        self._warmup.set_state(random["warmup"])
        self.env_steps, self.updates, self._owed = state["env_steps"], state["updates"], state["owed"]
        self._seconds_before, self._episodes = state["seconds"], state["episodes"]
        self.target_reached = state["target_reached"]
        self.last_evaluation, self._evaluated_at = state["last_evaluation"], state["evaluated_at"]
        self._evaluation_due = state["evaluation_due"]
        self._recent.extend((success, total, length) for success, total, length in state["recent"])
        if self.supervision is not None and "supervision" in state:
            self.supervision.resume(state["supervision"])
        best = load_checkpoint(self.run.checkpoints, "best")
        self._best = best.state["score"] if best is not None else []
        self.env.seed(self.config.seed + 7919 * (1 + self.env_steps))  # Other starts than the ones already seen.

    def _action(self, obs: Obs) -> torch.Tensor:
        if self.env_steps < self.config.warmup_steps:
            size = (self.env.num_envs, *self.env.action_space.shape)
            return (2.0 * torch.rand(size, generator=self._warmup) - 1.0).to(self.env.device)
        return act_on(self.agent, obs, explore=True, device=self.env.device)

    def _next_obs(self, step: Step, *, reset: bool) -> Obs:
        """Count the episodes that are over and, if ``reset``, begin new ones in their place."""
        self._returns += step.reward
        self._lengths += 1
        over = step.done
        if not bool(over.any()):
            return step.obs
        ended = torch.stack([step.info["success"][over].float(), self._returns[over], self._lengths[over]], dim=1)
        self._recent.extend((success, total, length) for success, total, length in ended.tolist())
        self._episodes += len(ended)
        if self.env_steps > self.config.warmup_steps:  # Before, random actions were played and no weights.
            self.agent.remember_episode(float(ended[:, 1].max()))
        self._returns[over] = 0.0
        self._lengths[over] = 0.0
        return self.env.reset(over) if reset else step.obs

    def _learn(self) -> None:
        """Make as many critic updates as the steps taken allow, in blocks; the rest of a block waits."""
        if self.env_steps <= self.config.warmup_steps or (self.supervision is not None and not self.supervision.ready):
            return
        began = time.monotonic()
        self._owed += self.config.utd * self.env.num_envs
        block = self.config.block
        while self._owed >= block:
            batch = self.source.sample(self.config.batch_size, block)
            self._metrics = self.agent.update(batch, block)
            self._owed -= block
            self.updates += block
        self._learning += time.monotonic() - began

    def _evaluate(self) -> None:
        """Evaluate, keep the policy if none was better, and see whether the target is reached."""
        self._evaluation_due = True
        result = self._measure("evaluation", self.config.eval_episodes, PERIODIC_SEED)
        if result is None:
            return
        self._evaluation_due = False
        self._evaluated_at = self.env_steps
        self.last_evaluation = result.to_json()
        target = self.config.target_success
        if target is not None and result.success_rate >= target:
            confirmation = self._measure("confirmation", self.config.final_episodes, CONFIRMATION_SEED)
            self.target_reached = confirmation is not None and confirmation.success_rate >= target
        score = [float(self.target_reached), result.success_rate, result.mean_return]
        if score >= self._best:  # Of equals the newest: it has learned for longer.
            self._best = score
            state = self._state() | {"score": score, "evaluation": self.last_evaluation}
            save_checkpoint(self.run.checkpoints, "best", {"policy": self.agent.policy_state()}, state)

    def _measure(self, kind: str, episodes: int, seed: int) -> EvaluationResult | None:
        self._show(doing=kind)
        began = time.monotonic()
        result = evaluate(
            self.evaluation_env,
            lambda obs, explore: act_on(self.agent, obs, explore=explore, device=self.evaluation_env.device),
            episodes,
            seed=seed,
            should_stop=self.should_stop,
        )
        self._evaluating += time.monotonic() - began
        if result is not None:
            low, high = result.interval
            self.progress.say(
                f"{kind} at {self.env_steps} steps: success {result.success_rate:.0%} of {episodes} "
                f"[{low:.0%}, {high:.0%}], return {result.mean_return:.3g}, length {result.mean_length:.0f}"
            )
            self.run.log({"kind": kind, **self._counters(), **result.to_json()})
        return result

    def _log(self) -> None:
        row = {"kind": "train", **self._counters(), "episodes": self._episodes, **self._episode_figures()}
        if self.supervision is not None:
            row |= self.supervision.figures()
        if self.config.obs == "pixels":
            row |= {f"seconds_{name}": seconds for name, seconds in self.spent().items()}
        self.run.log(row | {name: float(value) for name, value in self._metrics.items()})

    def _show(self, doing: str = "training") -> None:
        limit = self.config.max_minutes
        figures = self._episode_figures()
        self.progress.update(
            self.env_steps,
            self.updates,
            success=figures["success"],
            episode_return=figures["return"],
            seconds_left=None if limit is None else 60.0 * limit - self.seconds,
            doing=doing,
        )

    def _counters(self) -> dict[str, Any]:
        return {"env_steps": self.env_steps, "updates": self.updates, "wall_seconds": round(self.seconds, 3)}

    def _episode_figures(self) -> dict[str, float | None]:
        if not self._recent:
            return {"success": None, "return": None, "length": None}
        success, total, length = (fmean(column) for column in zip(*self._recent, strict=True))
        return {"success": success, "return": total, "length": length}

    def _reason_to_stop(self) -> StopReason | None:
        if self.should_stop():
            return "interrupted"
        if self.target_reached:
            return "target"
        if self.env_steps >= self.config.steps:
            return "steps"
        if self.config.max_minutes is not None and self.seconds >= 60.0 * self.config.max_minutes:
            return "time"
        return None

    def _crossed(self, period: int, before: int) -> bool:
        return self.env_steps // period > before // period

    def _state(self) -> dict[str, Any]:
        return {
            "task": self.config.task,
            "robot": self.config.robot,
            "env_steps": self.env_steps,
            "updates": self.updates,
            "owed": self._owed,
            "seconds": self.seconds,
            "episodes": self._episodes,
            "recent": list(self._recent),
            "target_reached": self.target_reached,
            "evaluated_at": self._evaluated_at,
            "evaluation_due": self._evaluation_due,
            "last_evaluation": self.last_evaluation,
            **({} if self.supervision is None else {"supervision": self.supervision.state()}),
        }


def act_on(agent: SAC, obs: Obs, *, explore: bool, device: torch.device) -> torch.Tensor:
    """Let ``agent`` act on observations that live on ``device``; the actions live there too."""
    if agent.device == device:
        return agent.act(obs, explore=explore)
    return agent.act({key: value.to(agent.device) for key, value in obs.items()}, explore=explore).to(device)


def check_task(state: dict[str, Any], config: TrainConfig, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that was made by another task or with another robot.

    Raises:
        UserError: if so.
    """
    for key in ("task", "robot"):
        saved, wanted = state.get(key), getattr(config, key)
        if saved != wanted:
            raise UserError(f"checkpoint {checkpoint.path} is of {key} {saved!r}, but the run is of {wanted!r}")
