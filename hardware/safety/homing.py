"""The way of an arm to its home posture, by way of another one where the straight way leaves its limits."""

from __future__ import annotations

import numpy as np

from controllers.kinematics import Chain
from hardware.safety.joint_motion import JointPlanner
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.contracts import RobotSpec
from robo_rl.errors import InvalidAction, UserError

_SAMPLES = 20000  # postures that are looked at for being within the limits
_TRIED = 30  # of them, the nearest, that ways are planned by


def way_home(spec: RobotSpec, limits: SafetyLimits, joint_pos: np.ndarray) -> list[np.ndarray]:
    """Return the postures to move to one after another, rad; the last one is home.

    The arm's own planner is tried first, which goes straight, or leads the tool. Where neither stays within the limits,
    as from a folded arm whose tool is behind it, postures near the arm with the tool in the work space are tried in
    between. The arm plans each move anew and checks it; this only chooses.

    Args:
        spec: the arm.
        limits: that hold.
        joint_pos: (n,) where it is, rad.

    Raises:
        UserError: if no way is found; says where the tool is and what to do by hand.
    """
    home, here = np.array(spec.home, dtype=float), np.asarray(joint_pos, dtype=float)
    planner, chain = JointPlanner(spec, limits), Chain(spec)
    why = _refusal(planner, here, home)
    if not why:
        return [home]
    ranges = np.array([link.joint_range for link in spec.links])
    rng = np.random.default_rng(0)
    low, high = ranges[:, 0] + limits.joint_margin, ranges[:, 1] - limits.joint_margin
    between = rng.uniform(low, high, (_SAMPLES, spec.dof))
    pos, rot = (np.asarray(part) for part in chain.forward(between))
    inside = ((pos > limits.workspace_low) & (pos < limits.workspace_high)).all(axis=1)
    upright = geometry.distance(np.asarray(chain.forward(home)[1]), rot) < limits.max_tilt
    between = between[inside & upright]
    near = np.argsort(np.abs(between - here).max(axis=1))[:_TRIED]
    for posture in between[near]:
        if not _refusal(planner, here, posture) and not _refusal(planner, posture, home):
            return [posture, home]
    place = np.round(np.asarray(chain.forward(here)[0]), 2).tolist()
    box = f"{list(limits.workspace_low)} to {list(limits.workspace_high)}"
    raise UserError(
        f"{spec.name} has its tool at {place} m, from where no way home was found ({why}); bring the tool by hand over "
        f"the table, into {box} m: a Franka by its guiding "
        "button, a WidowX with its power off and held, then try again"
    )


def _refusal(planner: JointPlanner, start: np.ndarray, goal: np.ndarray) -> str:
    """Why there is no way; empty if there is one."""
    try:
        planner.plan(start, goal)
    except InvalidAction as error:
        return str(error)
    return ""
