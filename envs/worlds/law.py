"""The impedance law of :mod:`controllers` on MuJoCo models: torque motors, one call for all copies each millisecond."""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from controllers.impedance import impedance_torque
from controllers.limits import fit_torque
from controllers.state import ArmState
from robo_rl.contracts import RobotSpec


class LawDrive:
    """Steps copies of a model that was built for `law` control.

    Args:
        robot: the arm.
        models: one per copy, each with a motor per joint.
        datas: their states.
    """

    def __init__(self, robot: RobotSpec, models: Sequence[mujoco.MjModel], datas: Sequence[mujoco.MjData]) -> None:
        self._gains, self._dof = robot.impedance, robot.dof
        self._models, self._datas = models, datas
        self._tcp = models[0].site("tcp").id
        self._max_torque = np.array([link.max_torque for link in robot.links])
        self._home = np.tile(np.array(robot.home), (len(models), 1))
        self._torque = np.zeros((len(models), robot.dof))

    def reset(self, row: int) -> None:
        """Begin anew in copy ``row``: hold its weight, and pull at the posture it is in.

        Its state must be up to date (``mj_forward``).
        """
        data, dof = self._datas[row], self._dof
        self._home[row] = data.qpos[:dof]
        bias = data.qfrc_bias[:dof]
        self._torque[row] = fit_torque(np.zeros_like(bias), bias, self._max_torque)
        data.ctrl[:dof] = self._torque[row]

    def run(self, rows: np.ndarray, pos: np.ndarray, rot: np.ndarray, steps: int) -> None:
        """Step copies ``rows`` (n,) ``steps`` times towards targets ``pos`` (n, 3) and ``rot`` (n, 3, 3), float64."""
        pairs = [(self._models[i], self._datas[i]) for i in rows]
        dof, tcp = self._dof, self._tcp
        dt = self._models[0].opt.timestep
        home, torque = self._home[rows], self._torque[rows]
        jacobian = np.empty((len(pairs), 6, self._models[0].nv))
        for _ in range(steps):
            for jac, (model, data) in zip(jacobian, pairs, strict=True):
                mujoco.mj_step1(model, data)
                mujoco.mj_jacSite(model, data, jac[:3], jac[3:], tcp)
            state = ArmState(
                q=np.stack([data.qpos[:dof] for _, data in pairs]),
                dq=np.stack([data.qvel[:dof] for _, data in pairs]),
                jacobian=jacobian[:, :, :dof],
                tcp_pos=np.stack([data.site_xpos[tcp] for _, data in pairs]),
                tcp_rot=np.stack([data.site_xmat[tcp] for _, data in pairs]).reshape(-1, 3, 3),
                bias=np.stack([data.qfrc_bias[:dof] for _, data in pairs]),
            )
            torque = impedance_torque(self._gains, state, pos, rot, home, self._max_torque, torque, dt)
            for wanted, (model, data) in zip(torque, pairs, strict=True):
                data.ctrl[:dof] = wanted
                mujoco.mj_step2(model, data)
        self._torque[rows] = torque
