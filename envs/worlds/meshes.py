"""The looks of the real arm: visual meshes of a model of mujoco_menagerie over the primitives of ours.

Nothing but looks. The primitives stay what collides and are no longer drawn; the meshes weigh nothing and touch
nothing, so a dressed arm moves as an undressed one does, to the bit.

Bodies are matched by joints, not by names: the n-th hinge of the other model moves our n-th link, and its two slides
are the fingers; what has no joint of its own goes where it is fixed. The frames of the two models may differ by a
constant transform each, which is taken from both at zero posture; a second posture tells whether it is constant.
"""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

import mujoco
import numpy as np

from robo_rl.contracts import RobotSpec
from robo_rl.errors import UserError

VARIABLE = "MENAGERIE_ROOT"
"""Environment variable: folder of a checkout of mujoco_menagerie."""

MODELS = {
    "panda": "franka_emika_panda/panda.xml",
    "fr3": "franka_fr3/fr3.xml",
    "widowx250s": "trossen_wx250s/wx250s.xml",
}
"""Model of each robot, in that folder. A robot that is not here is drawn as primitives."""

DRAWN, NOT_DRAWN = 2, 3
"""Groups of geoms, as in menagerie: visual ones, and those that collide only."""

_APART, _ANGLE = 1e-3, 1e-2  # m and rad by which frames that should agree may differ
_TURN = 0.3  # rad from home, so that every joint is seen to turn
_RGB = int(mujoco.mjtTextureRole.mjTEXROLE_RGB)


def dress(spec: mujoco.MjSpec, robot: RobotSpec, locked_opening: float | None) -> None:
    """Put the meshes of the menagerie model of ``robot`` on its bodies, and stop drawing the primitives there.

    Bodies that have no counterpart (the hand, where a model ends at the flange) keep their primitives.

    Args:
        spec: of the robot in its scene, complete.
        robot: the arm. Nothing happens if menagerie has no model of it.
        locked_opening: of the fingers, m; None if they move.

    Raises:
        UserError: if the model is missing, cannot be read, or is not of this arm.
    """
    if robot.name not in MODELS:
        return
    path = Path(os.environ[VARIABLE]).expanduser() / MODELS[robot.name]
    if not path.is_file():
        raise UserError(f"{VARIABLE}: there is no {path}; name the folder of a mujoco_menagerie checkout, or unset it")
    look = _Look(_load(path, path.stat().st_mtime_ns), robot, path)
    worn = look.place(spec.compile(), locked_opening)
    copied = _Assets(spec, look.model)
    for geom, (name, pose) in worn.items():
        copied.add_geom(spec.body(name), geom, pose)
    bodies = {name for name, _ in worn.values()} | ({"hand"} if look.fingers else set())
    for name in bodies:
        for shape in spec.body(name).geoms:
            if shape.group != DRAWN:
                shape.group = NOT_DRAWN


@cache
def _load(path: Path, _changed: int) -> mujoco.MjModel:
    try:
        return mujoco.MjSpec.from_file(str(path)).compile()
    except (ValueError, OSError) as error:
        why = " ".join(str(error).split())
        raise UserError(f"{VARIABLE}: {path} cannot be read: {why}; check the files of it out, or unset it") from error


