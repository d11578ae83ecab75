"""The page of a command: opened, and put around what the person at it watches and moves."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robo_rl.cockpit.cockpit import Cockpit
    from robo_rl.cockpit.settings import CockpitSettings
    from robo_rl.cockpit.watched import WatchedEnv
    from robo_rl.contracts import Robot
    from robo_rl.human.authority import AuthoritySettings


@contextlib.contextmanager
def open_cockpit(settings: CockpitSettings, *, title: str, cell: bool) -> Iterator[Cockpit]:
    """Serve the page and say where.

    Raises:
        UserError: if the address cannot be listened at.
        MissingExtra: if what serves it is not installed.
    """
    from robo_rl.cockpit.cockpit import Cockpit
    from robo_rl.commands.humans import tell

    with Cockpit(settings, title=title, cell=cell) as cockpit:
        tell(f"cockpit: {cockpit.url}")
        yield cockpit


def at_the_page(
    env: Any,
    cockpit: Cockpit,
    *,
    frame: str | None,
    settings: AuthoritySettings | None = None,
    paced: bool,
    figures: bool,
    fps: float,
    should_stop: Callable[[], bool],
) -> WatchedEnv:
    """Return an environment in which the person at the page may take over.

    Args:
        env: to act in.
        cockpit: the page.
        frame: that a push is meant in where the page chooses none; None: that of the task's actions.
        settings: when the person is in control.
        paced: whether a step takes one control period of the wall clock.
        figures: whether the page's curves are made of the episodes here; a run has figures of its own.
        fps: pictures a second of each camera, at most.
        should_stop: ends a pause.

    Raises:
        UserError: if there is no such frame.
    """
    from robo_rl.cockpit.page import AtThePage, FrameOfThePage
    from robo_rl.cockpit.watched import WatchedEnv
    from robo_rl.commands.cockpit_pictures import drawn_pictures
    from robo_rl.commands.humans import tell

    page = cockpit.page
    actions = FrameOfThePage(env, frame, lambda: page.frame)
    cockpit.about(frames=list(actions.frames), frame=actions.frame)
    person = AtThePage(page, actions)
    watched = WatchedEnv(
        env, {0: person}, settings, cockpit=cockpit, pictures=drawn_pictures(env, cockpit, fps), figures=figures,
        paced=paced, should_stop=should_stop, tell=tell,
    )  # fmt: skip
    person.show = watched.show
    return watched


@contextlib.contextmanager
def on_the_page(cockpit: Cockpit, cameras: Mapping[str, Any], robots: list[Robot], fps: float = 30.0) -> Iterator[None]:
    """Show a cell's cameras on the page, and have its stop stop the arms until it is released there."""
    from hardware.inputs.emergency_stop import EmergencyStop
    from robo_rl.commands.cockpit_pictures import received

    with received(cameras, cockpit, fps), EmergencyStop(_PageStop(), robots) as stop:

        def release() -> None:
            stop.reset()
            for robot in robots:
                robot.recover()

        cockpit.on_emergency(lambda: stop.trigger("the stop of the cockpit was pressed"), release)
        try:
            yield
        finally:
            cockpit.on_emergency(lambda: None, lambda: None)


class _PageStop:
    """A :class:`hardware.inputs.stop_inputs.StopInput` that is never pressed: the page triggers the stop itself."""

    what = "cockpit"

    def open(self) -> None:
        """Nothing is connected."""

    def wait(self, timeout: float) -> bool:
        """Nothing is held."""
        time.sleep(timeout)
        return False

    def close(self) -> None:
        """Nothing is held."""
