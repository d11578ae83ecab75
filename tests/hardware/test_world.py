"""The world that is a cell: one task, one environment interface, an arm that keeps its own time."""

from __future__ import annotations

import dataclasses
import threading
import time

import numpy as np
import pytest
import torch

import hardware.world
from envs.env import Env
from envs.registry import make_task
from hardware.arm import Arm
from hardware.emulation.in_process import InProcessPoseDrive
from hardware.safety.limits import SafetyLimits
from hardware.world import CellWorld
from robo_rl.contracts import Command, Frame, HumanInput, Task, World
from robo_rl.data.episode_writer import EpisodeWriter
from robo_rl.data.episodes import Episode, episode_files, load_episodes
from robo_rl.data.journal import read_journal
from robo_rl.errors import InvalidAction, MissingReading, Stale, UserError
from robo_rl.human.intervention import InterventionEnv
from robo_rl.human.recording import record_person
from robo_rl.robots import robot as spec_of
from robo_rl.training.durable import StorageError

# Five times as fast as a policy acts: what is shown is the same, and sooner.
PANDA = dataclasses.replace(spec_of("panda"), control_rate=50.0)
TASK = make_task("reach", PANDA)


@pytest.fixture
def drive():
    return InProcessPoseDrive(PANDA, rate=200.0)


# A machine so busy that it stalls is no arm that has fallen silent.
LIMITS = dataclasses.replace(
    SafetyLimits.of(PANDA), max_state_age=2.0, max_speed=1.0, max_rotation_speed=4.0, joint_speed=1.0
)


@pytest.fixture
def arm(drive, monkeypatch):
    monkeypatch.setattr(hardware.world, "_RETREAT_SPEED", 0.4)
    with Arm(drive, LIMITS) as opened:
        yield opened


@pytest.fixture
def world(arm):
    return CellWorld(arm, {}, TASK.scene(), max_age=2.0)


def begin(world, seed=0):
    start = TASK.start(torch.Generator().manual_seed(seed), 1)
    return start, world.reset(torch.tensor([True]), start)


def hold(reading):
    return Command(reading["target_pos"], reading["target_rot"], reading["gripper_target"])


def test_is_a_world(world):
    assert isinstance(world, World)
    assert world.num_envs == 1


def test_reads_exactly_what_it_says_it_provides(world):
    _, reading = begin(world)
    assert set(reading) == world.provides
    assert set(world.step(hold(reading))) == world.provides
    for name, value in reading.items():
        assert value.shape[0] == 1, name
        assert value.dtype == (torch.bool if name == "interrupted" else torch.float32), name


def test_moves_to_the_start_and_is_aimed_at_where_it_is(world):
    start, reading = begin(world)
    assert (reading["tcp_pos"] - start.tool.pos).norm() < 0.01
    assert torch.equal(reading["target_pos"], reading["tcp_pos"])
    assert torch.equal(reading["fixture.goal.pos"], start.objects["goal"].pos)


def test_a_step_takes_one_control_period_whatever_the_caller_does_meanwhile(world):
    _, reading = begin(world)
    periods, waits, last = [], [], time.monotonic()
    for _ in range(41):
        asked = time.monotonic()
        reading = world.step(hold(reading))
        now = time.monotonic()
        periods, waits, last = [*periods, now - last], [*waits, now - asked], now
        time.sleep(0.008)  # a policy that thinks
    # Of a busy machine's steps some come late; most do not.
    assert np.median(periods) == pytest.approx(world.control_dt, abs=0.005)
    assert np.median(waits) < world.control_dt - 0.005


def test_the_target_that_is_read_is_the_one_after_every_limit(world):
    _, reading = begin(world)
    beyond = Command(reading["target_pos"] + 5.0, reading["target_rot"], reading["gripper_target"])
    after = world.step(beyond)
    assert (after["target_pos"] <= torch.tensor(PANDA.workspace_high) + 1e-6).all()


def test_a_command_that_is_not_finite_is_refused(world):
    _, reading = begin(world)
    with pytest.raises(InvalidAction):
        world.step(Command(reading["target_pos"] * torch.nan, reading["target_rot"], reading["gripper_target"]))


def test_the_expert_reaches_with_what_a_cell_can_know(world):
    env = Env(world, TASK, seed=1)
    env.reset()
    for _ in range(TASK.horizon * 3):
        step = env.step(env.expert_action())
        if bool(step.terminated[0]):
            break
    assert bool(step.info["success"][0])