class _Look:
    """A model to dress ours in.

    Attributes:
        model: as published.
        fingers: whether it has a gripper.
    """

    def __init__(self, model: mujoco.MjModel, robot: RobotSpec, path: Path) -> None:
        self.model, self._robot, self._path = model, robot, path
        self._data = mujoco.MjData(model)
        kinds = model.jnt_type
        self._hinges = np.flatnonzero(kinds == int(mujoco.mjtJoint.mjJNT_HINGE))
        self._slides = np.flatnonzero(kinds == int(mujoco.mjtJoint.mjJNT_SLIDE))
        self.fingers = len(self._slides) == 2
        if len(self._hinges) != robot.dof or len(self._slides) not in (0, 2):
            raise self._other(f"it has {len(self._hinges)} hinges and {len(self._slides)} slides")

    def place(self, ours: mujoco.MjModel, locked: float | None) -> dict[int, tuple[str, np.ndarray]]:
        """Return, for each visual geom, the name of our body that carries it and the pose (4, 4) of it there."""
        from envs.worlds.mjcf import FINGERS

        gripper, dof = self._robot.gripper, self._robot.dof
        data = mujoco.MjData(ours)

        def pose(joints: np.ndarray, opening: float) -> None:
            opening = opening if locked is None else locked
            for i, angle in enumerate(joints):
                data.qpos[ours.joint(f"joint{i + 1}").qposadr[0]] = angle
            for name in FINGERS if locked is None else ():
                data.qpos[ours.joint(name).qposadr[0]] = opening / 2
            mujoco.mj_kinematics(ours, data)
            self._pose(joints, (opening - gripper.min_width) / 2)

        pose(np.zeros(dof), gripper.min_width)
        carriers = {0: "base"} | {
            int(self.model.jnt_bodyid[joint]): link.name
            for joint, link in zip(self._hinges, self._robot.links, strict=True)
        }
        if self.fingers:
            carriers |= self._match_fingers(FINGERS, data.body("hand").xmat.reshape(3, 3)[:, 1])
        between = {body: _frame(data.body(name), True) @ self._frame(body) for body, name in carriers.items()}
        worn = {}
        for geom in self._visual():
            carrier = carriers[int(self.model.body_weldid[self.model.geom_bodyid[geom]])]
            worn[geom] = carrier, _frame(data.body(carrier), True) @ _frame(self._data.geom(geom))
        if not worn:
            raise self._other("it has nothing to draw")

        pose(np.array(self._robot.home) + _TURN, gripper.max_width)
        for body, name in carriers.items():
            there = _frame(data.body(name)) @ between[body]
            apart = np.linalg.inv(there) @ self._frame(body)
            distance = float(np.linalg.norm(apart[:3, 3]))
            angle = float(np.linalg.norm(apart[:3, :3] - np.eye(3)) / np.sqrt(2.0))
            if distance > _APART or angle > _ANGLE:
                raise self._other(
                    f"near home its {self.model.body(body).name!r} is {1000 * distance:.0f} mm off {name!r}"
                )
        return worn

    def _other(self, why: str) -> UserError:
        return UserError(
            f"{VARIABLE}: {self._path} is not a model of {self._robot.name}: {why}; use mujoco_menagerie's, or unset it"
        )

    def _pose(self, joints: np.ndarray, travel: float) -> None:
        """Take a posture: the angles of the arm, and how far each finger has moved away from closed, m."""
        model, data = self.model, self._data
        data.qpos[model.jnt_qposadr[self._hinges]] = joints
        for joint in self._slides:
            closed, outwards = self._closed(int(joint))
            data.qpos[model.jnt_qposadr[joint]] = closed + outwards * travel
        mujoco.mj_kinematics(model, data)

    def _closed(self, joint: int) -> tuple[float, float]:
        """Position of a slide when the gripper is closed, and the sign of what opens it."""
        low, high = self.model.jnt_range[joint]
        return (high, -1.0) if abs(high) < abs(low) else (low, 1.0)

    def _match_fingers(self, names: tuple[str, str], left: np.ndarray) -> dict[int, str]:
        """Which slide is which finger: the first one opens towards ``left``."""
        matched = {}
        for joint in self._slides:
            opens = self._closed(int(joint))[1] * float(self._data.xaxis[joint] @ left)
            matched[int(self.model.jnt_bodyid[joint])] = names[0] if opens > 0.0 else names[1]
        return matched

    def _visual(self) -> list[int]:
        model = self.model
        untouchable = (model.geom_contype == 0) & (model.geom_conaffinity == 0)
        drawn = untouchable & (model.geom_group < NOT_DRAWN) & (model.geom_type != int(mujoco.mjtGeom.mjGEOM_PLANE))
        return [int(geom) for geom in np.flatnonzero(drawn)]

    def _frame(self, body: int) -> np.ndarray:
        return _frame(self._data.body(body))


