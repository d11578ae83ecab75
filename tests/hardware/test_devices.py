"""What calibrations have found of tool and payload reaches the drive of an arm before it is opened."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arms import franka_franky
from hardware.arms.gravity import Gravity, flange_to_tool, tool_to_flange
from hardware.arms.trossen import WidowXAI
from hardware.arms.widowx import WidowX
from hardware.calibration.payload import payload_torque
from hardware.cell import ArmEntry, Cell, SimulationEntry
from hardware.devices import equip, make_arm
from robo_rl.errors import UserError
from robo_rl.robots import robot

FOUND = {"tool": {"tcp_pos": [0.01, 0.0, 0.15]}, "payload": {"mass": 0.4, "com_in_flange": [0.02, 0.0, 0.12]}}
ENTRIES = {
    "franky": ArmEntry("fr3", "franky", {"address": "172.16.0.2"}),
    "pylibfranka": ArmEntry("fr3", "pylibfranka", {"address": "172.16.0.2"}),
    "widowx250s": ArmEntry("widowx250s", "widowx250s", {"address": "/dev/ttyDXL"}),
    "trossen": ArmEntry("widowx_ai", "trossen", {"address": "192.168.1.2"}),
    "simulated": ArmEntry("panda", "simulated", {"folder": "/tmp/nowhere"}),
}


def cell_of(driver, found=FOUND):
    simulation = SimulationEntry() if driver == "simulated" else None
    return Cell("mine", {"arm": ENTRIES[driver]}, simulation=simulation, calibration={"arms": {"arm": found}})


@pytest.mark.parametrize("driver", ENTRIES)
def test_the_calibrated_tip_is_the_one_that_filter_law_and_kinematics_know(driver):
    arm = make_arm(cell_of(driver), "arm")
    assert arm.spec.gripper.tcp_pos == (0.01, 0.0, 0.15)
    assert make_arm(cell_of(driver, {}), "arm").spec == robot(ENTRIES[driver].robot)


def test_a_franka_is_told_of_both_and_agrees_where_its_tool_is(monkeypatch):
    said = {}
    cell = cell_of("franky")
    spec = cell.spec_of("arm")
    pos, rot = (np.asarray(part) for part in Chain(spec).forward(np.array(spec.home)))
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = rot, pos
    arm = SimpleNamespace(
        model_urdf="",
        set_collision_behavior=lambda *_: None,
        set_load=lambda *given: said.update(load=given),
        set_ee=lambda given: said.update(ee=given),
        state=SimpleNamespace(
            F_T_NE=SimpleNamespace(matrix=np.eye(4)), q=np.array(spec.home), O_T_EE=SimpleNamespace(matrix=T)
        ),
    )
    sdk = SimpleNamespace(RealtimeConfig=SimpleNamespace(Enforce=1, Ignore=0), Robot=lambda *_, **__: arm)
    monkeypatch.setattr(franka_franky, "require_reachable", lambda *_: None)
    monkeypatch.setattr(franka_franky, "check_ranges", lambda *_: None)
    guarded = make_arm(cell, "arm")
    drive = guarded._drive
    drive._sdk = sdk
    drive._connect()
    mass, com, inertia = said["load"]
    assert (mass, com, inertia) == (0.4, [0.02, 0.0, 0.12], [0.0] * 9)
    F_T_EE = np.array(said["ee"]).reshape(4, 4).T
    np.testing.assert_allclose(F_T_EE[:3, 3], tool_to_flange(spec, np.zeros(3)), atol=1e-9)
    assert F_T_EE[2, 3] == pytest.approx(0.15)


def test_a_point_of_the_flange_is_one_of_the_tool():
    spec = robot("panda")
    point = np.array([0.02, -0.01, 0.12])
    np.testing.assert_allclose(tool_to_flange(spec, flange_to_tool(spec, point)), point, atol=1e-12)
    np.testing.assert_allclose(flange_to_tool(spec, np.array([0.0, 0.0, 0.1034])), 0.0, atol=1e-9)


def test_the_widowx_lifts_what_it_carries():
    cell = cell_of("widowx250s", {"payload": FOUND["payload"]})
    drive = WidowX("/dev/ttyDXL")
    spec, q = drive.spec, np.array(drive.spec.home)
    before = drive._gravity.torque(q)
    equip(drive, cell, "arm")
    chain = Chain(spec)
    rot = np.asarray(chain.forward(q)[1])[None]
    com = flange_to_tool(spec, np.array([0.02, 0.0, 0.12]))
    weight = payload_torque(np.asarray(chain.jacobian(q[None])), rot, 0.4, com)[0]
    np.testing.assert_allclose(drive._gravity.torque(q) - before, -weight, atol=1e-9)
    np.testing.assert_allclose(Gravity(spec).torque(q), before)


def test_the_trossen_controller_is_told_of_a_heavier_palm():
    sdk = pytest.importorskip("trossen_arm")
    drive = WidowXAI("192.168.1.2")
    drive._sdk = sdk
    standard = sdk.StandardEndEffector.wxai_v0_follower
    own, center = standard.palm.mass, np.array(list(standard.palm.origin_xyz))
    assert drive._tool().palm.mass == own
    equip(drive, cell_of("trossen"), "arm")
    palm = drive._tool().palm
    assert palm.mass == pytest.approx(own + 0.4)
    there = np.array(drive.spec.gripper.hand_pos) + np.array([0.02, 0.0, 0.12])
    np.testing.assert_allclose(list(palm.origin_xyz), (own * center + 0.4 * there) / (own + 0.4), atol=1e-9)
    assert list(drive._tool().t_flange_tool) == list(standard.t_flange_tool)
    assert standard.palm.mass == own  # the SDK's own is not changed


def test_a_drive_that_cannot_be_told_of_a_payload_refuses_it():
    cell = cell_of("simulated")
    drive = SimpleNamespace(spec=robot("panda"))
    with pytest.raises(UserError, match=r"payload: mass is 0.4 kg, of which the driver simulated cannot be told"):
        equip(drive, cell, "arm")
    equip(drive, replace(cell, calibration={}), "arm")