def test_to_carry_on_moves_nothing_and_begins_the_time_anew(world):
    with pytest.raises(UserError, match="reset"):
        world.carry_on(torch.tensor([True]))
    _, reading = begin(world)
    for _ in range(6):
        reading = world.step(Command(reading["target_pos"] + 0.005, reading["target_rot"], reading["gripper_target"]))
    time.sleep(0.5)  # the command is valid no longer, and the arm holds
    overruns = world.overruns
    again = world.carry_on(torch.tensor([True]))
    assert float(again["time"]) < 0.1 < float(reading["time"])
    assert torch.equal(again["target_pos"], reading["target_pos"])
    assert (again["tcp_pos"] - reading["tcp_pos"]).norm() < 0.03
    after = world.step(hold(again))
    assert not bool(after["interrupted"])
    assert float(after["time"]) == pytest.approx(world.control_dt, abs=0.1)
    assert world.overruns == overruns  # what lay between the episodes is no part of a control period


def test_a_fault_between_two_episodes_is_told_by_the_first_reading(world, arm):
    env = Env(world, TASK)
    env.reset()
    arm.stop("somebody has pressed the button")
    threading.Timer(0.3, arm.recover).start()
    env.carry_on()
    assert bool(env.reading["interrupted"])
    env.reset()
    assert not bool(env.reading["interrupted"])


def test_a_task_that_needs_a_simulator_is_refused_by_the_name_of_the_reading(world):
    class NeedsTruth(type(TASK)):
        assume = Task.assume

    with pytest.raises(MissingReading, match=r"object\.goal\.pos"):
        Env(world, NeedsTruth(PANDA))


def test_a_fault_ends_the_episode_and_nothing_goes_on_before_it_is_acknowledged(world, arm):
    env = Env(world, TASK)
    env.reset()
    action = torch.zeros(1, *env.action_space.shape)
    assert not bool(env.step(action).done[0])
    arm.stop("somebody has pressed the button")
    threading.Timer(0.5, arm.recover).start()
    began = time.monotonic()
    step = env.step(action)
    assert time.monotonic() - began > 0.4
    assert bool(step.truncated[0])
    assert not bool(step.terminated[0])
    env.reset(step.done)
    assert not bool(env.step(action).done[0])


class StandIn:
    """An operator who arranges nothing and acknowledges what they are ``willing`` to."""

    def __init__(self, willing):
        self.willing, self.asked = willing, []

    def arrange(self, start):
        pass

    def acknowledge(self, fault, reason):
        self.asked.append((fault, reason))
        return self.willing


def test_an_operator_may_acknowledge_a_fault(arm):
    operator = StandIn(willing=True)
    world = CellWorld(arm, {}, TASK.scene(), max_age=2.0, operator=operator)
    _, reading = begin(world)
    arm.stop("pressed")
    assert bool(world.step(hold(reading))["interrupted"][0])
    assert operator.asked == [("stopped", "pressed")]
    assert arm.status().fault == ""


def test_an_operator_who_leaves_it_to_a_person_recovers_nothing(arm):
    operator, stop = StandIn(willing=False), threading.Event()
    world = CellWorld(arm, {}, TASK.scene(), max_age=2.0, operator=operator, should_stop=stop.is_set)
    _, reading = begin(world)
    arm.stop("pressed")
    threading.Timer(0.3, stop.set).start()
    assert bool(world.step(hold(reading))["interrupted"][0])
    assert arm.status().fault == "stopped"


def test_a_stop_is_heard_while_a_fault_is_waited_for(arm):
    stop = threading.Event()
    world = CellWorld(arm, {}, TASK.scene(), max_age=2.0, should_stop=stop.is_set)
    _, reading = begin(world)
    stop.set()
    arm.stop("for good")
    assert bool(world.step(hold(reading))["interrupted"][0])


