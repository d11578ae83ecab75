"""The server and the drive in one thread, tick by tick: nothing here depends on how fast the machine is."""

from __future__ import annotations

import contextlib
import importlib.util
import socket
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from hardware.arms.drive import JointDrive, PoseDrive, TorqueDrive
from hardware.arms.emulated import EmulatedDrive
from hardware.emulation.client import CellClient
from hardware.emulation.faults import Fault
from hardware.emulation.physics import PhysicsServer
from hardware.emulation.wire import Kind, pack_floats
from hardware.safety.plausibility import Plausibility
from robo_rl.contracts.plant import PlantSettings
from robo_rl.errors import Stale, UserError
from robo_rl.robots import robot

_found = importlib.util.spec_from_file_location("point_plant", Path(__file__).with_name("point_plant.py"))
point_plant = importlib.util.module_from_spec(_found)
_found.loader.exec_module(point_plant)
SPEC = point_plant.SPEC
PUSH = np.full(7, 1.5)


class Bench:
    """A server that is ticked by hand, on a clock of its own, and a drive."""

    def __init__(self, folder, settings):
        self.folder, self.plant = folder, point_plant.PointPlant()
        self.server = PhysicsServer(self.plant, folder, settings)
        self.drive = EmulatedDrive(SPEC, folder, silence=0.02)
        self.client = CellClient(folder)
        self.now = 50.0

    def tick(self, times=1):
        for _ in range(times):
            self.now += 0.001
            self.server.tick(self.now)

    def serving(self, call):
        """Return what ``call`` returns, while the server ticks."""
        result = []

        def work():
            try:
                result.append((True, call()))
            except Exception as error:
                result.append((False, error))

        worker = threading.Thread(target=work)
        worker.start()
        while worker.is_alive():
            self.tick()
            time.sleep(0.0005)
        worker.join()
        done, value = result[0]
        if not done:
            raise value
        return value

    def state(self):
        self.tick()
        return self.drive.read()

    def flush(self):
        """Read away what was sent while the server ticked by itself."""
        for _ in range(12):
            try:
                self.drive.read()
            except Stale:
                return


@pytest.fixture
def bench(folder, request):
    made = Bench(folder, getattr(request, "param", PlantSettings()))
    made.serving(made.drive.open)
    made.flush()
    yield made
    made.drive.close()
    made.server.close()


def test_the_drive_keeps_its_contract_and_reports_what_was_measured(bench):
    assert isinstance(bench.drive, TorqueDrive)
    assert not isinstance(bench.drive, PoseDrive | JointDrive)
    state = bench.state()
    assert state.stamp == bench.now
    assert np.allclose(state.joint_pos, SPEC.home, atol=1e-9)
    assert np.array_equal(state.joint_torque, np.full(7, 0.5))
    assert (state.gripper_width, state.error) == (0.04, "")


def test_a_torque_acts_in_the_next_step_and_the_gripper_goes(bench):
    bench.drive.write_torque(PUSH)
    bench.drive.write_gripper(0.01)
    assert bench.state().gripper_width == 0.01
    assert np.array_equal(bench.plant.applied[-1], PUSH)


def test_the_newest_state_is_read_and_older_ones_are_not(bench):
    bench.tick(4)
    assert bench.drive.read().stamp == bench.now
    with pytest.raises(Stale, match="silent"):
        bench.drive.read()


@pytest.mark.parametrize("bench", [PlantSettings(command_delay=0.0045, state_delay=0.0025)], indirect=True)
def test_command_and_state_come_as_late_as_they_shall(bench):
    for k in range(10):
        bench.drive.write_torque(np.full(7, float(k + 1)))
        bench.tick()
    assert [applied[0] for applied in bench.plant.applied[-5:]] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert bench.drive.read().stamp == pytest.approx(bench.now - 0.003, abs=1e-6)


