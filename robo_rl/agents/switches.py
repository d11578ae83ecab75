"""What groups of settings have in common."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from robo_rl.errors import UserError


def refuse_idle(group: str, config: Any, switch: str) -> None:
    """Refuse a group of settings in which something is set while the group is switched off.

    Args:
        group: what error messages call it.
        config: a dataclass whose fields all have plain defaults.
        switch: the field whose default switches the group off.

    Raises:
        UserError: naming the field and the switch.
    """
    settings = {f.name: (getattr(config, f.name), f.default) for f in fields(config)}
    value, off = settings.pop(switch)
    for name, (given, default) in settings.items():
        if value == off and given != default:
            raise UserError(f"{group}.{name} does nothing while {group}.{switch} is {off!r}: set that too")
