"""Learning beside acting: experience comes in, the updates that the steps allow are made, weights go out.

:class:`Learner` does it in turns with the environment, in one thread, so that a run is reproduced bit for bit.
:class:`LearnerThread` does it in a thread of its own, while the environment goes on.
"""

from __future__ import annotations

import gc
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from robo_rl.agents.behaviour_cloning import BehaviourCloning
from robo_rl.agents.mailbox import PolicyMailbox
from robo_rl.agents.sac import SAC
from robo_rl.contracts.learning import Step
from robo_rl.replay.buffer import ReplayBuffer
from robo_rl.replay.mixing import MixedReplay
from robo_rl.replay.prefetch import Prefetch
from robo_rl.threads import step_back
from robo_rl.training.algorithms import demonstration_share
from robo_rl.training.config import TrainConfig

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Metrics, Obs

_ROUNDING = 1e-6  # updates; ten times a tenth is a little less than one
_LOOK_UP = 0.1  # seconds between looks at whether somebody wants to stop, while waiting for the learner


class Learner:
    """Stores experience and makes critic updates, never more than ``utd`` an environment step.

    Args:
        config: batch size, updates per step and per block.
        agent: that learns.
        memory: that experience is added to.
        demonstrations: that part of each batch is drawn from, None for none.

    Attributes:
        owed: critic updates that the steps taken so far still allow.
        updates: critic updates made.
        forgone: critic updates that the steps allowed and that will never be made.
        metrics: of the last block of updates.
        whole: false while an update is under way, and ever after if it failed: the weights are of no moment then.
        learning: seconds that updates have taken.
        waiting: seconds that the environment has waited for them.

    Example:
        >>> with Learner(config, agent, memory, None) as learner:                     # doctest: +SKIP
        ...     action = learner.act(obs, explore=True)
        ...     learner.store(obs, action, env.step(action))
        ...     learner.allow(env.num_envs)
    """

    def __init__(
        self,
        config: TrainConfig,
        agent: SAC | BehaviourCloning,
        memory: ReplayBuffer,
        demonstrations: ReplayBuffer | None,
    ) -> None:
        self.agent, self.memory, self.demonstrations = agent, memory, demonstrations
        following = config.agent.auxiliary.following
        mixed = MixedReplay(
            memory,
            demonstrations,
            demonstration_share(config),
            following=following,
            augment=agent.augment if isinstance(agent, SAC) and agent.encoder.learns else None,
            blocks=config.prefetch + 1,
        )
        self.source: MixedReplay | Prefetch = Prefetch(mixed, config.prefetch) if config.prefetch else mixed
        self.device = agent.device
        self.block = config.block
        self.owed, self.updates, self.forgone = 0.0, 0, 0.0
        self.metrics: Metrics = {}
        self.whole = True
        self.learning = self.waiting = 0.0
        self._utd, self._batch_size = config.utd, config.batch_size
        self._steps = 0  # that were allowed to be learned from, in this start of the run
        self._policy_born = (0, time.monotonic())  # when the weights that act were finished: steps, seconds
        self._paused_seconds = 0.0
        self._worst = {"policy_age_steps": 0.0, "policy_age_s": 0.0, "learner_lag_steps": 0.0}

    def __enter__(self) -> Learner:
        self._policy_born = (self._steps, self._now())
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def due(self) -> bool:
        """Whether a whole block of updates is owed."""
        return self.owed > self.block - _ROUNDING

    def stop(self) -> None:
        """Make no more updates."""
        self._draw_no_more()

    def act(self, obs: Obs, *, explore: bool) -> torch.Tensor:
        """Act with the newest weights; see :meth:`robo_rl.contracts.learning.Agent.act`."""
        self._note_age()
        return self.agent.act(obs, explore=explore)

    def store(self, obs: Obs, action: torch.Tensor, step: Step) -> None:
        """Add B transitions to the memory: ``obs`` before the step, the executed ``action`` (B, A), what came of it.

        The tensors are the learner's from now on; nobody may write to them.
        """
        self.memory.add(obs, action, step)

    def deliver(self, insert: Callable[[], None]) -> None:
        """Carry out what adds experience to memory or demonstrations by itself, where nothing is drawn from them."""
        insert()

    def remember_episode(self, episode_return: float) -> None:
        """Tell the agent that an episode was played with its weights, and came to ``episode_return``."""
        self.agent.remember_episode(episode_return)

    def allow(self, steps: int) -> None:
        """Let ``steps`` more environment steps be learned from: ``utd`` critic updates each, in whole blocks."""
        self._steps += steps
        self.owed += self._utd * steps
        while self.due:
            self._make_block()
            self._count_block()
            self._policy_born = (self._steps, self._now())

    def catch_up(self) -> None:
        """Wait until no whole block of updates is owed, where the environment may wait."""

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While entered, no update is under way and all experience is in the memory: what is read is whole."""
        began = time.monotonic()
        self._draw_no_more()
        yield
        self._paused_seconds += time.monotonic() - began

    def figures(self) -> dict[str, float]:
        """Return the largest age of the policy that acted and the largest lag of learning since the last call.

        ``policy_age_steps`` and ``policy_age_s`` count from when the weights were finished, pauses left out;
        ``learner_lag_steps`` are environment steps that are still to be learned from; ``updates_forgone`` is a sum.
        """
        worst, self._worst = self._worst, dict.fromkeys(self._worst, 0.0)
        return {**{name: round(value, 4) for name, value in worst.items()}, "updates_forgone": round(self.forgone, 3)}

    def _make_block(self) -> None:
        began = time.monotonic()
        batch = self.source.sample(self._batch_size, self.block)
        self.whole = False
        self.metrics = self.agent.update(batch, self.block)
        self.whole = True
        self.learning += time.monotonic() - began

    def _count_block(self) -> None:
        self.owed -= self.block
        self.updates += self.block

    def _draw_no_more(self) -> None:
        """Give up batches that were drawn ahead; the next update draws them again."""
        if isinstance(self.source, Prefetch):
            self.source.drain()

    def _note(self, name: str, value: float) -> None:
        self._worst[name] = max(self._worst[name], value)

    def _note_age(self) -> None:
        steps, seconds = self._policy_born
        self._note("policy_age_steps", self._steps - steps)
        self._note("policy_age_s", self._now() - seconds)

    def _now(self) -> float:
        """Seconds on a clock that stands still in pauses."""
        return time.monotonic() - self._paused_seconds


class LearnerThread(Learner):
    """A learner in a thread of its own, which alone touches agent and memory while it runs.

    What the environment's thread hands over lies in an inbox until the next block of updates, so that it waits for
    neither an update nor a batch. It acts with frozen weights and adopts the newest at each step.

    Updates stay behind by at most ``max_lag`` environment steps, or one block, and the newest step. Where ``waits``,
    the environment's thread then waits in :meth:`allow`. Where it may not, as at a robot, nothing waits: what is owed
    beyond the bound is forgone, so that no burst of updates makes up for it later, and the thread steps back behind
    the others.

    An exception in the thread is raised in the environment's at the next call. A context manager; nothing is learned
    before it is entered.

    Args:
        config: as for :class:`Learner`, and ``max_lag``.
        agent: that learns.
        memory: that experience is added to.
        demonstrations: that part of each batch is drawn from, None for none.
        waits: whether the environment may wait for the learner.
        should_stop: asked while waiting; once true, nothing is waited for.
    """

    def __init__(
        self,
        config: TrainConfig,
        agent: SAC | BehaviourCloning,
        memory: ReplayBuffer,
        demonstrations: ReplayBuffer | None,
        *,
        waits: bool = True,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        super().__init__(config, agent, memory, demonstrations)
        self._waits, self._should_stop = waits, should_stop
        self._most = config.utd * config.max_lag  # updates that may be owed, if they are a whole block
        self._inbox: deque[Callable[[], object]] = deque()
        self._births: deque[tuple[int, int, float]] = deque()  # of published policies: version, steps, seconds
        self._failure: Exception | None = None
        self._changed = threading.Condition()  # guards all below, and ``owed``; never held during an update
        self._busy = self._pausing = self._stopping = False
        self._thread: threading.Thread | None = None
        self._mailbox: PolicyMailbox | None = None

    def __enter__(self) -> LearnerThread:
        super().__enter__()
        self._mailbox = PolicyMailbox(self.agent)
        self._thread = threading.Thread(target=self._run, name="learner", daemon=True)
        if not self._waits:
            gc.collect()
            gc.freeze()  # a look through everything that was loaded would hold up a control step
        self._thread.start()
        return self

    def stop(self) -> None:
        """Make no more updates; returns once the one under way is finished, and what was handed over is stored."""
        if self._thread is None:
            return
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._thread.join()
        self._thread = None
        super().stop()
        if not self._waits:
            gc.unfreeze()
        self._empty_inbox()

    def act(self, obs: Obs, *, explore: bool) -> torch.Tensor:
        """Adopt the newest finished weights and act with them; see :meth:`robo_rl.contracts.learning.Agent.act`."""
        assert self._mailbox is not None, "enter the learner before acting"
        if self._mailbox.adopt():
            while self._births and self._births[0][0] <= self._mailbox.version:
                _, *born = self._births.popleft()
                self._policy_born = (int(born[0]), born[1])
        self._note_age()
        return self._mailbox.act(obs, explore=explore)

    def store(self, obs: Obs, action: torch.Tensor, step: Step) -> None:
        """Hand B transitions over; see :meth:`Learner.store`."""
        self._hand_over(lambda: self.memory.add(obs, action, step))

    def deliver(self, insert: Callable[[], None]) -> None:
        """Hand it over; see :meth:`Learner.deliver`."""
        self._hand_over(insert)

    def remember_episode(self, episode_return: float) -> None:
        """Hand a return over; see :meth:`Learner.remember_episode`."""
        self._hand_over(lambda: self.agent.remember_episode(episode_return))

    def allow(self, steps: int) -> None:
        """Let ``steps`` more environment steps be learned from, and wait while learning is too far behind."""
        with self._changed:
            self._steps += steps
            self.owed += self._utd * steps
            self._note("learner_lag_steps", self.owed / self._utd)
            most = max(self._most, self.block)
            if not self._waits and self.owed > most:
                self.forgone += self.owed - most
                self.owed = most
            self._changed.notify_all()
        self._wait_until_owed(self._most)

    def catch_up(self) -> None:
        """Wait until no whole block of updates is owed, where the environment may wait."""
        self._wait_until_owed(0.0)

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """While entered, no update is under way and all experience is in the memory: what is read is whole."""
        with self._changed:
            self._pausing = True
            self._changed.wait_for(lambda: not self._busy)
        try:
            with super().quiet():
                self._check()
                self._empty_inbox()
                yield
        finally:
            with self._changed:
                self._pausing = False
                self._changed.notify_all()

    def _wait_until_owed(self, most: float) -> None:
        """Wait until at most ``most`` updates or less than a block are owed, if the environment may wait."""
        began = time.monotonic()
        with self._changed:
            while self._waits and self.due and self.owed > most:
                if self._failure is not None or self._thread is None or self._should_stop():
                    break
                self._changed.wait(_LOOK_UP)
        self.waiting += time.monotonic() - began
        self._check()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _hand_over(self, work: Callable[[], object]) -> None:
        with self._changed:
            self._inbox.append(work)
            self._changed.notify_all()

    def _empty_inbox(self) -> None:
        while self._inbox:
            self._inbox.popleft()()

    # -- what the thread does ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        if not self._waits:
            step_back()
        try:
            while self._next():
                self._empty_inbox()
                if self.due:
                    self._make_block()
                    self._publish()  # before whoever waits for the block goes on, so that it acts with what came of it
                    self._count_block()
        except Exception as error:  # whatever it is, the thread that waits for updates has to hear of it
            self._failure = error
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _next(self) -> bool:
        """Wait for something to do; False once there will be no more."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            while not self._stopping and (self._pausing or not (self._inbox or self.due)):
                self._changed.wait()
            self._busy = not self._stopping
            return self._busy

    def _count_block(self) -> None:
        with self._changed:
            super()._count_block()
            self._changed.notify_all()

    def _publish(self) -> None:
        assert self._mailbox is not None
        self._births.append((int(self.agent.updates), self._steps, self._now()))
        self._mailbox.publish()
