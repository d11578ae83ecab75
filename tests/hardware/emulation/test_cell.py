"""A simulated cell with real processes: the arm behind its safety filter, cameras, operator, and what dies.

Nothing is timed but what a person would call slow: these run on busy machines. So the arm's own guard is patient here;
that it is not elsewhere is tested tick by tick in ``test_physics.py``.
"""

from __future__ import annotations

import dataclasses
import os
import time

import numpy as np
import pytest
import torch

from envs.registry import make_task
from hardware.arm import Arm
from hardware.arms.emulated import EmulatedDrive
from hardware.cameras.emulated import EmulatedCamera
from hardware.emulation.client import CellClient
from hardware.emulation.faults import Fault
from hardware.emulation.operator import SimulatedOperator
from hardware.realtime import prioritise
from hardware.safety.limits import SafetyLimits
from robo_rl.commands.physics import SimulatedCell
from robo_rl.contracts import Operator, ToolCommand
from robo_rl.contracts.plant import DIFFERENT
from robo_rl.errors import Faulted, Stale
from robo_rl.robots import robot

SPEC = robot("fr3")
PATIENT = 40.0
# Slow, because an impact on a rigid table is as hard as its speed.
LIMITS = dataclasses.replace(SafetyLimits.of(SPEC), max_state_age=1.0, recoveries=50, max_force=60.0, max_speed=0.05)


