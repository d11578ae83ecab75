"""People by name: what ``--human`` and ``--device`` take."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError, unknown_name

if TYPE_CHECKING:
    from robo_rl.cockpit.cockpit import Cockpit
    from robo_rl.contracts import Human, InputDevice
    from robo_rl.contracts.learning import BatchedEnv
    from robo_rl.human.intervention import InterventionEnv
    from robo_rl.human.simulated import SimulatedSettings
    from robo_rl.training.config import TrainConfig


COCKPIT = "cockpit"
"""Name of the device that is a page in a browser."""


def device_names() -> list[str]:
    """Names of the devices that a person can hold."""
    return sorted([*_DEVICES, COCKPIT])


def check_device(name: str, *others: str) -> None:
    """Refuse what is neither a device, or NAME:WHICH of one, nor among ``others``.

    Raises:
        UserError: if so, with the nearest names.
    """
    kind = name.partition(":")[0]
    if kind not in _DEVICES and name not in (*others, COCKPIT):
        raise unknown_name("device", kind, [*_DEVICES, COCKPIT, *others])


def open_person(name: str, env: Any, *, frame: str | None = None) -> Human:
    """Return a person at a device.

    Args:
        name: of the device, or NAME:WHICH for one of several: a path, a number, or part of its name.
        env: that they act in.
        frame: that the device moves in; that of the task's actions if None.

    Raises:
        UserError: if there is no such device; says which are connected.
        MissingExtra: if what reads it is not installed.
    """
    from robo_rl.human.mapping import ActionMap
    from robo_rl.human.teleoperation import Teleoperator

    kind, _, which = name.partition(":")
    check_device(name)
    actions = ActionMap.of(env, frame)
    return Teleoperator(_DEVICES[kind](which or None, actions.gripper), actions)


def simulate_people(env: Any, settings: SimulatedSettings, seed: int) -> dict[int, Human]:
    """Return a simulated person for each environment.

    Raises:
        UserError: if the task has no expert or no dense reward terms, which simulated people go by.
    """
    from robo_rl.human.mapping import ActionMap
    from robo_rl.human.simulated import SimulatedHuman

    task = getattr(env, "task", None)
    if not hasattr(env, "expert_action") or not getattr(task, "reward_scales", None):
        raise UserError("human: a simulated one needs a task with an expert and dense reward terms; choose a device")
    gripper = ActionMap.of(env).gripper
    return {row: SimulatedHuman(settings, seed=seed + row, gripper=gripper) for row in range(env.num_envs)}


def supervisor(
    config: TrainConfig, should_stop: Callable[[], bool], cockpit: Cockpit | None = None
) -> Callable[[BatchedEnv], InterventionEnv] | None:
    """Return what puts the person of a run into its environment, None if nobody is to be there.

    A simulator keeps to the pace of the wall clock where a person is at a device.

    Args:
        config: of the run.
        should_stop: ends a pause.
        cockpit: the page that the person is at, where they are at one.
    """
    if config.human is None:
        return None
    name = config.human
    check_device(name, "simulated")

    def supervise(env: BatchedEnv) -> InterventionEnv:
        from robo_rl.human.intervention import InterventionEnv

        paced = name != "simulated" and config.cell is None
        if cockpit is not None:
            from robo_rl.commands.cockpits import at_the_page

            return at_the_page(
                env, cockpit, frame=config.frame, settings=config.authority, paced=paced, figures=False,
                fps=config.cockpit.fps, should_stop=should_stop,
            )  # fmt: skip
        people: dict[int, Human]
        if name == "simulated":
            people = simulate_people(env, config.simulated, config.seed + 15_485_863)
        else:
            people = {0: open_person(name, env, frame=config.frame)}
        return InterventionEnv(env, people, config.authority, paced=paced, should_stop=should_stop, tell=tell)

    return supervise


def tell(line: str) -> None:
    """Tell a person something, beside what the command prints."""
    print(line, file=sys.stderr, flush=True)


@cache
def _tell_once(line: str) -> None:
    tell(line)


def _keyboard(which: str | None, gripper: bool) -> InputDevice:
    from hardware.teleop.keyboard import HELP, Keyboard

    if which is not None:
        raise UserError(f"keyboard: it is the terminal's, there is no {which!r}; leave that out")
    keyboard = Keyboard()
    _tell_once(HELP)
    return keyboard


def _gamepad(which: str | None, gripper: bool) -> InputDevice:
    from hardware.teleop.gamepad import Gamepad

    return Gamepad(which)


def _spacemouse(which: str | None, gripper: bool) -> InputDevice:
    from hardware.teleop.spacemouse import open_spacemouse

    return open_spacemouse(which, gripper=gripper)


_DEVICES: dict[str, Callable[[str | None, bool], InputDevice]] = {
    "keyboard": _keyboard,
    "gamepad": _gamepad,
    "spacemouse": _spacemouse,
}