def test_a_start_is_laid_out_around_the_calibrated_fixture(arm):
    peg = make_task("peg_insertion", PANDA)
    calibrated = np.array([0.52, 0.05, 0.02]), np.eye(3)
    world = CellWorld(arm, {}, peg.scene(), fixtures={"hole": calibrated}, max_age=2.0)
    start = peg.start(torch.Generator().manual_seed(0), 1)
    reading = world.reset(torch.tensor([True]), start)
    assert torch.allclose(reading["fixture.hole.pos"], torch.tensor([[0.52, 0.05, 0.02]]))
    believed = start.fixtures["hole"]
    drawn = believed.rot.mT @ (start.tool.pos - believed.pos)[..., None]
    there = (reading["tcp_pos"] - reading["fixture.hole.pos"])[..., None]
    assert (there - drawn).norm() < 0.012


def test_what_the_cell_lacks_is_told(arm):
    with pytest.raises(UserError, match="tracks no objects, but the task asks for the pose of cube"):
        CellWorld(arm, {}, make_task("pick_cube", PANDA).scene())


class Eye:
    """A camera that falls silent on demand."""

    def __init__(self, name, width, height):
        self.name, self.width, self.height = name, width, height
        self.silent = False

    def read(self, max_age=0.2):
        if self.silent:
            raise Stale(f"camera {self.name!r} is silent")
        return Frame(time.monotonic(), 1, np.zeros((self.height, self.width, 3), np.uint8))

    def close(self):
        """Nothing to let go of."""


def test_a_silent_camera_cuts_the_episode_and_is_waited_for_before_the_next(arm):
    task = make_task("peg_insertion", PANDA)
    eyes = {each.name: Eye(each.name, each.width, each.height) for each in task.scene().cameras}
    said = []

    def on_wait(why):
        said.append(why)
        threading.Timer(0.3, lambda: [setattr(eye, "silent", False) for eye in eyes.values()]).start()

    start = task.start(torch.Generator().manual_seed(0), 1)
    fixtures = {name: (pose.pos[0].numpy(), pose.rot[0].numpy()) for name, pose in start.fixtures.items()}
    world = CellWorld(arm, eyes, task.scene(), fixtures=fixtures, max_age=2.0, on_wait=on_wait)
    first = next(iter(eyes.values()))
    first.silent = True
    reading = world.reset(torch.tensor([True]), start)
    assert not bool(reading["interrupted"])
    assert any("is silent" in each for each in said)
    first.silent = True
    reading = world.step(hold(reading))
    assert bool(reading["interrupted"])
    assert not bool(world.step(hold(reading))["interrupted"])


class Pusher:
    """A person who pushes, and is content with each tenth step."""

    device = "gamepad"

    def begin(self):
        """There is nothing to forget."""

    def read(self, view):
        return HumanInput(
            torch.tensor([0.2, 0.0, 0.0]), label="success" if view.step == 9 else None, device=self.device
        )

    def close(self):
        """Nothing to let go of."""


def test_a_full_disk_ends_the_recording_and_the_arm_holds(drive, small_disk):
    """The disk that the arm writes its faults to as well."""
    disk = small_disk(40)
    limits = dataclasses.replace(SafetyLimits.of(PANDA), max_state_age=2.0)
    with Arm(drive, limits, fault_folder=disk / "faults") as arm:
        env = InterventionEnv(Env(CellWorld(arm, {}, TASK.scene(), max_age=2.0), TASK), {0: Pusher()})
        about = {"task": TASK.name, "robot": PANDA.name, "seed": 0}
        with pytest.raises(StorageError, match="the disk is full: could not write"):
            record_person(env, disk / "demonstrations", 10**9, **about)
        cycles = arm.state(2.0).stamp
        wait_for(lambda: arm.status().mode == "holding")
        arm.stop("a fault, which there is no room to log")
        wait_for(lambda: arm.status().counters["fault_log_errors"] == 1)
        held = arm.state(2.0)
        assert held.stamp > cycles
        assert arm.status().fault == "stopped"
        arm.recover()
        wait_for(lambda: arm.status().mode == "holding")
        np.testing.assert_allclose(arm.state(2.0).tcp_pos, held.tcp_pos, atol=5e-3)
    folder = disk / "demonstrations"
    files, (journal,) = episode_files(folder), folder.glob("*.journal")
    assert len(load_episodes(folder)) == len(files) > 0
    under_way = len(list(read_journal(journal)))
    files[0].unlink()  # somebody makes room
    with EpisodeWriter(folder, env.observation_space, env.action_space, source="human", **about) as writer:
        assert [len(Episode.load(path)) for path in writer.stored] == [under_way] * (under_way > 0)


def wait_for(condition, patience=20.0):
    deadline = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
