"""A MuJoCo arm as a :class:`robo_rl.contracts.plant.Plant`, and the pictures of it: what a simulated cell is made of.

Two models: the true one, altered by the settings, which is stepped; and the nominal one of the arm and its tool, by
which the arm compensates its own weight and works out external torques, right or wrong, as Franka's controller does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import mujoco
import numpy as np

from envs.worlds.mjcf import FINGERS, build_model
from envs.worlds.rendering import Renderer, close, make_renderer
from robo_rl import geometry
from robo_rl.contracts import RobotSpec, SceneSpec
from robo_rl.contracts.plant import Measured, Placement, PlantSettings
from robo_rl.errors import unknown_name

_FIRST_CONTACT = int(mujoco.mjtConstraint.mjCNSTR_CONTACT_FRICTIONLESS)  # the kinds of contact are the last ones

# Dry friction as stiff as the time step allows: a joint that sticks shall hardly creep.
_STICK_SOLREF, _STICK_SOLIMP = (0.002, 1.0), (0.99, 0.999)


class MujocoPlant:
    """An arm at its home posture in a scene, with its dynamics altered; see :class:`robo_rl.contracts.plant.Plant`.

    Args:
        robot: the arm.
        scene: what is around it; objects stand at the origin of the base until they are placed.
        settings: in what the arm differs from its data sheet. Delays and noise are not its business.
    """

    def __init__(self, robot: RobotSpec, scene: SceneSpec, settings: PlantSettings | None = None) -> None:
        self.spec = robot
        self._scene = scene
        self._settings = settings or PlantSettings()
        self.model = build_model(robot, scene, fidelity="law")
        self.data = mujoco.MjData(self.model)
        tools = tuple(item for item in scene.objects if item.mount == "tool")
        self._nominal = build_model(robot, SceneSpec(tools, locked_opening=scene.locked_opening), fidelity="law")
        self._reckoned = mujoco.MjData(self._nominal)
        hand = self._nominal.body("hand")
        self._hand = float(hand.mass[0]), hand.ipos.copy()  # mass and centre of it alone
        self.timestep = float(self.model.opt.timestep)
        self._alter(self._settings)
        self._tcp = self.model.site("tcp").id
        self._has_gripper = scene.locked_opening is None
        self._dof = robot.dof
        self._gravity = np.zeros(robot.dof)  # torque by which the arm compensates its weight
        self._coriolis = np.zeros(robot.dof)
        self._external = np.zeros(robot.dof)
        lag = self._settings.joint_torque_lag
        self._share = 1.0 - math.exp(-self.timestep / lag) if lag else 1.0  # of what is new, in the estimate
        self.data.qpos[: robot.dof] = robot.home
        if self._has_gripper:
            self.data.qpos[robot.dof : robot.dof + 2] = robot.gripper.max_width / 2
            self.data.ctrl[-1] = robot.gripper.max_width
        mujoco.mj_forward(self.model, self.data)
        self._reckon()
        self._external = np.zeros(robot.dof)  # before the first step there was no weight to compare with

    def step(self, torque: np.ndarray) -> None:
        """Advance by one step with joint torques (n,) N·m on top of gravity compensation."""
        data, dof = self.data, self._dof
        data.ctrl[:dof] = torque + self._gravity
        mujoco.mj_step(self.model, data)
        self._reckon()

    def measure(self) -> Measured:
        """Return what exact sensors read now; the external torque is that of the last step."""
        data, dof = self.data, self._dof
        return Measured(data.qpos[:dof].copy(), data.qvel[:dof].copy(), self._external, self._coriolis, self._width())

    def inertia(self) -> np.ndarray:
        """Diagonal (n,) of the mass matrix, kg·m²."""
        full = np.zeros((self.model.nv, self.model.nv))
        mujoco.mj_fullM(self.model, self.data, full)
        return np.diagonal(full)[: self.spec.dof].copy()

    def aim_gripper(self, width: float) -> None:
        """Open or close the fingers to ``width`` m; nothing happens if they are locked."""
        if self._has_gripper:
            self.data.ctrl[-1] = np.clip(width, self.spec.gripper.min_width, self.spec.gripper.max_width)

    def set_load(self, mass: float, com: np.ndarray) -> None:
        """Have gravity compensation reckon with ``mass``, kg, at ``com`` (3,) in the flange's frame, m."""
        hand, (bare, center) = self._nominal.body("hand"), self._hand
        rot = geometry.from_quat_wxyz(np.array(self.spec.gripper.hand_quat))
        hand.mass[0] = bare + mass
        hand.ipos[:] = (bare * center + mass * (np.asarray(com) @ rot)) / (bare + mass)
        mujoco.mj_setConst(self._nominal, self._reckoned)

    def place(self, objects: Mapping[str, Placement]) -> None:
        """Put objects somewhere, at rest.

        Raises:
            UserError: if the scene has no such object; nothing has moved then.
        """
        mounts = {item.name: item.mount for item in self._scene.objects}
        for name in objects:
            if name not in mounts:
                raise unknown_name("object", name, mounts)
        for name, (pos, rot) in objects.items():
            quat = geometry.to_quat_wxyz(np.asarray(rot, dtype=float))
            if mounts[name] == "free":
                joint = self.model.joint(name)
                at, moving = joint.qposadr[0], joint.dofadr[0]
                self.data.qpos[at : at + 3], self.data.qpos[at + 3 : at + 7] = pos, quat
                self.data.qvel[moving : moving + 6] = 0.0
            else:
                body = self.model.body(name)
                body.pos[:], body.quat[:] = pos, quat
        mujoco.mj_kinematics(self.model, self.data)

    def truth(self) -> dict[str, Placement]:
        """Return the true pose of each object, and of the tool centre point as ``tcp``, in the base frame."""
        data = self.data
        mujoco.mj_kinematics(self.model, data)
        poses = {"tcp": (data.site_xpos[self._tcp].copy(), data.site_xmat[self._tcp].reshape(3, 3).copy())}
        for item in self._scene.objects:
            body = data.body(item.name)
            poses[item.name] = body.xpos.copy(), body.xmat.reshape(3, 3).copy()
        return poses

    def snapshot(self) -> np.ndarray:
        """Positions of the joints, then of each body in its parent: what :class:`MujocoPainter` needs."""
        return np.concatenate([self.data.qpos, self.model.body_pos.ravel(), self.model.body_quat.ravel()])

    def _width(self) -> float:
        if self._scene.locked_opening is not None:
            return self._scene.locked_opening
        dof = self.spec.dof
        return float(self.data.qpos[dof] + self.data.qpos[dof + 1])

    def _alter(self, settings: PlantSettings) -> None:
        model, robot, dof = self.model, self.spec, self.spec.dof
        model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
        model.dof_frictionloss[:dof] = [settings.joint_friction * link.max_torque for link in robot.links]
        model.dof_solref[:dof] = _STICK_SOLREF
        model.dof_solimp[:dof, :2] = _STICK_SOLIMP
        model.dof_damping[:dof] *= settings.damping_scale
        model.dof_armature[:dof] *= settings.armature_scale
        model.geom_friction[:, 0] *= settings.contact_friction
        for name in (*(link.name for link in robot.links), "hand", *FINGERS):
            body = model.body(name).id
            model.body_mass[body] *= settings.mass_scale
            model.body_inertia[body] *= settings.mass_scale
        hand = model.body("hand").id
        model.body_mass[hand] = max(model.body_mass[hand] + settings.payload_error, 0.01)
        mujoco.mj_setConst(model, self.data)
        mujoco.mj_resetData(model, self.data)

    def _reckon(self) -> None:
        """Work out what the arm's controller does of itself: external torques, its weight, Coriolis torques."""
        data, nominal, dof = self.data, self._reckoned, self._dof
        # mj_step leaves contacts and bias as they were before it, when weight and Coriolis torques were last reckoned.
        external = self._contact_torque() + self._gravity + self._coriolis - data.qfrc_bias[:dof]
        self._external = self._external + self._share * (external - self._external)
        arm = self._nominal.nv  # joints of the arm, and of the fingers unless they are locked: the first of either
        nominal.qpos[:], nominal.qvel[:] = data.qpos[:arm], data.qvel[:arm]
        mujoco.mj_kinematics(self._nominal, nominal)
        mujoco.mj_comPos(self._nominal, nominal)
        mujoco.mj_comVel(self._nominal, nominal)
        both, weight = np.zeros(arm), np.zeros(arm)
        mujoco.mj_rne(self._nominal, nominal, 0, both)
        nominal.qvel[:] = 0.0
        mujoco.mj_comVel(self._nominal, nominal)
        mujoco.mj_rne(self._nominal, nominal, 0, weight)
        self._gravity = (1.0 + self._settings.gravity_error) * weight[:dof]
        self._coriolis = (both - weight)[:dof]

    def _contact_torque(self) -> np.ndarray:
        """Torque (n,) that contacts alone exert at the joints: no friction, limits or equalities inside of the arm."""
        model, data = self.model, self.data
        torque = np.zeros(model.nv)
        if data.ncon and data.nefc:
            force = np.where(data.efc_type >= _FIRST_CONTACT, data.efc_force, 0.0)
            mujoco.mj_mulJacTVec(model, data, torque, force)
        return torque[: self._dof]


