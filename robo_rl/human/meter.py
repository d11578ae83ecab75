"""How much people have to help: the figures by which one sees that a policy needs them less."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Any

import torch

from robo_rl.contracts.human import LABELS
from robo_rl.contracts.learning import Step

_EPISODES = 20  # that the figures are taken over


@dataclass(frozen=True)
class SupervisedEpisode:
    """What an episode took of a person.

    Attributes:
        length: control steps.
        success: whether it ended in one.
        interventions: segments in which a person had a say.
        intervention_rate: share of its steps within them.
        cycle_seconds: its length in time on the robot, s.
        label: the person's verdict, ``none`` without one.
    """

    length: int
    success: bool
    interventions: int
    intervention_rate: float
    cycle_seconds: float
    label: str


class InterventionMeter:
    """Counts interventions in the steps of B environments.

    Args:
        num_envs: B.
        control_dt: seconds of one control step.
        on_episode: told each episode that is over.

    Attributes:
        human_steps: steps in which a person had a say, so far.
    """

    def __init__(
        self, num_envs: int, control_dt: float, on_episode: Callable[[SupervisedEpisode], None] = lambda _: None
    ) -> None:
        self._dt, self._on_episode = control_dt, on_episode
        self._length = torch.zeros(num_envs, dtype=torch.long)
        self._human = torch.zeros(num_envs, dtype=torch.long)
        self._segments = torch.zeros(num_envs, dtype=torch.long)
        self._recent: deque[SupervisedEpisode] = deque(maxlen=_EPISODES)
        self.human_steps = 0

    def add(self, step: Step) -> None:
        """Count a step, whose ``info`` holds :class:`robo_rl.contracts.Provenance`."""
        human = (step.info["authority"] > 0).cpu().long()
        self._length += 1
        self._human += human
        self._segments += step.info["onset"].cpu().long()
        self.human_steps += int(human.sum())
        for row in step.done.cpu().nonzero()[:, 0].tolist():
            length = int(self._length[row])
            episode = SupervisedEpisode(
                length=length,
                success=bool(step.info["success"][row]),
                interventions=int(self._segments[row]),
                intervention_rate=int(self._human[row]) / length,
                cycle_seconds=length * self._dt,
                label=LABELS[int(step.info["label"][row])],
            )
            self._recent.append(episode)
            self._on_episode(episode)
            self.begin(row)

    def begin(self, row: int | None = None) -> None:
        """Forget the episode under way of one environment, of all if None: it is not finished."""
        rows = slice(None) if row is None else row
        for count in (self._length, self._human, self._segments):
            count[rows] = 0

    def figures(self) -> dict[str, float | None]:
        """Return the figures over the last 20 episodes, None where there is nothing to tell yet.

        ``intervention_rate``: share of steps in which a person had a say. ``interventions``: segments an episode.
        ``autonomous_rate``: share of episodes without any. ``cycle_seconds``: mean time of those that succeeded, s.
        """
        episodes = list(self._recent)
        steps = sum(each.length for each in episodes)
        human = sum(each.intervention_rate * each.length for each in episodes)
        solved = [each.cycle_seconds for each in episodes if each.success]
        return {
            "intervention_rate": human / steps if steps else None,
            "interventions": fmean(each.interventions for each in episodes) if episodes else None,
            "autonomous_rate": fmean(each.interventions == 0 for each in episodes) if episodes else None,
            "cycle_seconds": fmean(solved) if solved else None,
        }

    def state(self) -> dict[str, Any]:
        """Return what it takes to go on, as JSON values."""
        return {"human_steps": self.human_steps, "recent": [asdict(each) for each in self._recent]}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.human_steps = state["human_steps"]
        self._recent.extend(SupervisedEpisode(**each) for each in state["recent"])
