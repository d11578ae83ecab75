"""What the loops of the SDKs are given to enforce, of the cells that are shipped and of others."""

from __future__ import annotations

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from envs.registry import make_task, task_names
from hardware.cell_file import SHIPPED, load_cell, shipped
from hardware.devices import make_arm, settings_of
from hardware.emulation.dynamixel_bus import widowx_bus
from robo_rl.errors import UserError


class Franky:
    """Remembers what franky's arm and its trackers are given."""

    RealtimeConfig = SimpleNamespace(Enforce="enforce", Ignore="ignore")
    PostureTask = staticmethod(lambda *given: given)
    CartesianImpedanceGains = SimpleNamespace(isotropic=lambda *given: given)

    def __init__(self):
        self.given = {}

    def tracker(self, name):
        return lambda robot, **given: self.given.__setitem__(name, given)

    def __getattr__(self, name):
        if name in ("CartesianImpedanceTracker", "JointImpedanceTracker"):
            return self.tracker(name)
        raise AttributeError(name)


def franka(**limits):
    cell = load_cell("franka")
    arm = replace(cell.arms["arm"], limits={**cell.arms["arm"].limits, **limits})
    arm = replace(arm, settings={**arm.settings, "realtime": False})
    return replace(cell, arms={"arm": arm})


@pytest.mark.parametrize("margin", [0.05, 0.2])
def test_franky_is_given_the_joint_margin_of_the_cell_file(margin):
    cell = franka(joint_margin=margin)
    drive = make_arm(cell, "arm")._drive
    assert drive.delegated.limits == {"joint_margin"}
    drive._sdk, drive._robot = Franky(), object()
    drive._hold()
    drive._hold_joints()
    spec = cell.spec_of("arm")
    for tracker in ("CartesianImpedanceTracker", "JointImpedanceTracker"):
        given = drive._sdk.given[tracker]
        assert given["joint_limit_activation_distance"] == margin
        np.testing.assert_array_equal(given["lower_joint_limits"], [link.joint_range[0] for link in spec.links])
        np.testing.assert_array_equal(given["upper_joint_limits"], [link.joint_range[1] for link in spec.links])
        assert given["max_delta_tau"] == spec.impedance.max_torque_rate
    clip = drive._sdk.given["CartesianImpedanceTracker"]["translational_error_clip"]
    np.testing.assert_array_equal(clip, [spec.impedance.clip] * 3)


def test_the_arm_is_given_the_collision_thresholds_and_the_payload_of_the_cell_file(monkeypatch):
    told = {}

    class Robot:
        model_urdf = ""
        state = SimpleNamespace(
            F_T_NE=SimpleNamespace(matrix=np.eye(4)), q=np.zeros(7), O_T_EE=SimpleNamespace(matrix=0)
        )

        def __init__(self, address, realtime_config):
            told["address"] = address

        def __getattr__(self, name):
            return lambda *given: told.__setitem__(name, given)

    sdk = Franky()
    sdk.Robot = Robot
    for check in ("require_reachable", "check_ranges", "check_tool"):
        monkeypatch.setattr(f"hardware.arms.franka_franky.{check}", lambda *_: None)
    cell = franka()
    drive = make_arm(cell, "arm")._drive
    drive._sdk = sdk
    drive._connect()
    said = cell.arms["arm"].settings
    names = ("contact_torque", "collision_torque", "contact_force", "collision_force")
    assert told["set_collision_behavior"] == tuple(said[name] for name in names)
    assert told["set_load"][0] == said["payload_mass"]
    assert told["address"] == said["address"]


def test_an_arm_at_an_address_where_nothing_answers_is_told_at_once():
    pytest.importorskip("franky")
    cell = franka()
    arm = replace(cell.arms["arm"], settings={**cell.arms["arm"].settings, "address": "127.0.0.77"})
    began = time.monotonic()
    with pytest.raises(UserError, match=r"franka at 127\.0\.0\.77: nothing answers at port 1337 .* check the cable"):
        make_arm(replace(cell, arms={"arm": arm}), "arm").open()
    assert time.monotonic() - began < 10.0  # half a minute by itself


def test_servos_are_given_what_the_cell_file_says(tmp_path):
    pytest.importorskip("dynamixel_sdk")
    cell = load_cell("widowx250s")
    link = str(tmp_path / "port")
    settings = {**cell.arms["arm"].settings, "address": link, "mode": "current_based_position", "patience": 0.25}
    settings |= {"max_current": 0.7, "gripper_effort": 0.3, "watchdog": 2.4}
    cell = replace(cell, arms={"arm": replace(cell.arms["arm"], settings=settings)})
    drive = settings_of(cell, "arm")
    assert not drive.delegated.limits
    with widowx_bus(link) as bus:
        drive.open()
        with bus.lock:
            servo = bus.chain.servo
            assert servo(1).get("Goal Current") == round(0.7 / 2.69e-3)
            assert servo(9).get("Goal PWM") == round(0.3 * 885)
            assert {servo(number).get("Bus Watchdog") for number in range(1, 10)} == {round(2.4 / 0.02)}
        drive.close()


@pytest.mark.parametrize("path", shipped(), ids=lambda path: path.stem)
def test_a_shipped_cell_has_the_cameras_that_tasks_read_and_says_what_is_delegated(path):
    cell = load_cell(path)
    wanted = {
        camera.name for name in task_names() for camera in make_task(name, cell.arms["arm"].robot).scene().cameras
    }
    assert wanted == {"front", "wrist"}
    assert wanted <= set(cell.cameras)
    drive = make_arm(cell, "arm")._drive if path.stem != "sim" else None
    text = (SHIPPED / path.name).read_text()
    for limit in drive.delegated.limits if drive is not None else ():
        assert f"limits.{limit}" in text
    assert "elegated" in text
