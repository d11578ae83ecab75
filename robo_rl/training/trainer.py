"""The training loop: act, step, remember, learn at a fixed ratio, evaluate, store what it takes to go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from robo_rl.contracts.learning import BatchedEnv, Step
from robo_rl.training.acting import act_on
from robo_rl.training.checkpoint import Checkpoint, check_task, load_checkpoint, save_checkpoint
from robo_rl.training.config import TrainConfig
from robo_rl.training.durable import StorageError
from robo_rl.training.evaluation import EvaluationResult, evaluate
from robo_rl.training.learner import Learner
from robo_rl.training.progress import TrainingProgress, Voice
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.tally import EpisodeTally

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs
    from robo_rl.data.episode_writer import EpisodeWriter
    from robo_rl.human.supervision import Supervision

# Start states of evaluations. They are far from the seeds that people give, so that no training start is among them;
# the final ones are used for nothing else, so that no choice made while training has seen them.
PERIODIC_SEED, CONFIRMATION_SEED, FINAL_SEED = 1_000_001, 1_000_002, 1_000_003

_REFRESH = 0.5  # seconds between refreshes of the progress bar

StopReason = Literal["target", "steps", "time", "interrupted"]


class Trainer:
    """Trains one agent in one environment, and can be resumed from any of its checkpoints.

    Counters of environment steps count single environments: one step of 8 environments is 8.

    Args:
        config: how to train.
        run: where to.
        env: to learn in.
        evaluation_env: to evaluate in; None where nothing can be, and what training episodes came to has to do.
        learner: that experience goes to, with its agent and memory.
        progress: to show it with.
        should_stop: asked at every step; once true, training stops where its state is whole.
        episodes: where every step is kept, None for nowhere.

    Attributes:
        supervision: takes in the steps of an environment in which people may take over, None where nobody is.
        tally: of the episodes of training.

    Example:
        >>> trainer = Trainer(config, run, env, evaluation_env, learner, progress)   # doctest: +SKIP
        >>> reason = trainer.train()                                                 # doctest: +SKIP
    """

    def __init__(
        self,
        config: TrainConfig,
        run: RunFolder,
        env: BatchedEnv,
        evaluation_env: BatchedEnv | None,
        learner: Learner,
        progress: TrainingProgress | Voice,
        should_stop: Callable[[], bool] = lambda: False,
        episodes: EpisodeWriter | None = None,
    ) -> None:
        self.supervision: Supervision | None = None
        self.episodes = episodes
        self.config, self.run, self.env, self.evaluation_env = config, run, env, evaluation_env
        self.learner, self.agent = learner, learner.agent
        self.progress, self.should_stop = progress, should_stop
        self.env_steps = 0
        self.target_reached = False
        self.last_evaluation: dict[str, Any] | None = None
        self._seconds_before = 0.0  # of earlier starts of this run
        self._started = time.monotonic()
        self._best: list[float] = []
        self._evaluated_at = -1
        # What is due and not done yet. An evaluation that is cut short stays due, and is made up for on resuming.
        self._evaluation_due = self._log_due = self._checkpoint_due = False
        self.tally = EpisodeTally(env.num_envs, env.device)
        self._warmup = torch.Generator().manual_seed(config.seed + 3)
        self._evaluating = 0.0  # seconds of this start
        self._obs: Obs | None = None  # what was seen last
        self._begins: torch.Tensor | None = None  # which environments have to begin an episode before the next step
        self._refreshed = 0.0

    @property
    def updates(self) -> int:
        """Critic updates so far."""
        return self.learner.updates

    @property
    def seconds(self) -> float:
        """Seconds of training so far, evaluations and earlier starts included."""
        return self._seconds_before + time.monotonic() - self._started

    def spent(self) -> dict[str, float]:
        """Seconds since this start of the run: what went into images, learning and evaluations, and all of it.

        Learning and the rest may go on side by side; ``waiting`` is what the environment has waited for learning.
        """
        parts = {
            "rendering": getattr(self.env, "render_seconds", 0.0),
            "encoding": getattr(self.env, "encode_seconds", 0.0),
            "learning": self.learner.learning,
            "waiting": self.learner.waiting,
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
            Exception: whatever environment or learner raised; what is whole was stored before.
        """
        with self.playing():
            while (reason := self.reason_to_stop()) is None:
                self.advance()
            return self.conclude(reason)

    @contextmanager
    def playing(self) -> Iterator[None]:
        """While entered, steps are taken and learned from; if that fails, what is whole is stored."""
        self._started = time.monotonic()
        with self.learner:
            try:
                if self._evaluation_due:
                    self._evaluate()
                yield
            except StorageError:
                raise
            except Exception as error:
                self._rescue(error)
                raise

    def advance(self) -> bool:
        """Take one step, and do what is due after it; return whether an episode is over with it."""
        if self._obs is None or self._begins is None or bool(self._begins.any()):
            self._obs = self.env.reset(self._begins)
        obs, action = self._obs, self._action(self._obs)
        step = self.env.step(action)
        self._store(obs, action, step)
        # Where there is but one environment it is a robot: whatever takes long waits for the end of the episode.
        if self.evaluation_env not in (None, self.env) or bool(step.done.all()):
            self._do_what_is_due()
        self._obs, self._begins = step.obs, step.done
        if time.monotonic() - self._refreshed > _REFRESH:
            self._refreshed = time.monotonic()
            self._show()
        return bool(step.done.any())

    def conclude(self, reason: StopReason) -> StopReason:
        """Evaluate what was not evaluated yet, and store the last checkpoint; return why it stopped."""
        if reason in ("steps", "time"):
            self.learner.catch_up()
            if self._evaluated_at != self.env_steps and not self.target_reached:
                self._evaluate()
            reason = "target" if self.target_reached else reason
        self._show()
        if self.supervision is not None:
            self.supervision.flush()
        self.learner.stop()  # so that what is stored is also what the summary tells of
        self.save()
        return "interrupted" if self.should_stop() else reason

    def save(self) -> Checkpoint:
        """Store everything that it takes to go on."""
        with self.learner.quiet():
            return self._save({"policy": self.agent.policy_state(), "agent": self.agent.state_dict()}, self._state())

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint: learner, optimisers, memory, random numbers, counters and elapsed time.

        Episodes that were under way are cut, since no simulator can be asked for all of its state; new ones begin.

        Raises:
            UserError: if the checkpoint is of another task or another make of agent.
        """
        state, learner = checkpoint.state, self.learner
        check_task(state, self.config, checkpoint)
        self.agent.load_state_dict(checkpoint.tensors("agent"))
        learner.memory.load_state_dict(checkpoint.tensors("replay"))
        learner.memory.break_stream()
        if learner.demonstrations is not None:
            learner.demonstrations.load_state_dict(checkpoint.tensors("demonstrations"))
        random = checkpoint.tensors("random")
        torch.set_rng_state(random["torch"])
        self._warmup.set_state(random["warmup"])
        self.env_steps, learner.updates, learner.owed = state["env_steps"], state["updates"], state["owed"]
        learner.forgone = state.get("forgone", 0.0)
        self._seconds_before = state["seconds"]
        self.tally.load(state)
        self.target_reached = state["target_reached"]
        self.last_evaluation, self._evaluated_at = state["last_evaluation"], state["evaluated_at"]
        self._evaluation_due = state["evaluation_due"]
        if self.supervision is not None and "supervision" in state:
            self.supervision.resume(state["supervision"])
        best = load_checkpoint(self.run.checkpoints, "best")
        self._best = best.state["score"] if best is not None else []
        self.env.seed(self.config.seed + 7919 * (1 + self.env_steps))  # Other starts than the ones already seen.

    def _action(self, obs: Obs) -> torch.Tensor:
        if self.env_steps < self.config.random_steps:
            size = (self.env.num_envs, *self.env.action_space.shape)
            return (2.0 * torch.rand(size, generator=self._warmup) - 1.0).to(self.env.device)
        return act_on(self.learner, obs, explore=True, device=self.env.device)

    def _store(self, obs: Obs, action: torch.Tensor, step: Step) -> None:
        """Take one step into the memory and the counters, and let it be learned from: the one place where it is."""
        if self.supervision is None:
            self.learner.store(obs, step.info["executed_action"], step)
        else:
            self.supervision.add(obs, step)
        if self.episodes is not None:
            self.episodes.add(obs, action, step)
        before = self.env_steps
        self.env_steps += self.env.num_envs
        ended_with = self.tally.add(step)
        if self.env_steps > self.config.warmup_steps:  # Before, random actions were played and no weights.
            if ended_with is not None:
                self.learner.remember_episode(ended_with)
            if self.supervision is None or self.supervision.ready:
                self.learner.allow(self.env.num_envs)
        evaluates = self.evaluation_env is not None and not self.target_reached
        self._evaluation_due |= evaluates and self._crossed(self.config.eval_every, before)
        self._log_due |= self._crossed(self.config.log_every, before)
        self._checkpoint_due |= self._crossed(self.config.checkpoint_every, before)

    def _do_what_is_due(self) -> None:
        if self._log_due:
            self._log_due = False
            self._log()
        if self._evaluation_due:
            self._evaluate()
        if self._checkpoint_due:
            self._checkpoint_due = False
            self.save()

    def _rescue(self, error: Exception) -> None:
        """Training ends with ``error``: store what is whole, so that no experience is lost with it.

        Weights that were left half changed are those of the checkpoint before.
        """
        state = {}
        try:
            self.learner.stop()
            if self.learner.whole:
                parts = {"policy": self.agent.policy_state(), "agent": self.agent.state_dict()}
            else:
                before = load_checkpoint(self.run.checkpoints, "latest")
                if before is None:
                    return
                parts = {part: before.tensors(part) for part in ("policy", "agent")}
                state = {"updates": before.state["updates"]}
            self._save(parts, self._state() | state)
        except Exception as another:  # the first one is the one to be told
            self.progress.say(f"no checkpoint could be stored of where it ended: {another}")
        else:
            self.progress.say(f"stored a checkpoint at {self.env_steps} steps; it ends with {type(error).__name__}")

    def _save(self, parts: dict[str, dict[str, torch.Tensor]], state: dict[str, Any]) -> Checkpoint:
        self.run.sync()
        parts["replay"] = self.learner.memory.state_dict()
        parts["random"] = {"torch": torch.get_rng_state(), "warmup": self._warmup.get_state()}
        if self.learner.demonstrations is not None:
            parts["demonstrations"] = self.learner.demonstrations.state_dict()
        return save_checkpoint(self.run.checkpoints, "latest", parts, state)

    def _evaluate(self) -> None:
        """Evaluate, keep the policy if none was better, and see whether the target is reached."""
        if self.evaluation_env is None:
            return
        self._evaluation_due = True
        self.learner.catch_up()
        with self.learner.quiet():
            self._evaluate_in(self.evaluation_env)

    def _evaluate_in(self, env: BatchedEnv) -> None:
        result = self._measure(env, "evaluation", self.config.eval_episodes, PERIODIC_SEED)
        if result is None:
            return
        self._evaluation_due = False
        self._evaluated_at = self.env_steps
        self.last_evaluation = result.to_json()
        target = self.config.target_success
        if target is not None and result.success_rate >= target:
            confirmation = self._measure(env, "confirmation", self.config.final_episodes, CONFIRMATION_SEED)
            self.target_reached = confirmation is not None and confirmation.success_rate >= target
        score = [float(self.target_reached), result.success_rate, result.mean_return]
        if score >= self._best:  # Of equals the newest: it has learned for longer.
            self._best = score
            state = self._state() | {"score": score, "evaluation": self.last_evaluation}
            save_checkpoint(self.run.checkpoints, "best", {"policy": self.agent.policy_state()}, state)

    def _measure(self, env: BatchedEnv, kind: str, episodes: int, seed: int) -> EvaluationResult | None:
        self._show(doing=kind)
        began = time.monotonic()
        result = evaluate(
            env,
            lambda obs, explore: act_on(self.agent, obs, explore=explore, device=env.device),
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
        learned_from = self.env_steps - self.config.warmup_steps
        row = {"kind": "train", **self._counters(), "episodes": self.tally.episodes, **self.tally.figures()}
        row["utd"] = round(self.updates / learned_from, 4) if learned_from > 0 else 0.0
        row |= self.learner.figures()
        if self.supervision is not None:
            row |= self.supervision.figures()
        if self.config.obs == "pixels":
            row |= {f"seconds_{name}": seconds for name, seconds in self.spent().items()}
        self.run.log(row | {name: float(value) for name, value in self.learner.metrics.items()})

    def _show(self, doing: str = "training") -> None:
        limit = self.config.max_minutes
        figures = self.tally.figures()
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

    def reason_to_stop(self) -> StopReason | None:
        """Why training is over, None if it is not."""
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
            "owed": self.learner.owed,
            "forgone": self.learner.forgone,
            "seconds": self.seconds,
            **self.tally.state(),
            "target_reached": self.target_reached,
            "evaluated_at": self._evaluated_at,
            "evaluation_due": self._evaluation_due,
            "last_evaluation": self.last_evaluation,
            **({} if self.supervision is None else {"supervision": self.supervision.state()}),
        }