class _Assets:
    """Copies geoms, with their meshes, materials and textures, from a compiled model into a specification."""

    def __init__(self, spec: mujoco.MjSpec, source: mujoco.MjModel) -> None:
        self._spec, self._source = spec, source
        self._made: set[str] = set()

    def add_geom(self, body: mujoco.MjsBody, geom: int, pose: np.ndarray) -> None:
        """Add geom ``geom`` of the source to ``body`` at ``pose`` (4, 4)."""
        source, quat = self._source, np.zeros(4)
        mujoco.mju_mat2Quat(quat, np.ascontiguousarray(pose[:3, :3]).reshape(-1))
        copied = body.add_geom(
            type=mujoco.mjtGeom(source.geom_type[geom]), pos=pose[:3, 3], quat=quat, rgba=source.geom_rgba[geom],
            group=DRAWN, contype=0, conaffinity=0, mass=0.0,
        )  # fmt: skip
        if source.geom_type[geom] == int(mujoco.mjtGeom.mjGEOM_MESH):
            copied.meshname = self._mesh(int(source.geom_dataid[geom]))
        else:
            copied.size = source.geom_size[geom]
        if source.geom_matid[geom] >= 0:
            copied.material = self._material(int(source.geom_matid[geom]))

    def _is_new(self, name: str) -> bool:
        new = name not in self._made
        self._made.add(name)
        return new

    def _mesh(self, i: int) -> str:
        source, name = self._source, f"look.mesh{i}"
        if self._is_new(name):
            vertices, normals, faces = (
                slice(start, start + count)
                for start, count in (
                    (source.mesh_vertadr[i], source.mesh_vertnum[i]),
                    (source.mesh_normaladr[i], source.mesh_normalnum[i]),
                    (source.mesh_faceadr[i], source.mesh_facenum[i]),
                )
            )
            mesh = self._spec.add_mesh(name=name, inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL)
            mesh.uservert = source.mesh_vert[vertices].ravel()
            mesh.usernormal = source.mesh_normal[normals].ravel()
            mesh.userface = source.mesh_face[faces].ravel()
            mesh.userfacenormal = source.mesh_facenormal[faces].ravel()
            if source.mesh_texcoordadr[i] >= 0:
                first = source.mesh_texcoordadr[i]
                mesh.usertexcoord = source.mesh_texcoord[first : first + source.mesh_texcoordnum[i]].ravel()
                mesh.userfacetexcoord = source.mesh_facetexcoord[faces].ravel()
        return name

    def _material(self, i: int) -> str:
        source, name = self._source, f"look.material{i}"
        if self._is_new(name):
            material = self._spec.add_material(
                name=name, rgba=source.mat_rgba[i], specular=source.mat_specular[i],
                shininess=source.mat_shininess[i], emission=source.mat_emission[i],
                texrepeat=source.mat_texrepeat[i], texuniform=bool(source.mat_texuniform[i]),
            )  # fmt: skip
            if source.mat_texid[i, _RGB] >= 0:
                material.textures[_RGB] = self._texture(int(source.mat_texid[i, _RGB]))
        return name

    def _texture(self, i: int) -> str:
        source, name = self._source, f"look.texture{i}"
        if self._is_new(name):
            height, width, channels = source.tex_height[i], source.tex_width[i], source.tex_nchannel[i]
            first = source.tex_adr[i]
            texture = self._spec.add_texture(
                name=name, type=mujoco.mjtTexture(source.tex_type[i]), height=height, width=width, nchannel=channels
            )
            texture.data = source.tex_data[first : first + height * width * channels].tobytes()
        return name


def _frame(view: object, inverse: bool = False) -> np.ndarray:
    """Pose (4, 4) of what MuJoCo has placed in the world, or of the world in it."""
    frame = np.eye(4)
    frame[:3, :3] = view.xmat.reshape(3, 3)  # type: ignore[attr-defined]
    frame[:3, 3] = view.xpos  # type: ignore[attr-defined]
    return np.linalg.inv(frame) if inverse else frame
