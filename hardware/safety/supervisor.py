"""What may not go on: detects faults, latches them, and knows who may clear them.

========================  =====================================================  ==================
fault                     latched when                                           cleared by
========================  =====================================================  ==================
``stopped``               :meth:`Supervisor.stop` was called                     a person
``stale_state``           the newest measurement is older than `max_state_age`   a person
``frozen_state``          an arm that is pulled has measured the very same       a person
                          numbers for 50 ms under new stamps
``contact_force``         the force on the tool exceeds `max_force`, or twice    a person
                          that for an instant
``contact_torque``        the torque on the tool exceeds `max_torque`, or twice  a person
                          that for an instant
``joint_limit``           a joint is measured beyond its range                   a person
``joint_speed``           a joint is measured faster than its limit              a person
``blocked``               a joint move makes no way                              a person
``control``               the driver or the control loop raised an error         a person
``device``                the device itself complains of something               itself, `recoveries`
                                                                                 an hour; then a person
========================  =====================================================  ==================

A person clears all of them at once, and only if no cause is still there.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Sequence
from operator import le

import numpy as np

from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import RobotSpec
from robo_rl.errors import Faulted

DEVICE = "device"
"""The one fault that clears itself, some times an hour."""

STOPPED = "stopped"
"""The fault of :meth:`Supervisor.stop`."""

# Of the wrench that lasts, and of that of an instant: time constant, s; how many times what may last it may be, as
# ISO/TS 15066 allows a transient contact twice a quasi-static one's force; and how to say it.
_SMOOTHING = ((0.05, 1.0, ""), (0.005, 2.0, " for an instant"))
_FROZEN = 0.05  # s
_RANGE_SLACK = 0.01  # rad beyond the range of a joint that an encoder's offset may account for
_PAUSE = 0.3  # before the device is asked to recover by itself, s
_HOUR = 3600.0


class Supervisor:
    """Watches one arm. Called by the control thread, except :meth:`stop`, :meth:`acknowledge` and :meth:`describe`.

    All times are of ``time.monotonic()``, given by the caller.
    """

    def __init__(self, spec: RobotSpec, limits: SafetyLimits) -> None:
        self._limits = limits
        self._low = [link.joint_range[0] - _RANGE_SLACK for link in spec.links]
        self._high = [link.joint_range[1] + _RANGE_SLACK for link in spec.links]
        self._max_velocity = [link.max_velocity for link in spec.links]
        self._lock = threading.Lock()
        self._latched: dict[str, str] = {}
        self._present: dict[str, str] = {}
        self._wrenches = [[0.0] * 6 for _ in _SMOOTHING]
        self._newest = -math.inf
        self._same_since = -math.inf
        self._same: tuple[bytes, bytes] = (b"", b"")
        self._automatic: deque[float] = deque()
        self._due = math.inf
        self._asked = False
        self.recoveries = 0

    @property
    def fault(self) -> str:
        """Name of the fault that was latched first, or of ``stopped`` if that is among them; empty if none is."""
        if not self._latched:
            return ""
        latched = list(self._latched)
        return STOPPED if STOPPED in latched else latched[0]

    def started(self, now: float) -> None:
        """Count the age of measurements from here on."""
        self._newest = now

    def observe(
        self, stamp: float, joint_pos: np.ndarray, joint_vel: np.ndarray, wrench: np.ndarray, error: str, pulled: bool
    ) -> None:
        """Look at a new measurement.

        Args:
            stamp: of it.
            joint_pos: (n,) rad, finite.
            joint_vel: (n,) rad/s, finite.
            wrench: (6,) on the tool, N over N·m; NaN if not known.
            error: what the device complains of.
            pulled: whether the arm is pulled noticeably by a torque of ours.
        """
        present = {}
        if error:
            present[DEVICE] = error
        q, dq, measured = joint_pos.tolist(), joint_vel.tolist(), wrench.tolist()
        dt = stamp - self._newest
        if dt > 0.0:
            self._newest = stamp
        known = dt > 0.0 and math.isfinite(sum(measured))
        for smoothed, (constant, share, how) in zip(self._wrenches, _SMOOTHING, strict=True):
            if known:
                new = min(dt / constant, 1.0)
                smoothed[:] = [before + new * (now - before) for before, now in zip(smoothed, measured, strict=True)]
            force, torque = math.hypot(*smoothed[:3]), math.hypot(*smoothed[3:])
            if force > share * self._limits.max_force:
                most = share * self._limits.max_force
                present["contact_force"] = f"{force:.1f} N on the tool, {most:g} are allowed{how}"
            if torque > share * self._limits.max_torque:
                most = share * self._limits.max_torque
                present["contact_torque"] = f"{torque:.1f} N·m on the tool, {most:g} are allowed{how}"
        if not (all(map(le, self._low, q)) and all(map(le, q, self._high))):
            worst = _largest([max(low - x, x - high) for low, x, high in zip(self._low, q, self._high, strict=True)])
            present["joint_limit"] = f"joint {worst + 1} is at {q[worst]:.3f} rad, beyond its range"
        if not all(map(le, map(abs, dq), self._max_velocity)):
            worst = _largest([abs(v) / most for v, most in zip(dq, self._max_velocity, strict=True)])
            present["joint_speed"] = (
                f"joint {worst + 1} moves at {dq[worst]:.2f} rad/s, its limit is {self._max_velocity[worst]:g}"
            )
        same = joint_pos.tobytes(), joint_vel.tobytes()
        if same != self._same or not pulled:
            self._same, self._same_since = same, stamp
        elif stamp - self._same_since > _FROZEN:
            present["frozen_state"] = "the measurements do not change while the arm is pulled; check its sensors"
        with self._lock:
            self._present = present  # a good measurement ends what was latched for want of one
            self._add(present)
            if DEVICE in present:
                if self._due == math.inf:
                    self._due = stamp + _PAUSE
            elif self._due < math.inf:  # recovered
                self._due = math.inf
                self._latched.pop(DEVICE, None)

    def watch_age(self, now: float, why: str = "check cable, power and driver") -> None:
        """Latch ``stale_state`` if nothing was measured for too long; for cycles that had no measurement, too."""
        age = now - self._newest
        if age > self._limits.max_state_age:
            self.latch("stale_state", f"no measurement for {age * 1e3:.0f} ms: {why}")

    def latch(self, name: str, reason: str) -> None:
        """Latch a fault whose cause is there until the next measurement, if it has one."""
        with self._lock:
            if name != "blocked":
                self._present[name] = reason
            self._add({name: reason})

    def stop(self, reason: str) -> None:
        """Latch ``stopped``; from any thread."""
        with self._lock:
            self._add({STOPPED: reason or "stopped"})

    def acknowledge(self) -> bool:
        """Clear what is latched; from any thread. A device that complains is asked to recover, see :meth:`due`.

        Returns:
            Whether there was anything to clear.

        Raises:
            Faulted: if a cause is still there.
        """
        with self._lock:
            still = {name: reason for name, reason in self._present.items() if name != DEVICE}
            if self._latched and still:
                causes = "; ".join(f"{name}: {reason}" for name, reason in still.items())
                raise Faulted(f"the cause is still there: {causes}; remove it, then recover again")
            waiting, latched = DEVICE in self._present, bool(self._latched)
            for name in [name for name in self._latched if name != DEVICE or not waiting]:
                del self._latched[name]
            if waiting:
                self._asked = True
            self._automatic.clear()
            return latched

    def due(self, now: float) -> bool:
        """Whether the device is to be asked to recover now; counts as done, whatever comes of it."""
        with self._lock:
            if DEVICE not in self._latched:
                return False
            if self._asked:
                self._asked, self._due = False, now + _PAUSE
                return True
            if len(self._latched) > 1 or now < self._due or not self._budget(now):
                return False
            self._automatic.append(now)
            self._due = now + _PAUSE
            self.recoveries += 1
            return True

    def failed(self, reason: str) -> None:
        """The device did not recover."""
        with self._lock:
            if DEVICE in self._latched:
                self._latched[DEVICE] = reason

    def describe(self, now: float) -> tuple[str, str, bool]:
        """Return the fault, why, and whether a person has to acknowledge it; empty and False if there is none."""
        with self._lock:
            name = self.fault
            if not name:
                return "", "", False
            alone = list(self._latched) == [DEVICE]
            return name, self._latched[name], not (alone and (self._asked or self._budget(now)))

    def _add(self, faults: dict[str, str]) -> None:
        for name, reason in faults.items():
            self._latched.setdefault(name, reason)

    def _budget(self, now: float) -> bool:
        while self._automatic and now - self._automatic[0] > _HOUR:
            self._automatic.popleft()
        return len(self._automatic) < self._limits.recoveries


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=values.__getitem__)
