"""Two tasks that undo each other, learned by two agents that take turns in one world, which is hardly ever reset.

Each has a trainer of its own, with its memory, demonstrations, metrics and checkpoints; an episode of one begins where
that of the other has ended (forward-backward learning: Han et al. 2015, "Learning compound multi-step controllers under
unknown dynamics"; Eysenbach et al. 2018, arXiv 1711.06782).
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

import torch

from robo_rl.contracts.learning import Step
from robo_rl.settings import to_json
from robo_rl.training.progress import TrainingProgress, Voice
from robo_rl.training.run_folder import RunFolder
from robo_rl.training.session import MakeEnv, either, finish, prepare
from robo_rl.training.trainer import StopReason, Trainer

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs
    from robo_rl.human.intervention import InterventionEnv
    from robo_rl.training.config import TrainConfig

FOLDER = "backward"
"""Folder of the backward agent's run in that of the forward one."""

Reason = Literal["start", "every", "fault", "failure", "person"]
"""Why the world is reset: nothing was done yet; enough episodes; the episode was cut by a fault; it can no longer
succeed; a person ended it otherwise than by success."""


class SharedWorld:
    """The ``BatchedEnv`` of whoever acts, of two environments in one world.

    An episode begins where the last one has ended. The world is reset, to a start of the forward task, if that is due.

    Args:
        forward: whose starts the world is reset to, an :class:`envs.env.Env` of one world.
        backward: likewise, in the same world.
        reset_every: episodes of both after which a reset is due.

    Attributes:
        acting: which of them acts.
        due: why the next episode begins with a reset, None if it does not.
        resets: so far, in this start of the run.
        on_reset: told why, at each of them.
    """

    def __init__(self, forward: Any, backward: Any, reset_every: int) -> None:
        self.forward, self.backward, self._every = forward, backward, reset_every
        self.acting = forward
        self.due: Reason | None = "start"
        self.resets = 0
        self.on_reset: Callable[[Reason], None] = lambda reason: None
        self._episodes = 0  # since the last reset
        self._over = False  # whether the last step ended an episode by itself

    def __getattr__(self, name: str) -> Any:
        if name == "acting":  # not there yet
            raise AttributeError(name)
        return getattr(self.acting, name)

    def reset(self, mask: torch.Tensor | None = None) -> Obs:
        """Begin an episode of whoever acts: where everything is, or after a reset if one is due."""
        if self.due is None:
            obs = self.acting.carry_on(mask)
            if not self._interrupted():
                return obs
            self.due = "fault"
        obs = self.forward.reset(mask)
        self.resets += 1
        self._episodes = 0
        self.on_reset(self.due)
        self.due = None
        return obs if self.acting is self.forward else self.acting.carry_on(mask)

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (1, A) of whoever acts."""
        step = self.acting.step(action)
        self._over = bool(step.done.any())
        return step

    def ended(self, step: Step) -> None:
        """An episode is over with ``step``, by itself or because a person said so: see whether a reset is due."""
        self._episodes += 1
        success = bool(step.info["success"].any())
        if self._interrupted():
            self.due = "fault"
        elif not self._over and not success:
            self.due = "person"
        elif bool(step.terminated.any()) and not success:
            self.due = "failure"
        elif self._episodes >= self._every:
            self.due = "every"

    def close(self) -> None:
        """Free what the world holds."""
        self.backward.close()
        self.forward.close()

    def _interrupted(self) -> bool:
        reading = self.acting.reading
        return "interrupted" in reading and bool(reading["interrupted"].any())


class Turn:
    """The ``BatchedEnv`` of one of the two: it acts from a reset on, until the other one does.

    Args:
        env: of one of the two, whose spaces, starts and task these are.
        shared: the world; around it may stand what lets a person take over.
        world: the world itself.
    """

    def __init__(self, env: Any, shared: Any, world: SharedWorld) -> None:
        self.env, self._shared, self._world = env, shared, world
        self.num_envs, self.device, self.horizon = env.num_envs, env.device, env.horizon
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def __getattr__(self, name: str) -> Any:
        if name in ("env", "_shared"):  # not there yet
            raise AttributeError(name)
        return getattr(self.env if hasattr(self.env, name) else self._shared, name)  # of a person's, ``unattended``

    def seed(self, seed: int) -> None:
        """Make the starts to come a function of ``seed``."""
        self.env.seed(seed)

    def reset(self, mask: torch.Tensor | None = None) -> Obs:
        """Act from here on; see :meth:`SharedWorld.reset`."""
        self._world.acting = self.env
        return self._shared.reset(mask)

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (1, A)."""
        step = self._shared.step(action)
        if bool(step.done.any()):
            self._world.ended(step)
        return step

    def close(self) -> None:
        """Free what the world holds, and let go of the devices."""
        self._shared.close()


