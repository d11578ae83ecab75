"""A tool reference as set-points of joints, for arms that hold joint positions, within speeds, limits and walls."""

from __future__ import annotations

import numpy as np

from controllers.single import SingleChain, rotation_vector
from robo_rl.contracts.robot import RobotSpec

_INSIDE = 1e-6  # m that the tool of a set-point may be beyond a wall of the work space
_CORRECTIONS = 8  # of a set-point, at most; each leaves little of what it corrects
_SINGULAR = 1e-3  # share of the way back to a wall that each of them leaves, so that none is wild


class JointTracking:
    """Differential inverse kinematics, cycle by cycle from the last set-point.

    Each cycle goes ``dq = Jᵀ (J Jᵀ + λ² 1)⁻¹ e`` with e the way from the pose of the last set-point to the reference,
    as a whole no faster than the joints may be, and no further than their limits. A joint at its limit is left out
    where it would go on.

    The reference is in the work space, but a set-point is only near it: where the arm cannot have position and
    orientation at once, least squares give up some of either. So where a step would put the tool outside, the walls
    that it would pass become constraints of the same least squares, and the tool slides along there.

    Example:
        >>> from robo_rl.robots.widowx250s import WIDOWX250S as spec
        >>> low, high = np.array([link.joint_range for link in spec.links]).T
        >>> box = np.array(spec.workspace_low), np.array(spec.workspace_high)
        >>> tracking = JointTracking(spec, low=low, high=high, speed=np.ones(spec.dof), box=box)
        >>> pos, rot = tracking.pose()
        >>> bool(np.allclose(tracking.towards(pos, rot, 0.02), spec.home))
        True

    Args:
        spec: the arm, of n joints.
        low: (n,) rad that set-points may not be below.
        high: (n,) rad that they may not be above.
        speed: (n,) rad/s.
        box: lowest and highest (3,), m, of the tool.

    Attributes:
        at: (n,) the last set-point, rad; replaced, never written to.
    """

    def __init__(
        self,
        spec: RobotSpec,
        *,
        low: np.ndarray,
        high: np.ndarray,
        speed: np.ndarray,
        box: tuple[np.ndarray, np.ndarray],
    ) -> None:
        self._chain = SingleChain(spec)
        self._low, self._high, self._speed, self._box = low, high, speed, box
        self._walls: tuple[np.ndarray, np.ndarray] | None = None  # None: anew, from where the tool is
        self.at = np.array(spec.home)

    def begin(self, joint_pos: np.ndarray) -> None:
        """Begin at a posture (n,), rad; a tool that is outside of the work space there can only come back."""
        self.at = joint_pos
        self._walls = None

    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Position (3,), m, and orientation (3, 3) of the tool at the set-point."""
        pos, rot, _ = self._chain.forward(self.at)
        return pos, rot

    def towards(self, pos: np.ndarray, rot: np.ndarray, dt: float) -> np.ndarray:
        """Return the next set-point (n,) on the way to a pose of the tool, ``dt`` s after the last one.

        Args:
            pos: (3,) m.
            rot: (3, 3).
            dt: s.
        """
        here, turned, jacobian = self._chain.forward(self.at)
        error = np.concatenate((pos - here, rotation_vector(rot @ turned.T)))
        damping = 1e-4 + 0.5 * float(error @ error)
        step = _least_squares(jacobian, damping, error)
        ended = ((self.at <= self._low) & (step < 0.0)) | ((self.at >= self._high) & (step > 0.0))
        if ended.any():
            jacobian = jacobian * ~ended
            step = _least_squares(jacobian, damping, error)
        low, high = self._walls or self._box
        if self._walls is None:  # from outside the tool can only come back
            low, high = np.minimum(low, here), np.maximum(high, here)
        wanted = self._limited(step, dt)
        there = self._chain.forward(wanted)[0]
        if (there < low - _INSIDE).any() or (there > high + _INSIDE).any():
            wanted, there = self._constrained(wanted, jacobian, damping, here, low, high, dt)
        self._walls = np.clip(there, low, self._box[0]), np.clip(there, self._box[1], high)
        self.at = wanted
        return wanted

    def straight_to(self, joint_pos: np.ndarray, dt: float) -> np.ndarray:
        """Return the next set-point (n,) straight on the way to a posture (n,); no wall is looked at."""
        self._walls = None
        self.at = self._limited(joint_pos - self.at, dt)
        return self.at

    def _limited(self, step: np.ndarray, dt: float) -> np.ndarray:
        """Set-point (n,) a step (n,) from the last one, or as far that way as speeds and limits of joints allow."""
        share = float((np.abs(step) / (self._speed * dt)).max())
        wanted = self.at + (step / share if share > 1.0 else step)
        # Joints that are outside of their limits may stay there or come back.
        low, high = np.minimum(self._low, self.at), np.maximum(self._high, self.at)
        return np.minimum(np.maximum(wanted, low), high)

    def _constrained(
        self,
        wanted: np.ndarray,
        jacobian: np.ndarray,
        damping: float,
        here: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        dt: float,
    ) -> tuple[np.ndarray, np.ndarray]:
        """The set-point (n,) with the tool between ``low`` and ``high`` (3,) that is best for the rest, and that tool.

        With ``H = Jᵀ J + λ² 1`` of the least squares and ``A`` the rows of the Jacobian for walls that are passed by
        ``c``, it is ``H⁻¹ Aᵀ (A H⁻¹ Aᵀ)⁻¹ c`` away from the wanted one; anew until it is there, as walls are straight
        and ways of joints are not. If that fails it is the last one, with the tool ``here`` (3,).
        """
        inverse = np.linalg.inv(jacobian.T @ jacobian + damping * np.eye(len(wanted)))
        for _ in range(_CORRECTIONS):
            pos, _, now = self._chain.forward(wanted)
            back = np.minimum(np.maximum(pos, low), high) - pos
            if np.abs(back).max() <= _INSIDE:
                return wanted, pos
            free = (wanted > self._low) & (wanted < self._high)  # a joint at its limit cannot bring the tool back
            passed = now[:3][back != 0.0] * free
            spread = inverse @ passed.T
            normal = passed @ spread
            normal.flat[:: len(normal) + 1] += _SINGULAR
            step = free * (spread @ np.linalg.solve(normal, back[back != 0.0]))
            wanted = self._limited(wanted + step - self.at, dt)
        return self.at, here


def _least_squares(jacobian: np.ndarray, damping: float, error: np.ndarray) -> np.ndarray:
    """Step (n,) of the joints that minimises ``|J dq - e|² + λ² |dq|²``, with ``damping`` as λ²."""
    damped = jacobian @ jacobian.T
    damped.flat[::7] += damping
    return np.asarray(jacobian.T @ np.linalg.solve(damped, error))
