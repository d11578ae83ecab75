"""What is learned from an episode in which a person could have a say, and as what.

The rules are those of HIL-SERL (Luo et al. 2024, arXiv 2410.21845, section III-C), with what it leaves open settled:

* Every transition enters the online buffer. Those in which a person had a say enter the demonstration buffer too.
* The action of a transition is the executed one, in both.
* Of a segment, the demonstrations end with the last step in which the person pushed: the rest that follows, until it is
  sure that they let go, is nobody's intention.
* Transitions are handed over in runs that are contiguous in time. Between two runs the stream is broken, so that no
  n-step return, and no look ahead, joins what did not follow each other.
* A run of the online buffer ends where a person takes over: an n-step return that went on from the policy's action
  through theirs would credit the policy with its rescue, and teach it to wait for help.
* Of an episode that a person discards, nothing enters either buffer.
* Ends are those of the environment: a time limit, a cut by a fault or by a person is a truncation, never terminal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import torch

from robo_rl.contracts.human import LABELS, PROVENANCE, Provenance
from robo_rl.contracts.learning import Step

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


@dataclass(frozen=True)
class Admission:
    """The runs of steps of an episode that enter each buffer, each from its first step to the one after its last.

    Attributes:
        online: of the learner's own experience.
        demonstrations: of what people did.
    """

    online: tuple[range, ...]
    demonstrations: tuple[range, ...]


def admit(provenance: Provenance) -> Admission:
    """Decide what of an episode enters which buffer; see the module for the rules.

    Args:
        provenance: of its T steps, each (T, ...), oldest first.
    """
    length = len(provenance.authority)
    if not length or bool((provenance.label == LABELS.index("discard")).any()):
        return Admission((), ())
    pushed = [bool(a) and bool(p) for a, p in zip(provenance.authority, provenance.active, strict=True)]
    segments = provenance.segment.tolist()
    runs: dict[int, range] = {}
    for t, (segment, push) in enumerate(zip(segments, pushed, strict=True)):
        if push:
            runs[segment] = range(runs[segment].start if segment in runs else t, t + 1)
    taken_over = [t for t in range(1, length) if pushed[t] and not pushed[t - 1] and segments[t] != segments[t - 1]]
    ends = [0, *taken_over, length]
    online = tuple(range(start, end) for start, end in pairwise(ends))
    return Admission(online, tuple(runs[segment] for segment in sorted(runs)))


class Buffer(Protocol):
    """What is asked of a buffer; :class:`robo_rl.replay.buffer.ReplayBuffer` answers it."""

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        ...

    def add(
        self, obs: Obs, action: torch.Tensor, step: Step, *, env_ids: Sequence[int] | torch.Tensor | None = None
    ) -> object:
        """Store transitions, one a stream."""
        ...

    def break_stream(self, env_ids: Sequence[int] | torch.Tensor | None = None) -> None:
        """Declare that the next transitions of these streams do not follow the ones before."""
        ...


class Intake:
    """Hands the transitions of supervised environments over to the buffers, an episode at a time, once it is over.

    Only then is it known whether a person discards it. Steps must come with :class:`robo_rl.contracts.Provenance`.

    Args:
        online: buffer of the learner's own experience, with a stream for each environment.
        demonstrations: buffer of demonstrations; its stream 0 takes what people do.
        num_envs: environments.
        deliver: carries out what it is given; for buffers that another thread owns, there and later.

    Attributes:
        admitted: transitions that entered the online buffer so far.
        demonstrated: transitions that entered the demonstrations so far.
        discarded: episodes that people discarded so far.

    Example:
        >>> intake = Intake(memory, demonstrations, env.num_envs)        # doctest: +SKIP
        >>> intake.add(obs, step)                                        # doctest: +SKIP
    """

    def __init__(
        self,
        online: Buffer,
        demonstrations: Buffer,
        num_envs: int,
        deliver: Callable[[Callable[[], None]], object] = lambda insert: insert(),
    ) -> None:
        self._online, self._demonstrations, self._deliver = online, demonstrations, deliver
        self._under_way: list[list[tuple[Obs, Step]]] = [[] for _ in range(num_envs)]
        self.admitted = self.demonstrated = self.discarded = 0

    def add(self, obs: Obs, step: Step) -> None:
        """Take up a step of all B environments.

        Args:
            obs: before the step, each (B, ...).
            step: what came of it.
        """
        for env, episode in enumerate(self._under_way):
            row = slice(env, env + 1)
            before = {key: value[row].clone() for key, value in obs.items()}
            episode.append((before, _row(step, row)))
            if bool(step.done[env]):
                self._hand_over(env)

    def flush(self) -> None:
        """Hand over what is under way: its episodes are cut here, which ends none of them."""
        for env in range(len(self._under_way)):
            self._hand_over(env)

    def _hand_over(self, env: int) -> None:
        episode, self._under_way[env] = self._under_way[env], []
        if not episode:
            return
        told = {name: torch.cat([step.info[name] for _, step in episode]) for name in PROVENANCE}
        admission = admit(Provenance(**told))
        self.discarded += not admission.online
        self.admitted += sum(map(len, admission.online))
        self.demonstrated += sum(map(len, admission.demonstrations))

        def insert() -> None:
            _insert(self._online, env, episode, admission.online)
            _insert(self._demonstrations, 0, episode, admission.demonstrations)

        self._deliver(insert)


def _insert(buffer: Buffer, stream: int, episode: Sequence[tuple[Obs, Step]], runs: Sequence[range]) -> None:
    """Add runs of an episode to a stream, which is broken before and after each."""
    for run in runs:
        buffer.break_stream([stream])
        for t in run:
            obs, step = episode[t]
            buffer.add(obs, step.info["executed_action"], step, env_ids=[stream])
        buffer.break_stream([stream])


def _row(step: Step, row: slice) -> Step:
    """One environment of a step, copied; of its info, what has a row for each environment."""
    return replace(
        step,
        obs={key: value[row].clone() for key, value in step.obs.items()},
        reward=step.reward[row].clone(),
        terminated=step.terminated[row].clone(),
        truncated=step.truncated[row].clone(),
        info={key: value[row].clone() for key, value in step.info.items()},
    )
