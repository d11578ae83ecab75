from __future__ import annotations

import mujoco
import numpy as np
import pytest

from envs.worlds.plant import MujocoPainter, MujocoPlant
from robo_rl import geometry
from robo_rl.contracts import CameraSpec, SceneObject, SceneSpec, Shape
from robo_rl.contracts.plant import DIFFERENT, PlantSettings
from robo_rl.errors import UserError
from robo_rl.robots import robot

SPEC = robot("fr3")
GREY = (0.5, 0.5, 0.5, 1.0)
SCENE = SceneSpec(
    objects=(
        SceneObject("cube", (Shape("box", (0.02, 0.02, 0.02), rgba=(1.0, 0.0, 0.0, 1.0)),), "free", mass=0.2),
        SceneObject("pad", (Shape("box", (0.05, 0.05, 0.05), rgba=GREY),), "fixture"),
        SceneObject("peg", (Shape("box", (0.008, 0.008, 0.03), rgba=GREY),), "tool", mass=0.05),
    ),
    cameras=(CameraSpec("front", (1.2, 0.0, 0.5), (0.5, 0.0, 0.0), width=48, height=32),),
    locked_opening=0.016,
)
OUT_OF_THE_WAY = {"cube": (np.array([0.4, 0.4, 0.02]), np.eye(3)), "pad": (np.array([0.4, -0.4, 0.05]), np.eye(3))}
NOTHING = np.zeros(7)


def made(settings=None, scene=SCENE):
    plant = MujocoPlant(SPEC, scene, settings)
    plant.place({name: pose for name, pose in OUT_OF_THE_WAY.items() if name in {item.name for item in scene.objects}})
    return plant


def run(plant, torque=NOTHING, steps=300):
    for _ in range(steps):
        plant.step(torque)
    return plant.measure()


def test_it_carries_its_own_weight_and_feels_nothing():
    measured = run(made(), steps=1000)
    assert np.abs(measured.joint_pos - SPEC.home).max() < 1e-6
    assert np.abs(measured.joint_torque).max() < 1e-6
    assert measured.gripper_width == 0.016


def test_an_unknown_payload_is_felt_as_its_weight():
    plant = made(PlantSettings(payload_error=0.3, joint_friction=0.2))  # friction holds it, so that nothing moves
    measured = run(plant, steps=200)
    jacobian = np.zeros((3, plant.model.nv))
    mujoco.mj_jacBodyCom(plant.model, plant.data, jacobian, None, plant.model.body("hand").id)
    weight = jacobian[:, :7].T @ [0.0, 0.0, -9.81 * 0.3]
    assert measured.joint_torque == pytest.approx(weight, abs=0.02)
    assert np.abs(measured.joint_vel).max() < 1e-3


def test_too_strong_a_compensation_lifts_the_arm():
    before = made().truth()["tcp"][0][2]
    plant = made(PlantSettings(gravity_error=0.05))
    run(plant, steps=200)
    assert plant.truth()["tcp"][0][2] > before + 0.001


