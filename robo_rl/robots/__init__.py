"""Arms as published: one file each, data only."""

from __future__ import annotations

import importlib

from robo_rl.contracts.robot import RobotSpec
from robo_rl.errors import UserError, unknown_name

_BUILT_IN = {
    "panda": "robo_rl.robots.panda:PANDA",
    "fr3": "robo_rl.robots.fr3:FR3",
    "widowx250s": "robo_rl.robots.widowx250s:WIDOWX250S",
    "widowx_ai": "robo_rl.robots.widowx_ai:WIDOWX_AI",
}


def robot_names() -> list[str]:
    """Names of the arms that come with the suite."""
    return sorted(_BUILT_IN)


def robot(name: str) -> RobotSpec:
    """Return an arm by its name or, from outside the suite, by ``package.module:ATTRIBUTE``.

    Raises:
        UserError: if there is no such arm.
    """
    path = _BUILT_IN.get(name, name)
    if ":" not in path:
        raise unknown_name("robot", name, robot_names())
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise UserError(f"robot {name!r} cannot be loaded: {error}") from error
    if not isinstance(found, RobotSpec):
        raise UserError(f"robot {name!r} is a {type(found).__name__}, not a RobotSpec")
    return found