def train_both(
    configs: tuple[TrainConfig, TrainConfig],
    run: RunFolder,
    makers: tuple[MakeEnv, MakeEnv],
    share: Callable[[Any], Any],
    *,
    should_stop: Callable[[], bool] = lambda: False,
    supervise: Callable[[Any], InterventionEnv] | None = None,
    told: Callable[[], dict[str, Any]] = dict,
) -> dict[str, Any]:
    """Train two agents in turns, from their newest checkpoints if there are any, and return the summary of both.

    It is that of the forward agent; ``backward`` in it is that of the other one, whose run folder is in that of the
    first.

    Args:
        configs: how to train: forward, backward.
        run: where everything goes.
        makers: build environments of each task.
        share: builds an environment of the backward task in the world of a forward one.
        should_stop: as for :func:`robo_rl.training.session.train`, as are the others.
        supervise: puts the people who correct both policies into the world.
        told: asked at the end.

    Raises:
        UserError: if a configuration does not fit the environment, a checkpoint or this machine.
        StorageError: if something could not be stored; what was finished before is intact.
    """
    started = time.monotonic()
    names = [config.task for config in configs]
    with ExitStack() as opened:
        torch.manual_seed(configs[0].seed)
        forward = makers[0](1, configs[0].seed)
        world = SharedWorld(forward, share(forward), configs[0].reset_every)
        shared: Any = world
        if supervise is not None:
            shared = supervise(world)
            should_stop = either(should_stop, shared)
        bar = opened.enter_context(TrainingProgress(sum(config.steps for config in configs)))
        counters = dict.fromkeys(names, (0, 0))
        runs = run, backward_run(run, configs[1])
        both = [
            prepare(
                opened,
                config,
                folder,
                Turn(env, shared, world),
                make,
                Voice(bar, name, counters),
                should_stop,
                evaluates=False,  # in the one world that there is, where it is a cell: that would reset it
            )
            for config, folder, env, make, name in zip(
                configs, runs, (world.forward, world.backward), makers, names, strict=True
            )
        ]
        trainers = both[0][0], both[1][0]
        if supervise is not None:
            shared.human_steps = sum(t.supervision.meter.human_steps for t in trainers if t.supervision is not None)

        def note(reason: Reason) -> None:
            run.log({"kind": "reset", "env_steps": trainers[0].env_steps, "reason": reason})

        world.on_reset = note
        setup_seconds = time.monotonic() - started
        reasons: tuple[StopReason, StopReason] = ("interrupted", "interrupted")
        if not should_stop():
            reasons = alternate(*trainers, world)

        def success_in_training(trainer: Trainer) -> dict[str, Any]:
            figures = trainer.tally.figures()
            return {"training_episodes": trainer.tally.episodes, "training_success": figures["success"]}

        second = finish(*both[1], setup_seconds, reasons[1], lambda: success_in_training(trainers[1]))

        def about_both() -> dict[str, Any]:
            return {**success_in_training(trainers[0]), **resets(run), "backward": second, **told()}

        summary = finish(*both[0], setup_seconds, reasons[0], about_both)
        if summary["interrupted"]:
            bar.say(f"stopped; go on with: robo-rl train --resume {run.path}")
        return summary


def alternate(forward: Trainer, backward: Trainer, world: SharedWorld) -> tuple[StopReason, StopReason]:
    """Let two trainers play an episode each in turns, until both are at their target or one of them has to stop.

    After a reset it is the forward one's turn.

    Returns:
        Why each has stopped.
    """
    acting, waiting = forward, backward
    with forward.playing(), backward.playing():
        while True:
            reasons = forward.reason_to_stop(), backward.reason_to_stop()
            if all(reasons) or any(reason not in (None, "target") for reason in reasons):
                break
            if acting.advance():
                acting, waiting = (forward, backward) if world.due is not None else (waiting, acting)
        why: StopReason = next((each for each in reasons if each is not None and each != "target"), "target")
        return forward.conclude(reasons[0] or why), backward.conclude(reasons[1] or why)


def backward_run(run: RunFolder, config: TrainConfig) -> RunFolder:
    """Return the run folder of the backward agent, made if it is not there."""
    path = run.path / FOLDER
    if (path / "config.json").exists():
        folder = RunFolder.open(path)
        folder.record_system(config.seed)
        return folder
    return RunFolder.make(path, to_json(config), seed=config.seed)


def resets(run: RunFolder) -> dict[str, Any]:
    """Return the number of real resets of a run, and how many of them for which reason."""
    counts = Counter(row["reason"] for row in run.metrics() if row["kind"] == "reset")
    return {"real_resets": sum(counts.values()), "reset_reasons": dict(counts)}
