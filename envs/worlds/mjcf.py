"""Builds the MuJoCo model of a robot in a scene, from data alone. Every MuJoCo-based world builds it here.

`engine` control: the tool's spring-damper is in the model itself, as six actuators with a site transmission from the
tool centre point, whose force range bounds the tool's wrench. Three pull it along the base's axes to the position in
``ctrl``. Three turn it into the frame of the mocap body ``target``: the spring sees the rotation vector from target to
tool, which stays small however far the tool has turned since the start. (One from a frame at rest would be skewed by
that turn and, near half a turn, flip its sign.)

`law` control: one motor per joint, for the torques of :mod:`controllers.impedance` at 1 kHz; the arm carries its weight
by them.
"""

from __future__ import annotations

import os
from typing import Literal

import mujoco
import numpy as np

from controllers.kinematics import Chain
from envs.worlds.raycast import HORIZON, SKY
from robo_rl import geometry
from robo_rl.contracts import CameraSpec, RobotSpec, SceneObject, SceneSpec, Shape

Fidelity = Literal["engine", "law"]

TIMESTEP = {"engine": 0.002, "law": 0.001}
"""Seconds of one physics step."""

_GEOMS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
}

# A robot touches its surroundings, and the surroundings each other; robot parts pass through one another.
_SURROUNDINGS = {"contype": 1, "conaffinity": 1}
_ROBOT = {"contype": 2, "conaffinity": 1}
_UNTOUCHABLE = {"contype": 0, "conaffinity": 0}

# Contacts as stiff as the time step allows: sub-millimetre clearances must not be bridged by penetration.
_SOLREF, _SOLIMP = [2.0 * TIMESTEP["engine"], 1.0], [0.95, 0.995, 0.0005, 0.5, 2.0]

_FROM, _FOVY = (0.8, -0.85, 0.45), 40.0  # where the overview is taken from, as a direction, and its field of view
_GIRTH = 0.07  # m that a Panda's links stand out around their frames, about

_FINGER_SPEED = 0.25  # m/s of a finger that its motor pushes as hard as it can

TOOL_ACTUATORS = tuple(f"tool.{axis}" for axis in ("x", "y", "z", "rx", "ry", "rz"))
FINGERS = ("finger_left", "finger_right")


def build_model(
    robot: RobotSpec, scene: SceneSpec, *, fidelity: Fidelity = "engine", offscreen: tuple[int, int] = (640, 480)
) -> mujoco.MjModel:
    """Compile the robot in its scene.

    Bodies: one per link, ``hand``, the fingers, one per object. Sites: ``tcp``. Sensors: see :mod:`envs.worlds.layout`.

    Args:
        robot: the arm.
        scene: what is around it.
        fidelity: of the control: ``engine``, or ``law`` for the torques of the law that runs on the arm.
        offscreen: largest width and height that can be rendered, pixels.
    """
    spec = mujoco.MjSpec()
    spec.modelname = robot.name
    _set_options(spec, TIMESTEP[fidelity], offscreen)
    _add_surroundings(spec, robot)
    hand = _add_arm(spec, robot)
    if fidelity == "engine":  # before the gripper's motor, which is the last entry of ctrl
        _add_tool_spring(spec, robot)
        _add_posture_springs(spec, robot)
    else:
        _add_motors(spec, robot)
    _add_gripper(spec, robot, hand, scene.locked_opening)
    for item in scene.objects:
        _add_object(spec, item, robot, hand)
    for camera in scene.cameras:
        _add_camera(hand if camera.on_tool else spec.worldbody, camera)
    _add_sensors(spec, robot, scene)
    if fidelity == "law":
        for body in spec.bodies:
            body.gravcomp = 0.0
    if os.environ.get("MENAGERIE_ROOT"):
        from envs.worlds.meshes import dress

        dress(spec, robot, scene.locked_opening)
    return spec.compile()


def _set_options(spec: mujoco.MjSpec, timestep: float, offscreen: tuple[int, int]) -> None:
    spec.compiler.autolimits = True
    spec.compiler.degree = False
    option = spec.option
    option.timestep = timestep
    option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    option.impratio = 10.0  # friction that hardly creeps
    visual = spec.visual
    visual.global_.offwidth, visual.global_.offheight = offscreen
    # Without multisampling and shadow maps a software renderer is twenty times faster.
    visual.quality.offsamples = 0
    visual.quality.shadowsize = 0
    visual.headlight.ambient = [0.35, 0.35, 0.35]
    visual.headlight.diffuse = [0.5, 0.5, 0.5]
    visual.headlight.specular = [0.1, 0.1, 0.1]