def test_dry_friction_holds_up_to_its_size():
    settings = PlantSettings(joint_friction=0.02)
    still = run(made(settings), np.array([1.5, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))  # of 0.02 * 87 N·m
    moved = run(made(settings), np.array([3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert abs(still.joint_pos[0]) < 1e-3
    assert moved.joint_pos[0] > 0.01


@pytest.mark.parametrize(
    ("settings", "slower"),
    [(PlantSettings(armature_scale=20.0), True), (PlantSettings(damping_scale=10.0), True), (PlantSettings(), False)],
)
def test_inertia_and_damping_slow_the_arm(settings, slower):
    push = np.array([4.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    nominal = run(made(), push).joint_vel[0]
    assert (run(made(settings), push).joint_vel[0] < 0.8 * nominal) == slower


def test_pressing_on_something_is_felt_as_its_torque():
    plant = made()
    tcp = plant.truth()["tcp"][0]
    # The pad stands right under the peg; the arm is then pushed down by 10 N.
    plant.place({"pad": (tcp - [0.0, 0.0, 0.03 + 0.05 + 1e-4], np.eye(3))})
    jacobian = np.zeros((3, plant.model.nv))
    mujoco.mj_forward(plant.model, plant.data)
    mujoco.mj_jacSite(plant.model, plant.data, jacobian, None, plant.model.site("tcp").id)
    jacobian = jacobian[:, :7]
    # Damping in the null space keeps the arm from drifting off while it presses.
    for _ in range(1500):
        measured = plant.measure()
        plant.step(jacobian.T @ [0.0, 0.0, -10.0] - 2.0 * measured.joint_vel)
    wrench = np.linalg.lstsq(jacobian.T, plant.measure().joint_torque, rcond=None)[0]
    assert wrench[2] == pytest.approx(10.0, abs=1.0)


def test_coriolis_torques_are_told_and_nothing_is_felt_in_free_motion():
    plant = made()
    measured = run(plant, np.array([8.0, -6.0, 0.0, 5.0, 0.0, 0.0, 0.0]), steps=150)
    assert np.abs(measured.joint_vel).max() > 0.3
    assert np.abs(measured.bias).max() > 0.01
    assert np.abs(measured.joint_torque).max() < 1e-6


def test_objects_stand_where_they_are_put_a_tool_in_the_gripper():
    plant = made()
    turn = geometry.exp(np.array([0.0, 0.0, 0.3]))
    offset = np.array([0.001, -0.002, 0.003])
    plant.place(
        {"pad": (np.array([0.5, 0.2, 0.05]), turn), "peg": (offset, turn), "cube": (np.array([0.6, 0.3, 0.02]), turn)}
    )
    truth = plant.truth()
    tcp_pos, tcp_rot = truth["tcp"]
    assert truth["pad"][0] == pytest.approx([0.5, 0.2, 0.05])
    assert truth["pad"][1] == pytest.approx(turn)
    assert truth["peg"][0] == pytest.approx(tcp_pos + tcp_rot @ offset)
    assert truth["peg"][1] == pytest.approx(tcp_rot @ turn)
    run(plant, steps=100)
    assert plant.truth()["cube"][0] == pytest.approx([0.6, 0.3, 0.02], abs=1e-3)
    with pytest.raises(UserError, match="unknown object 'cub'"):
        plant.place({"pad": OUT_OF_THE_WAY["pad"], "cub": OUT_OF_THE_WAY["cube"]})
    assert plant.truth()["pad"][0] == pytest.approx([0.5, 0.2, 0.05])


def test_the_fingers_go_where_they_are_aimed_within_their_range():
    plant = made(scene=SceneSpec())
    assert plant.measure().gripper_width == pytest.approx(SPEC.gripper.max_width)
    plant.aim_gripper(0.02)
    assert run(plant, steps=1000).gripper_width == pytest.approx(0.02, abs=1e-3)
    plant.aim_gripper(-1.0)
    assert run(plant, steps=1000).gripper_width == pytest.approx(SPEC.gripper.min_width, abs=1e-3)


def test_contact_friction_and_masses_are_scaled():
    plain, other = made(), made(DIFFERENT)
    assert other.model.geom_friction[:, 0] == pytest.approx(1.25 * plain.model.geom_friction[:, 0])
    link = plain.model.body("link3").id if "link3" in [link.name for link in SPEC.links] else 2
    assert other.model.body_mass[link] == pytest.approx(1.05 * plain.model.body_mass[link])
    cube = plain.model.body("cube").id
    assert other.model.body_mass[cube] == plain.model.body_mass[cube]
    assert (other.inertia() > plain.inertia()).all()


@pytest.mark.parametrize(
    "bad", [{"mass_scale": 0.0}, {"joint_friction": -1.0}, {"state_delay": float("nan")}, {"command_delay": 5.0}]
)
def test_settings_that_make_no_sense_are_refused_by_name(bad):
    with pytest.raises(UserError, match=rf"plant\.{next(iter(bad))}"):
        PlantSettings(**bad)


def test_the_painter_draws_what_a_snapshot_holds():
    plant, painter = made(), MujocoPainter(SPEC, SCENE)
    try:
        plant.place({"cube": (np.array([0.8, 0.0, 0.02]), np.eye(3))})
        here = painter.draw(plant.snapshot(), "front").copy()
        plant.place({"cube": (np.array([0.8, 0.3, 0.02]), np.eye(3))})
        there = painter.draw(plant.snapshot(), "front").copy()
        assert here.shape == (32, 48, 3)
        assert here.dtype == np.uint8

        def column(picture):
            colours = picture.astype(int)
            red = (colours[..., 0] > 1.5 * colours[..., 1]) & (colours[..., 0] > 1.5 * colours[..., 2])
            return np.nonzero(red)[1].mean()

        assert column(here) == pytest.approx(23.5, abs=2.0)
        assert column(there) > column(here) + 4  # seen from the front, +y is on the right
        with pytest.raises(UserError, match="unknown camera 'back'"):
            painter.draw(plant.snapshot(), "back")
    finally:
        painter.close()


def test_a_load_that_it_was_told_of_is_carried_and_not_felt():
    """With the hand's mass that its compensation did not know of, wherever the load is said to hang by its lever."""
    hand = SPEC.gripper
    com = geometry.from_quat_wxyz(np.array(hand.hand_quat)) @ np.array(hand.hand_com)  # in the flange's frame
    plant = made(PlantSettings(payload_error=0.3, joint_friction=0.2))
    plant.set_load(0.3, com)
    assert np.abs(run(plant, steps=50).joint_torque).max() < 1e-3
    plant.set_load(0.3, com + np.array([0.1, 0.0, 0.0]))  # a lever of 0.1 m that is not there
    assert np.abs(run(plant, steps=50).joint_torque).max() == pytest.approx(0.3 * 9.81 * 0.1, rel=0.3)
    plant.set_load(0.0, np.zeros(3))  # instead of the one before, not on top of it
    assert np.abs(run(plant, steps=50).joint_torque).max() > 1.0