@pytest.fixture(scope="module")
def cell():
    settings = dataclasses.replace(DIFFERENT, guard=0.25, payload_error=0.0, gravity_error=0.0)
    with SimulatedCell("peg_insertion", "fr3", settings=settings, cameras=True) as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def control_goes_first(cell):
    """On a busy machine a torque loop needs priority, as on a robot's computer; elsewhere it runs without."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    prioritise(5)
    yield
    os.sched_setscheduler(0, *before)


@pytest.fixture
def arm(cell):
    with Arm(EmulatedDrive(SPEC, cell.folder, silence=0.1), LIMITS) as opened:
        yield opened


def until(condition, what):
    deadline = time.monotonic() + PATIENT
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.01)
    pytest.fail(f"never: {what}")


class Sender:
    """Sends one target again and again, as a policy would."""

    def __init__(self, arm):
        self.arm, self.id = arm, 0

    def pursue(self, pos, rot, done, what, gripper=0.016):
        def once():
            self.id += 1
            try:
                self.arm.command(ToolCommand(self.id, pos, rot, gripper, valid_for=0.3))
            except Faulted:
                assert not self.arm.status().needs_acknowledgement, self.arm.status()
            return done()

        until(once, what)


def test_the_arm_holds_where_it_is(arm):
    before = arm.state(1.0).tcp_pos
    time.sleep(1.0)
    assert np.linalg.norm(arm.state(1.0).tcp_pos - before) < 0.005
    assert arm.status().mode == "holding"


def test_the_arm_follows_a_target(arm):
    state = arm.state(1.0)
    goal = state.tcp_pos + np.array([-0.04, 0.05, -0.03])
    near = lambda: np.linalg.norm(arm.state(5.0).tcp_pos - goal) < 0.015  # noqa: E731
    Sender(arm).pursue(goal, state.tcp_rot, near, "near the target")
    assert arm.status().fault == ""


def test_pressing_on_the_table_is_felt_and_bounded(arm, cell):
    sender, state = Sender(arm), arm.state(1.0)
    above = np.array([0.45, 0.25, 0.08])
    sender.pursue(above, state.tcp_rot, lambda: np.linalg.norm(arm.state(5.0).tcp_pos - above) < 0.02, "over the table")
    below, felt = np.array([0.45, 0.25, 0.0]), []  # the peg reaches 50 mm beyond the tool centre point

    def pressing():
        felt.append(arm.state(5.0).tcp_force[2])
        return len(felt) > 200 and np.median(felt[-100:]) > 3.0

    sender.pursue(below, state.tcp_rot, pressing, "felt the table")
    gains = SPEC.impedance
    assert np.median(felt[-100:]) < gains.stiffness * gains.clip + 8.0  # and the dry friction of the joints
    assert CellClient(cell.folder).truth()["tcp"][0][2] > 0.04  # it is not in the table
    sender.pursue(above, state.tcp_rot, lambda: arm.state(5.0).tcp_pos[2] > 0.06, "off the table")
    assert arm.status().fault == ""


def test_the_operator_puts_everything_where_a_start_wants_it(cell):
    task = make_task("peg_insertion", robot="fr3")
    start = task.start(torch.Generator().manual_seed(7), 1)
    someone = SimulatedOperator(cell.folder)
    operator: Operator = someone
    operator.arrange(start)
    truth = someone.truth()
    hole, peg = start.objects["hole"], start.objects["peg"]
    assert truth["hole"][0] == pytest.approx(hole.pos[0].numpy(), abs=1e-6)
    assert truth["hole"][1] == pytest.approx(hole.rot[0].numpy(), abs=1e-6)
    tcp_pos, tcp_rot = truth["tcp"]
    assert tcp_rot.T @ (truth["peg"][0] - tcp_pos) == pytest.approx(peg.pos[0].numpy(), abs=1e-6)


def test_the_cameras_see_what_the_operator_moves(cell):
    camera, client = EmulatedCamera("front", cell.folder, timeout=PATIENT), CellClient(cell.folder)
    hole = client.truth()["hole"]

    def picture():
        seen = camera.read(float("inf")).stamp
        until(lambda: camera.read(float("inf")).stamp > seen + 0.2, "a fresh picture")
        return camera.read(float("inf")).rgb.astype(int)

    before = picture()
    client.place({"hole": (hole[0] + [0.0, 0.2, 0.0], hole[1])})
    assert np.abs(picture() - before).max() > 50
    client.place({"hole": hole})
    camera.close()


def test_an_unplugged_arm_is_a_stale_state_and_plugged_in_again_it_goes_on(arm, cell):
    client = CellClient(cell.folder)
    client.inject(Fault("unplug", "state", seconds=60.0))
    until(lambda: arm.status().fault == "stale_state", "a stale state")
    client.inject(Fault("unplug", "state", seconds=0.0))
    until(lambda: recover(arm) and arm.status().mode == "holding", "holding again")


@pytest.mark.parametrize(
    ("fault", "latched"),
    [
        (Fault("drop", "state", 60.0, 0.5), ""),  # half of the states are enough
        (Fault("drop", "state", 60.0, 1.0), "stale_state"),
        (Fault("freeze", "state", 60.0), "stale_state"),
        (Fault("delay", "state", 60.0, 2.0), "stale_state"),
        (Fault("garbage", "state", 60.0, 1.0), ""),  # some are whole all the same; the others are told apart
        (Fault("drop", "command", 60.0, 1.0), "device"),  # its own guard brakes
        (Fault("garbage", "command", 60.0, 0.3), ""),
    ],
    ids=lambda value: f"{value.kind} {value.of} {value.amount:g}" if isinstance(value, Fault) else value,
)
def test_what_is_lost_late_or_nonsense_is_ridden_out_or_latched_and_moves_nothing(arm, cell, fault, latched):
    client = CellClient(cell.folder, timeout=PATIENT)
    before, seen = client.truth()["tcp"][0], set()
    client.inject(fault)
    try:
        deadline = time.monotonic() + (PATIENT if latched else 1.5)
        while time.monotonic() < deadline and latched not in seen - {""}:
            seen.add(arm.status().fault)
            time.sleep(0.002)
        time.sleep(0.2)
        assert np.linalg.norm(client.truth()["tcp"][0] - before) < 0.01
    finally:
        client.inject(dataclasses.replace(fault, seconds=0.0))
    if latched:
        assert latched in seen, seen
    else:
        assert not seen - {"", "device"}, seen  # a stalled machine is late with torques by itself
    until(lambda: recover(arm) and arm.status().mode == "holding", "holding again")
    state = arm.state(5.0)
    assert np.isfinite(state.joint_pos).all()
    assert np.linalg.norm(client.truth()["tcp"][0] - before) < 0.01


def recover(arm):
    try:
        arm.recover()
    except Faulted:
        return False
    return arm.status().fault == ""


def test_killed_physics_is_a_stale_state_and_new_physics_is_found(arm, cell):
    camera = EmulatedCamera("front", cell.folder, timeout=PATIENT)
    cell.physics.kill()
    cell.physics.communicate()
    until(lambda: arm.status().fault == "stale_state", "a stale state")
    with pytest.raises(Stale):
        arm.state(0.1)
    with pytest.raises(Faulted, match="stale_state"):
        arm.command(ToolCommand(1, np.array([0.5, 0.0, 0.3]), np.diag([1.0, -1.0, -1.0]), 0.0, 0.2))

    def stale():
        try:
            camera.read(0.3)
        except Stale as error:
            return "no news from the physics" in str(error)
        return False

    until(stale, "a stale camera that says why")
    cell.start_physics()
    cell.wait(120.0)
    until(lambda: recover(arm), "recovered")
    until(lambda: np.isfinite(arm.state(10.0).joint_pos).all() and arm.status().mode == "holding", "holding again")
    until(lambda: time.monotonic() - camera.read(float("inf")).stamp < 1.0, "a fresh picture")
    camera.close()