@pytest.mark.parametrize(
    "bench", [PlantSettings(joint_pos_noise=1e-3, joint_vel_noise=1e-2, joint_torque_noise=0.2)], indirect=True
)
def test_noise_is_as_strong_as_it_shall_be_and_moves_nothing(bench):
    states = [bench.state() for _ in range(300)]
    spread = [np.std([getattr(s, name) for s in states]) for name in ("joint_vel", "joint_torque")]
    assert spread == pytest.approx([1e-2, 0.2], rel=0.1)
    assert np.std([s.joint_pos - SPEC.home for s in states]) == pytest.approx(1e-3, rel=0.1)
    assert np.abs(bench.plant.q - SPEC.home).max() < 1e-9


def test_silence_of_the_drive_brakes_and_recovery_clears_it(bench):
    bench.drive.write_torque(PUSH)
    bench.tick(25)
    bench.flush()
    assert "communication_constraints_violation" in bench.state().error
    bench.drive.write_torque(PUSH)
    assert bench.state().error
    bench.serving(bench.drive.recover)
    bench.flush()
    bench.drive.write_torque(PUSH)
    assert bench.state().error == ""
    assert np.array_equal(bench.plant.applied[-1], PUSH)


def test_closing_is_no_error_of_the_arm(bench):
    bench.drive.write_torque(PUSH)
    bench.tick()
    bench.drive.close()
    bench.drive.close()
    bench.tick(100)
    again = EmulatedDrive(SPEC, bench.folder)
    bench.serving(again.open)
    bench.tick()
    assert again.read().error == ""
    again.close()


def test_another_drive_another_arm_and_no_cell_are_refused(bench, folder):
    with pytest.raises(UserError, match="another drive"):
        bench.serving(lambda: (bench.drive.write_torque(PUSH), EmulatedDrive(SPEC, bench.folder).open()))
    with pytest.raises(UserError, match="fr3, not a panda"):
        bench.serving(EmulatedDrive(robot("panda"), bench.folder).open)
    with pytest.raises(UserError, match=r"no physics process answers at .*nowhere"):
        EmulatedDrive(SPEC, folder / "nowhere", timeout=0.1).open()
    with pytest.raises(UserError, match="in use"):
        PhysicsServer(bench.plant, bench.folder, PlantSettings())


def test_garbage_in_is_counted_and_moves_nothing(bench):
    stranger = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    stranger.connect(str(bench.folder / "physics.sock"))
    for noise in (b"", b"x", b"y" * 300, pack_floats(Kind.TORQUE, np.full(7, np.nan)), pack_floats(Kind.TORQUE, PUSH)):
        stranger.send(noise)
    bench.drive.write_torque(np.full(7, np.nan))
    bench.tick()
    assert np.abs(bench.plant.applied[-1]).max() < 1e-6
    assert bench.server.figures()["garbled"] == 4  # the torque of a stranger is whole, and none of his business
    stranger.close()


def inject(bench, *args, **kwargs):
    bench.serving(lambda: bench.client.inject(Fault(*args, **kwargs)))
    bench.flush()


def test_unplugged_there_is_silence_in_both_directions_until_it_is_plugged_in_again(bench):
    bench.drive.write_torque(PUSH)
    inject(bench, "unplug", "state", seconds=60.0)
    bench.drive.write_torque(3 * PUSH)
    bench.tick(30)
    with pytest.raises(Stale):
        bench.drive.read()
    assert not any(np.array_equal(applied, 3 * PUSH) for applied in bench.plant.applied)
    inject(bench, "unplug", "state", seconds=0.0)
    assert "communication_constraints_violation" in bench.state().error


def test_a_frozen_arm_repeats_itself_with_an_old_stamp(bench):
    before = bench.state().stamp
    inject(bench, "freeze", "state", seconds=60.0)
    frozen = [bench.state().stamp for _ in range(5)]
    assert len(set(frozen)) == 1
    assert before <= frozen[0] < bench.now


def test_dropped_states_are_missing_and_garbled_ones_ignored(bench):
    inject(bench, "drop", "state", seconds=60.0, amount=1.0)
    bench.tick(5)
    with pytest.raises(Stale):
        bench.drive.read()
    inject(bench, "drop", "state", seconds=0.0)
    inject(bench, "garbage", "state", seconds=60.0, amount=1.0)
    plausibility = Plausibility(SPEC)
    assert plausibility.wrong(np.array(SPEC.home), np.zeros(7), np.zeros(7), 0.0, 0.0) == ""
    for _ in range(60):
        bench.tick()
        try:
            state = bench.drive.read()
        except Stale:
            continue
        # What comes through by chance is whole, or the control loop takes it for what it is.
        told = state.joint_pos, state.joint_vel, state.bias, state.stamp, state.stamp
        assert plausibility.wrong(*told) or np.abs(state.joint_pos - SPEC.home).max() < 1e-6
    assert bench.drive.garbled > 5