def _add_surroundings(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    world = spec.worldbody
    spec.add_texture(
        name="sky", type=mujoco.mjtTexture.mjTEXTURE_SKYBOX, builtin=mujoco.mjtBuiltin.mjBUILTIN_GRADIENT,
        rgb1=SKY, rgb2=HORIZON, width=32, height=192,
    )  # fmt: skip
    world.add_geom(
        name="table",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[1.5, 1.5, 0.1],
        rgba=[0.55, 0.52, 0.48, 1.0],
        **_SURROUNDINGS,
    )
    world.add_light(pos=[0.8, -0.8, 1.6], dir=[-0.3, 0.6, -1.0], castshadow=False, diffuse=[0.5, 0.5, 0.5])
    world.add_camera(name="overview", **_overview(robot), fovy=_FOVY)


def _add_shape(body: mujoco.MjsBody, shape: Shape, touch: dict[str, int], mass: float | None = None) -> None:
    size = np.zeros(3)
    size[: len(shape.size)] = shape.size
    geom = body.add_geom(
        type=_GEOMS[shape.kind], size=size, pos=shape.pos, quat=shape.quat, rgba=shape.rgba,
        friction=[shape.friction, 0.005, 0.0001], solref=_SOLREF, solimp=_SOLIMP, **touch,
    )  # fmt: skip
    if mass is None:
        geom.mass = 0.0
    else:
        geom.mass = mass


def _set_inertia(body: mujoco.MjsBody, mass: float, com: tuple[float, ...], inertia: tuple[float, ...]) -> None:
    body.explicitinertial = True
    body.mass = mass
    body.ipos = com
    body.fullinertia = inertia
    body.gravcomp = 1.0  # the arm carries its own weight; see the gravity term of the law


def _add_arm(spec: mujoco.MjSpec, robot: RobotSpec) -> mujoco.MjsBody:
    body = spec.worldbody.add_body(name="base")
    for shape in robot.base_shapes:
        _add_shape(body, shape, _UNTOUCHABLE)
    for i, link in enumerate(robot.links):
        body = body.add_body(name=link.name, pos=link.pos, quat=link.quat)
        _set_inertia(body, link.mass, link.com, link.inertia)
        body.add_joint(
            name=f"joint{i + 1}", axis=link.axis, range=link.joint_range,
            damping=[robot.joint_damping[i], 0.0, 0.0],
            armature=robot.armature[i],
            actfrcrange=[-link.max_torque, link.max_torque],
        )  # fmt: skip
        for shape in link.shapes:
            _add_shape(body, shape, _ROBOT)
    return body


def _add_gripper(spec: mujoco.MjSpec, robot: RobotSpec, flange: mujoco.MjsBody, locked: float | None) -> None:
    gripper = robot.gripper
    hand = flange.add_body(name="hand", pos=gripper.hand_pos, quat=gripper.hand_quat)
    _set_inertia(hand, gripper.hand_mass, gripper.hand_com, gripper.hand_inertia)
    for shape in gripper.hand_shapes:
        _add_shape(hand, shape, _ROBOT)
    hand.add_site(name="tcp", pos=gripper.tcp_pos, size=[0.005, 0.005, 0.005], group=4)
    for name, quat in zip(FINGERS, ([1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]), strict=True):
        side = 1.0 if name == FINGERS[0] else -1.0
        pos = np.array(gripper.finger_pos)
        if locked is not None:
            pos[1] += side * locked / 2
        finger = hand.add_body(name=name, pos=pos, quat=quat)
        _set_inertia(finger, gripper.finger_mass, (0.0, 0.0, 0.03), (1e-5, 1e-5, 2e-6, 0.0, 0.0, 0.0))
        for shape in gripper.finger_shapes:
            _add_shape(finger, shape, _ROBOT)
        if locked is None:
            finger.add_joint(
                name=name, type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[0.0, 1.0, 0.0], armature=0.1,
                damping=[gripper.max_force / _FINGER_SPEED, 0.0, 0.0],
                range=[gripper.min_width / 2, gripper.max_width / 2],
            )  # fmt: skip
    if locked is None:
        # One motor drives both fingers through a gear: their joints are equal, the force acts on half their sum. The
        # damper is in the joints: within the motor's force limit it would make the fingers chatter.
        link = spec.add_equality(
            name="fingers",
            type=mujoco.mjtEq.mjEQ_JOINT,
            name1=FINGERS[0],
            name2=FINGERS[1],
            objtype=mujoco.mjtObj.mjOBJ_JOINT,
        )
        link.data[:5] = [0.0, 1.0, 0.0, 0.0, 0.0]
        tendon = spec.add_tendon(name="opening")
        for name in FINGERS:
            tendon.wrap_joint(name, 1.0)
        stiffness = gripper.max_force / (0.1 * gripper.max_width)
        motor = spec.add_actuator(name="gripper", trntype=mujoco.mjtTrn.mjTRN_TENDON, target="opening")
        _set_spring(motor, stiffness, 0.0, gripper.max_force)
        motor.ctrlrange = [gripper.min_width, gripper.max_width]


def _set_spring(actuator: mujoco.MjsActuator, stiffness: float, damping: float, max_force: float) -> None:
    actuator.gaintype = mujoco.mjtGain.mjGAIN_FIXED
    actuator.biastype = mujoco.mjtBias.mjBIAS_AFFINE
    actuator.gainprm[0] = stiffness
    actuator.biasprm[:3] = [0.0, -stiffness, -damping]
    actuator.forcerange = [-max_force, max_force]


def _add_tool_spring(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    gains = robot.impedance
    spec.worldbody.add_site(name="base", group=4)
    spec.worldbody.add_body(name="target", mocap=True).add_site(name="target", group=4)
    for i, name in enumerate(TOOL_ACTUATORS):
        reference = "base" if i < 3 else "target"
        spring = spec.add_actuator(name=name, trntype=mujoco.mjtTrn.mjTRN_SITE, target="tcp", refsite=reference)
        spring.gear = np.eye(6)[i]
        if i < 3:
            _set_spring(spring, gains.stiffness, gains.damping, gains.max_force)
        else:
            _set_spring(spring, gains.rotational_stiffness, gains.rotational_damping, gains.max_torque)


def null_space(robot: RobotSpec) -> np.ndarray:
    """Directions (dof - 6, dof) in which the joints move at home without moving the tool, orthonormal."""
    _, _, directions = np.linalg.svd(Chain(robot).jacobian(np.array(robot.home)))
    return directions[6:]


def _add_posture_springs(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    """Add what the law does in the null space: a spring and a damper along each of its directions at home."""
    gains = robot.impedance
    for k, direction in enumerate(null_space(robot)):
        tendon = spec.add_tendon(
            name=f"posture{k}", stiffness=gains.nullspace_stiffness, damping=gains.nullspace_damping
        )
        for i, share in enumerate(direction):
            tendon.wrap_joint(f"joint{i + 1}", share)


def _add_motors(spec: mujoco.MjSpec, robot: RobotSpec) -> None:
    for i, link in enumerate(robot.links):
        motor = spec.add_actuator(name=f"joint{i + 1}", trntype=mujoco.mjtTrn.mjTRN_JOINT, target=f"joint{i + 1}")
        motor.forcerange = [-link.max_torque, link.max_torque]


def _add_object(spec: mujoco.MjSpec, item: SceneObject, robot: RobotSpec, flange: mujoco.MjsBody) -> None:
    if item.mount == "tool":
        hand = next(body for body in flange.bodies if body.name == "hand")
        # The extra body stands at the tool centre point, so that the object's own pose is relative to the tool.
        parent = hand.add_body(name=f"{item.name}.mount", pos=robot.gripper.tcp_pos)
        body = parent.add_body(name=item.name)
        body.gravcomp = 1.0
    else:
        body = spec.worldbody.add_body(name=item.name)
    if item.mount == "free":
        body.add_freejoint(name=item.name)
    touch = _ROBOT if item.mount == "tool" else _SURROUNDINGS
    volume = sum(_volume(shape) for shape in item.shapes)
    for shape in item.shapes:
        mass = None if item.mount == "fixture" else item.mass * _volume(shape) / volume
        _add_shape(body, shape, touch if item.solid else _UNTOUCHABLE, mass)


def _volume(shape: Shape) -> float:
    s = shape.size
    if shape.kind == "box":
        return 8.0 * s[0] * s[1] * s[2]
    if shape.kind == "sphere":
        return 4.0 / 3.0 * np.pi * s[0] ** 3
    return np.pi * s[0] ** 2 * 2.0 * s[1] + (4.0 / 3.0 * np.pi * s[0] ** 3 if shape.kind == "capsule" else 0.0)


def _looking(pos: tuple[float, float, float], at: tuple[float, float, float]) -> dict[str, list[float]]:
    """Pose of a camera (it looks along its -z axis) at ``pos`` that has ``at`` in its centre, upright."""
    z = np.subtract(pos, at) / np.linalg.norm(np.subtract(pos, at))
    up = np.array([0.0, 0.0, 1.0]) if abs(z[2]) < 0.99 else np.array([1.0, 0.0, 0.0])
    x = np.cross(up, z)
    x /= np.linalg.norm(x)
    rot = np.stack([x, np.cross(z, x), z], axis=-1)
    return {"pos": list(pos), "quat": list(geometry.to_quat_wxyz(rot))}


def _overview(robot: RobotSpec) -> dict[str, list[float]]:
    """Pose of the camera that has the arm at home and what it works on in a picture of 4:3 or wider, just so."""
    places, rot = [np.zeros(3)], np.eye(3)
    for link, angle in zip(robot.links, robot.home, strict=True):
        places.append(places[-1] + rot @ link.pos)
        rot = rot @ geometry.from_quat_wxyz(np.array(link.quat)) @ geometry.exp(np.array(link.axis) * angle)
    low, high = np.array(robot.workspace_low), np.array(robot.workspace_high)
    middle, half = np.array(robot.work_center), (high - low) / 4
    places += [middle + half * [x, y, 0.0] for x in (-1, 1) for y in (-1, 1)]
    corners = np.array([[place - _GIRTH * robot.reach_scale, place + _GIRTH * robot.reach_scale] for place in places])
    at = (corners.min((0, 1)) + corners.max((0, 1))) / 2
    towards = np.array(_FROM) / np.linalg.norm(_FROM)
    right = np.cross([0.0, 0.0, 1.0], towards)
    right /= np.linalg.norm(right)
    offset = corners.reshape(-1, 3) - at
    tangent = np.tan(np.radians(_FOVY / 2))
    across = np.abs(offset @ right) / (tangent * 4.0 / 3.0)
    upright = np.abs(offset @ np.cross(towards, right)) / tangent
    distance = float(np.max(np.maximum(across, upright) + offset @ towards))
    return _looking(tuple(at + distance * towards), tuple(at))


def _add_camera(body: mujoco.MjsBody, camera: CameraSpec) -> None:
    if body.name != "world":
        body = next(child for child in body.bodies if child.name == "hand")
    body.add_camera(name=camera.name, **_looking(camera.pos, camera.look_at), fovy=camera.fovy)


def _add_sensors(spec: mujoco.MjSpec, robot: RobotSpec, scene: SceneSpec) -> None:
    """Add every measured quantity as a sensor, so that each engine reads all of them in one array."""
    sensor, of = mujoco.mjtSensor, mujoco.mjtObj

    def add(name: str, kind: int, objtype: int, objname: str) -> None:
        spec.add_sensor(name=name, type=kind, objtype=objtype, objname=objname)

    for i in range(robot.dof):
        add(f"joint_pos.{i}", sensor.mjSENS_JOINTPOS, of.mjOBJ_JOINT, f"joint{i + 1}")
    for i in range(robot.dof):
        add(f"joint_vel.{i}", sensor.mjSENS_JOINTVEL, of.mjOBJ_JOINT, f"joint{i + 1}")

    axes = {"x": sensor.mjSENS_FRAMEXAXIS, "y": sensor.mjSENS_FRAMEYAXIS, "z": sensor.mjSENS_FRAMEZAXIS}

    def add_pose(name: str, objtype: int, objname: str) -> None:
        add(f"{name}.pos", sensor.mjSENS_FRAMEPOS, objtype, objname)
        for axis, kind in axes.items():
            add(f"{name}.rot.{axis}", kind, objtype, objname)

    add_pose("tcp", of.mjOBJ_SITE, "tcp")
    add("tcp_linvel", sensor.mjSENS_FRAMELINVEL, of.mjOBJ_SITE, "tcp")
    add("tcp_angvel", sensor.mjSENS_FRAMEANGVEL, of.mjOBJ_SITE, "tcp")
    add("wrist_force", sensor.mjSENS_FORCE, of.mjOBJ_SITE, "tcp")
    add("wrist_torque", sensor.mjSENS_TORQUE, of.mjOBJ_SITE, "tcp")
    if scene.locked_opening is None:
        for name in FINGERS:
            add(f"{name}.pos", sensor.mjSENS_JOINTPOS, of.mjOBJ_JOINT, name)
    for item in scene.objects:
        add_pose(f"object.{item.name}", of.mjOBJ_XBODY, item.name)
