"""What a simulated arm does by itself when nobody drives it, or somebody does so wrongly: as a Franka does."""

from __future__ import annotations

from operator import gt

import numpy as np

from controllers.joint_speeds import JointSpeeds
from robo_rl.contracts.plant import Measured, Plant

_FREQUENCY = 60.0  # rad/s, of the critically damped hold; far below what a step of 1 ms can carry
_STILL = 0.02  # rad/s below which a braking joint is held where it is


class Guard:
    """Decides what torque acts in each step.

    Before the first torque, after :meth:`release` and after :meth:`recover` the arm is held where it is. It brakes,
    holds and latches an error if torques stop coming for ``patience`` s of its own time (a stall of the physics is no
    fault of the drive), or a joint goes faster than it may. Torques that come then are ignored until :meth:`recover`.

    Args:
        plant: what is guarded.
        patience: s.

    Attributes:
        error: why it has braked; empty if it has not.
        trips: how often it has.
    """

    def __init__(self, plant: Plant, patience: float) -> None:
        self._plant = plant
        self._patience = max(1, round(patience / plant.timestep))
        self._milliseconds = round(1e3 * patience)
        self._max_torque = np.array([link.max_torque for link in plant.spec.links])
        self._speeds = JointSpeeds(plant.spec)
        self._driven = False
        self._since = 0  # steps since the last torque
        self._torque = np.zeros(plant.spec.dof)
        self.error, self.trips = "", 0
        self._begin_hold()

    def release(self) -> None:
        """Nobody drives any longer, and that is no error: hold."""
        if self._driven:
            self._driven = False
            self._begin_hold()

    def recover(self) -> None:
        """Clear the error and go on holding, unless the arm is still moving."""
        if self.error and np.abs(self._plant.measure().joint_vel).max() < 5.0 * _STILL:
            self.error = ""

    def act(self, torque: np.ndarray | None, measured: Measured) -> np.ndarray:
        """Return the torque (n,) of this step, given the one that has come since the last step, if any has."""
        if torque is not None and not self.error:
            self._driven, self._since, self._torque = True, 0, torque
        elif self._driven:
            self._since += 1
            if self._since >= self._patience:
                self._trip(f"communication_constraints_violation: no torque came for {self._milliseconds} ms")
        if self._driven:
            dq = measured.joint_vel.tolist()
            fast = list(map(gt, map(abs, dq), self._speeds.towards(measured.joint_pos.tolist(), dq)))
            if any(fast):
                joint = fast.index(True)
                self._trip(f"joint_velocity_violation: joint {joint + 1} at {dq[joint]:.2f} rad/s")
        if self._driven:
            return self._torque
        return self._brake(measured.joint_pos, measured.joint_vel)

    def _trip(self, error: str) -> None:
        self.error = error
        self.trips += 1
        self._driven = False
        self._begin_hold()

    def _begin_hold(self) -> None:
        inertia = self._plant.inertia()
        self._stiffness, self._damping = _FREQUENCY**2 * inertia, 2.0 * _FREQUENCY * inertia
        self._place = np.full(len(inertia), np.nan)

    def _brake(self, q: np.ndarray, dq: np.ndarray) -> np.ndarray:
        """Damp; hold each joint by a spring once it has come to rest, so that it does not swing back."""
        self._place = np.where(np.isnan(self._place) & (np.abs(dq) < _STILL), q, self._place)
        pull = np.where(np.isnan(self._place), 0.0, self._stiffness * (self._place - q))
        return np.clip(pull - self._damping * dq, -self._max_torque, self._max_torque)