def test_dropped_commands_trip_the_guard_and_delayed_ones_come_late(bench):
    inject(bench, "delay", "command", seconds=60.0, amount=0.010)
    bench.drive.write_torque(PUSH)
    bench.tick(9)
    assert np.abs(bench.plant.applied[-1]).max() < 1e-6
    bench.tick(3)
    assert np.array_equal(bench.plant.applied[-1], PUSH)
    inject(bench, "drop", "command", seconds=60.0)
    for _ in range(40):
        bench.drive.write_torque(PUSH)
        bench.tick()
    bench.flush()
    assert bench.state().error


@pytest.mark.parametrize("bench", [PlantSettings(patience=1.0, realtime=False, state_delay=0.002)], indirect=True)
def test_patient_physics_stands_still_while_a_torque_is_late_but_not_for_ever(bench):
    steps = bench.plant.applied
    serving = threading.Thread(target=bench.server.run)
    serving.start()
    try:
        for _ in range(50):
            bench.drive.read()
            bench.drive.write_torque(PUSH)
        bench.drive.read()
        time.sleep(0.1)
        before = len(steps)
        time.sleep(0.2)
        assert len(steps) == before
        bench.drive.write_torque(PUSH)
        bench.drive.read()
        assert len(steps) > before
        before, deadline = len(steps), time.monotonic() + 20.0
        while len(steps) < before + 50 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert len(steps) >= before + 50
    finally:
        bench.server.stop()
        serving.join()


def test_objects_are_placed_and_the_truth_is_told(bench):
    pose = np.array([0.5, 0.1, 0.02]), np.eye(3)
    bench.serving(lambda: bench.client.place({"cube": pose}))
    assert np.array_equal(bench.serving(bench.client.truth)["cube"][0], pose[0])
    with pytest.raises(UserError, match="unknown object 'cub'; did you mean 'cube'"):
        bench.serving(lambda: bench.client.place({"cub": pose}))


def test_a_dead_server_is_silence_and_a_new_one_is_found(bench):
    bench.server.close()
    with pytest.raises(Stale, match="gone"):
        [bench.drive.read() for _ in range(3)]
    bench.drive.write_torque(PUSH)
    with pytest.raises(Stale, match="gone"):
        bench.drive.read()
    bench.server = PhysicsServer(bench.plant, bench.folder, PlantSettings())

    def until_found():
        while True:
            try:
                return bench.drive.read()
            except Stale:
                continue

    assert bench.serving(until_found).error == ""


def test_nobody_at_home_says_so(folder):
    with pytest.raises(UserError, match="is the cell running"):
        CellClient(folder).truth()


def test_what_the_arm_carries_is_told_at_the_start_and_to_a_server_that_is_new(bench, folder):
    bench.drive.close()
    bench.tick()
    bench.drive.carry(0.4, np.array([0.0, 0.01, 0.1]))
    bench.serving(bench.drive.open)
    bench.tick(2)
    mass, com = bench.plant.reckoned
    assert mass == 0.4
    np.testing.assert_array_equal(com, [0.0, 0.01, 0.1])
    bench.server.close()
    bench.plant = point_plant.PointPlant()
    bench.server = PhysicsServer(bench.plant, folder, PlantSettings())
    for _ in range(20):
        with contextlib.suppress(Stale):  # until it has found the new one
            bench.serving(bench.drive.read)
    assert bench.plant.reckoned[0] == 0.4


@pytest.mark.parametrize("load", [[np.nan, 0.0, 0.0, 0.0], [0.5, 0.0]])
def test_a_load_that_makes_no_sense_changes_nothing(bench, load):
    bench.drive._send(pack_floats(Kind.LOAD, np.array(load)))
    bench.tick(2)
    assert bench.plant.reckoned[0] == 0.0
