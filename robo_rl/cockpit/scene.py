"""What the page draws: the arm and what stands around it, as JSON values."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from robo_rl.contracts import Reading, RobotSpec, SceneSpec

_POSES = ("object", "tracked", "fixture")  # readings that tell where a thing is, the best first


def describe_scene(robot: RobotSpec, scene: SceneSpec, translation: float) -> dict[str, Any]:
    """Return what the page needs to draw an arm, once.

    Args:
        robot: the arm; the page works out from its joint positions where the links are.
        scene: what is around it.
        translation: m that the target moves in one control period, pushed all the way.
    """
    gripper = robot.gripper
    return {
        "robot": robot.title,
        "base": [asdict(shape) for shape in robot.base_shapes],
        "links": [
            {"pos": link.pos, "quat": link.quat, "axis": link.axis, "shapes": [asdict(shape) for shape in link.shapes]}
            for link in robot.links
        ],
        "hand": {
            "pos": gripper.hand_pos,
            "quat": gripper.hand_quat,
            "shapes": [asdict(shape) for shape in gripper.hand_shapes],
            "finger_pos": gripper.finger_pos,
            "finger_shapes": [asdict(shape) for shape in gripper.finger_shapes],
        },
        "objects": {
            item.name: {"mount": item.mount, "solid": item.solid, "shapes": [asdict(shape) for shape in item.shapes]}
            for item in scene.objects
        },
        "workspace": [robot.workspace_low, robot.workspace_high],
        "center": robot.work_center,
        "home": robot.home,
        "translation": translation,
    }


def describe_reading(reading: Reading, objects: list[str]) -> dict[str, Any]:
    """Return where everything is, of environment 0, as far as the reading tells; of objects as rows [pos, rot].

    Args:
        reading: newest of the world.
        objects: names of what is in the scene.
    """
    found: dict[str, Any] = {
        name: _rounded(reading[name])
        for name in ("joint_pos", "tcp_pos", "tcp_rot", "target_pos", "target_rot", "gripper_width", "tcp_force")
        if name in reading
    }
    poses = {}
    for name in objects:
        for kind in _POSES:
            if f"{kind}.{name}.pos" in reading:
                rot = f"{kind}.{name}.rot"
                poses[name] = [
                    _rounded(reading[f"{kind}.{name}.pos"]),
                    _rounded(reading[rot]) if rot in reading else [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
                ]
                break
    return {**found, "objects": poses}


def _rounded(value: Any) -> list[float]:
    """The first row of a tensor, flat; a ten-thousandth is nothing that anybody sees."""
    return [round(each, 5) for each in value[0].flatten().tolist()]
