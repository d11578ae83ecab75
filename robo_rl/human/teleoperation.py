"""A person at a device."""

from __future__ import annotations

import time

from robo_rl.contracts.human import HumanInput, InputDevice, Request, View
from robo_rl.human.mapping import ActionMap

STALE = 0.5
"""Seconds after which a device that was pushed when it last spoke counts as silent."""


class Teleoperator:
    """A :class:`robo_rl.contracts.Human` at a :class:`robo_rl.contracts.InputDevice`.

    A device that says it is pushed, and has said so for the last time more than ``stale`` seconds ago, is not believed:
    its hands are off. At rest a device may be silent for as long as it likes.

    Args:
        device: belongs to this from now on.
        actions: what its directions mean.
        stale: s.
    """

    def __init__(self, device: InputDevice, actions: ActionMap, *, stale: float = STALE) -> None:
        self._device, self._actions, self._stale = device, actions, stale
        self.device = device.name
        self._request: Request | None = None

    def begin(self) -> None:
        """A new episode begins; labels given to the last one are dropped, requests are not."""
        said = self._device.read()
        if said is not None and said.request is not None:
            self._request = said.request

    def read(self, view: View) -> HumanInput | None:
        """Return what the device says now, as an action of the task."""
        said = self._device.read()
        if said is None:
            return None
        request, self._request = said.request or self._request, None
        latency = max(0.0, time.monotonic() - said.stamp)
        moved = said.moved and latency <= self._stale
        gripper = said.gripper if self._actions.gripper else None
        return HumanInput(
            action=self._actions.action(said, view.reading) if moved else None,
            gripper=gripper,
            label=said.label,
            request=request,
            device=self.device,
            latency=latency if moved else 0.0,
        )

    def close(self) -> None:
        """Let go of the device."""
        self._device.close()
