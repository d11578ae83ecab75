"""What a training loop does about the people in its environment: takes their part in, and counts it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from robo_rl.contracts.learning import Step
from robo_rl.human.admission import Buffer, Intake
from robo_rl.human.meter import InterventionMeter, SupervisedEpisode

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs


class Supervision:
    """Takes in the steps of supervised environments and tells how much people had to help.

    Args:
        intake: what hands them over to the buffers.
        meter: what counts.

    Example:
        >>> supervision = Supervision.of(memory, demonstrations, env.num_envs, 0.1)     # doctest: +SKIP
        >>> supervision.add(obs, env.step(action))                                      # doctest: +SKIP
        >>> supervision.figures()["intervention_rate"]                                  # doctest: +SKIP
    """

    def __init__(self, intake: Intake, meter: InterventionMeter) -> None:
        self.intake, self.meter = intake, meter

    @staticmethod
    def of(
        online: Buffer,
        demonstrations: Buffer,
        num_envs: int,
        control_dt: float,
        *,
        deliver: Callable[[Callable[[], None]], object] = lambda insert: insert(),
        on_episode: Callable[[dict[str, Any]], None] = lambda _: None,
    ) -> Supervision:
        """Build one; ``on_episode`` is told the figures of each episode that is over, as JSON values."""

        def told(episode: SupervisedEpisode) -> None:
            on_episode(asdict(episode))

        return Supervision(
            Intake(online, demonstrations, num_envs, deliver), InterventionMeter(num_envs, control_dt, told)
        )

    @property
    def ready(self) -> bool:
        """Whether there is experience to learn from: an episode is taken in once it is over."""
        return self.intake.admitted > 0

    def add(self, obs: Obs, step: Step) -> None:
        """Take in a step of all B environments: ``obs`` before it, each (B, ...), and what came of it."""
        self.meter.add(step)
        self.intake.add(obs, step)

    def flush(self) -> None:
        """Take in the episodes under way, which are cut here."""
        self.intake.flush()
        self.meter.begin()

    def figures(self) -> dict[str, float | None]:
        """Return the figures of :meth:`InterventionMeter.figures`, and what was taken in since the start.

        ``human_steps`` counts steps in which a person had a say, ``demonstrated`` those that entered the
        demonstrations, ``discarded`` episodes that people discarded.
        """
        counts = {
            "human_steps": self.meter.human_steps,
            "demonstrated": self.intake.demonstrated,
            "discarded": self.intake.discarded,
        }
        return {**self.meter.figures(), **counts}

    def state(self) -> dict[str, Any]:
        """Return what it takes to go on, as JSON values."""
        intake = self.intake
        counts = {"admitted": intake.admitted, "demonstrated": intake.demonstrated, "discarded": intake.discarded}
        return {"meter": self.meter.state(), **counts}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state` gave."""
        self.meter.resume(state["meter"])
        for name in ("admitted", "demonstrated", "discarded"):
            setattr(self.intake, name, state[name])