class MujocoPainter:
    """Draws the cameras of a scene from snapshots of a :class:`MujocoPlant` of the same robot and scene.

    OpenGL where there is some, ray casting elsewhere. The first picture of each size is drawn at once, and thrown away:
    it may take seconds, which no reader of fresh pictures shall wait for.

    Args:
        robot: the arm.
        scene: its cameras are the ones that can be drawn.
    """

    def __init__(self, robot: RobotSpec, scene: SceneSpec) -> None:
        self.sizes: Mapping[str, tuple[int, int]] = {
            camera.name: (camera.width, camera.height) for camera in scene.cameras
        }
        largest = tuple(max((size[k] for size in self.sizes.values()), default=1) for k in range(2))
        self._model = build_model(robot, scene, fidelity="law", offscreen=(max(largest[0], 640), max(largest[1], 480)))
        self._data = mujoco.MjData(self._model)
        mujoco.mj_forward(self._model, self._data)
        self._renderers: dict[tuple[int, int], Renderer] = {}
        for camera, size in self.sizes.items():
            if size not in self._renderers:
                self._renderers[size] = make_renderer(self._model, *size)
                self._picture(camera)

    def draw(self, snapshot: np.ndarray, camera: str) -> np.ndarray:
        """Return the picture (height, width, 3) uint8 that ``camera`` takes of a snapshot.

        Raises:
            UserError: if the scene has no such camera.
        """
        if camera not in self.sizes:
            raise unknown_name("camera", camera, self.sizes)
        self._pose(snapshot)
        return self._picture(camera)

    def close(self) -> None:
        """Free the OpenGL contexts."""
        for renderer in self._renderers.values():
            close(renderer)
        self._renderers = {}

    def _picture(self, camera: str) -> np.ndarray:
        renderer = self._renderers[self.sizes[camera]]
        renderer.update_scene(self._data, camera)
        return renderer.render()

    def _pose(self, snapshot: np.ndarray) -> None:
        model, data = self._model, self._data
        joints, bodies = model.nq, model.nq + 3 * model.nbody
        data.qpos[:] = snapshot[:joints]
        model.body_pos[:] = snapshot[joints:bodies].reshape(-1, 3)
        model.body_quat[:] = snapshot[bodies:].reshape(-1, 4)
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        mujoco.mj_camlight(model, data)
