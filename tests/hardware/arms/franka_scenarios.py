"""What a Franka drive has to do, each in a process of its own: ``python franka_scenarios.py NAME DRIVE ADDRESS``.

The two SDKs cannot be loaded into one process, so no test may import a drive's SDK where pytest runs.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from controllers.kinematics import Chain
from hardware.arm import Arm
from hardware.arms.drive import Drive, JointDrive, PoseDrive, TorqueDrive
from hardware.arms.franka import FrankaSettings
from hardware.emulation import franka_sim
from hardware.realtime import prioritise
from hardware.safety.limits import SafetyLimits
from robo_rl.contracts import RobotSpec, ToolCommand
from robo_rl.errors import Stale, UserError
from robo_rl.robots.fr3 import FR3
from robo_rl.robots.panda import PANDA

LIMITS = replace(SafetyLimits.of(FR3), max_state_age=0.5)  # a busy machine is not what is tested here


def make(name: str, address: str, spec: RobotSpec = FR3, **settings: Any) -> Drive:
    settings = {"realtime": False, "external_torque": False} | settings
    if name == "franky":
        from hardware.arms.franka_franky import FrankyDrive

        return FrankyDrive(spec, FrankaSettings(address, **settings), LIMITS)
    from hardware.arms.franka_pylibfranka import PylibfrankaDrive

    return PylibfrankaDrive(spec, FrankaSettings(address, **settings))


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.005)


def read(drive: Drive, seconds: float) -> list[Any]:
    states, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        states.append(drive.read())
    return states


def holds(name: str, address: str) -> None:
    """After open it stands still and says how it is, and goes on doing so when it is driven to where it is."""
    drive = make(name, address, hand=False)
    assert isinstance(drive, Drive)
    drive.open()
    states = read(drive, 0.5)
    assert len(states) > 20
    assert all(b.stamp > a.stamp for a, b in pairwise(states))
    for state in states:
        assert state.error == ""
        assert state.joint_pos.shape == state.joint_vel.shape == state.bias.shape == (7,)
        assert np.isnan(state.joint_torque).all()
        np.testing.assert_allclose(state.joint_pos, states[0].joint_pos, atol=0.03)
        assert np.abs(state.bias).max() < 1.0  # the arm carries itself
    pos, rot = Chain(FR3).forward(states[-1].joint_pos)
    if isinstance(drive, TorqueDrive):
        drive.write_torque(np.zeros(7))
    if isinstance(drive, PoseDrive):
        drive.write_pose(pos, rot)
    if isinstance(drive, JointDrive):
        drive.write_joints(states[-1].joint_pos)
    drive.close()
    drive.close()


def external_torque(name: str, address: str) -> None:
    """What the arm says it exerts on its surroundings, they exert on it with the other sign.

    franky-sim calls all that its motors do external: at rest, the weight of the arm, which joint 2 carries with a
    negative torque where the arm reaches forward.
    """
    drive = make(name, address, external_torque=True, hand=False)
    drive.open()
    state = read(drive, 0.3)[-1]
    assert state.joint_torque[1] > 5.0
    drive.close()


def pursues(name: str, address: str) -> None:
    """Behind the guarded arm: a posture, a target, and holding once the command has expired."""
    with Arm(make(name, address, hand=False), LIMITS) as arm:
        arm.move_joints(np.array(FR3.home), 0.0)
        until(lambda: arm.status().mode != "moving")
        assert arm.status().mode == "holding", arm.status()
        np.testing.assert_allclose(arm.state().joint_pos, FR3.home, atol=0.02)
        start = arm.state()
        goal = start.tcp_pos + np.array([0.0, 0.05, -0.03])
        for number in range(1, 41):
            arm.command(ToolCommand(number, goal, start.tcp_rot, 0.0, valid_for=0.3))
            time.sleep(0.05)
        np.testing.assert_allclose(
            arm.state().tcp_pos, goal, atol=0.02
        )  # the simulated joints are not free of friction
        until(lambda: arm.status().mode == "holding")
        held = arm.state().tcp_pos
        time.sleep(0.3)
        np.testing.assert_allclose(arm.state().tcp_pos, held, atol=0.005)
        assert arm.status().fault == ""


def hand(name: str, address: str) -> None:
    """The hand goes where it was sent last, and the arm is read meanwhile."""
    drive = make(name, address)
    drive.open()
    for width in (0.06, 0.01, 0.05):  # the first two are overtaken on the way
        drive.write_gripper(width)
        read(drive, 0.15)
    end = time.monotonic() + 15.0
    while abs(drive.read().gripper_width - 0.05) > 0.002:
        assert time.monotonic() < end, drive.read().gripper_width
    drive.write_gripper(-1.0)  # as far as it goes
    while drive.read().gripper_width > 0.003:
        assert time.monotonic() < end + 15.0, drive.read().gripper_width
    drive.close()


def hand_dies(name: str, address: str) -> None:
    """A hand whose process is gone is an error of the device; recovering brings it back."""
    drive = make(name, address)
    drive.open()
    process = drive._hand._process  # type: ignore[attr-defined]
    process.kill()
    process.wait()
    assert drive.read().error.startswith("hand: ")
    drive.recover()
    assert drive.read().error == ""
    drive.write_gripper(0.03)
    end = time.monotonic() + 15.0
    while abs(drive.read().gripper_width - 0.03) > 0.002:
        assert time.monotonic() < end, drive.read().gripper_width
    drive.close()


def wrong_robot(name: str, address: str) -> None:
    """A Panda's joints may go where an FR3's may not."""
    with pytest.raises(UserError, match=r"panda.*fr3"):
        make(name, address, PANDA, hand=False).open()


def wrong_tool(name: str, address: str) -> None:
    """A spec whose wrist is longer than the arm's is told apart by where the arm believes its tool to be."""
    links = (*FR3.links[:-1], replace(FR3.links[-1], pos=(0.12, 0.0, 0.0)))
    with pytest.raises(UserError, match=r"\d mm and 0.0 degrees"):
        make(name, address, replace(FR3, links=links), hand=False).open()


def absent(name: str, address: str) -> None:
    """Where nothing answers, opening says so."""
    with pytest.raises(UserError, match=r"127\.250\.250\.250"):
        make(name, "127.250.250.250", hand=False).open()


def silence(name: str, address: str) -> None:
    """A control unit that freezes is stale; one that dies is connected anew, and not driven before it is recovered."""
    address = franka_sim.free_address()
    with tempfile.TemporaryDirectory() as folder:
        server = franka_sim.start_franky_sim(address, Path(folder) / "log")
        drive = make(name, address, hand=False)
        try:
            drive.open()
            read(drive, 0.2)
            server.send_signal(signal.SIGSTOP)
            with pytest.raises(Stale, match=address):
                read(drive, 10.0)
            server.kill()
            server.wait()
            for _ in range(3):
                with pytest.raises(Stale):
                    drive.read()
            server = franka_sim.start_franky_sim(address, Path(folder) / "log")
            error, end = "", time.monotonic() + 30.0
            while not error:
                assert time.monotonic() < end
                try:
                    error = drive.read().error
                except Stale:
                    continue
            assert "connection was lost" in error, error
            drive.recover()
            assert read(drive, 0.2)[-1].error == ""
        finally:
            drive.close()
            franka_sim.stop(server)


def others_run_meanwhile(name: str, address: str) -> None:
    """While the arm says nothing, waiting for it keeps no other thread of the process from running."""
    address = franka_sim.free_address()
    ticks, before, done = 0, 0, threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not done.wait(0.001):
            ticks += 1

    def wait_in_vain() -> None:
        nonlocal before
        while True:
            before = ticks
            drive.read()

    with tempfile.TemporaryDirectory() as folder:
        server = franka_sim.start_franky_sim(address, Path(folder) / "log")
        drive = make(name, address, hand=False)
        try:
            drive.open()
            drive.read()
            drive.write_torque(np.zeros(7))  # type: ignore[attr-defined]
            server.send_signal(signal.SIGSTOP)
            threading.Thread(target=tick, daemon=True).start()
            with pytest.raises(Stale):
                wait_in_vain()
            assert ticks > before + 5
        finally:
            done.set()
            server.send_signal(signal.SIGCONT)
            drive.close()
            franka_sim.stop(server)


def law_falls_silent(name: str, address: str) -> None:
    """A law that says nothing any more leaves the arm holding by itself, and may speak again."""
    drive = make(name, address, hand=False)
    drive.open()
    for _ in range(2):
        for _ in range(50):
            drive.read()
            drive.write_torque(np.array([0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.3]))
        read(drive, 0.5)
        states = read(drive, 0.5)
        assert {state.error for state in states} == {""}
        np.testing.assert_allclose(states[-1].joint_pos, states[0].joint_pos, atol=0.01)
    drive.close()


def stall(name: str, address: str) -> None:
    """A client that says nothing for a fifth of a second is stopped by the arm, with its own error; it recovers."""
    drive = make(name, address, hand=False)
    drive.open()
    state = drive.read()
    pos, rot = Chain(FR3).forward(state.joint_pos)

    def write() -> None:
        if name == "franky":
            drive.write_pose(pos, rot)
        else:
            drive.write_torque(np.zeros(7))

    for _ in range(5):
        read(drive, 0.02)
        write()
    subprocess.run(["sh", "-c", f"kill -STOP {os.getpid()}; sleep 0.3; kill -CONT {os.getpid()}"], check=True)
    end, error = time.monotonic() + 5.0, ""
    while not error:
        assert time.monotonic() < end, "the arm did not complain"
        error = drive.read().error
        if not error:
            write()
    assert "communication_constraints_violation" in error, error
    write()  # does nothing
    assert drive.read().error
    drive.recover()
    assert drive.read().error == ""
    drive.close()


def torque_steps(name: str, address: str) -> None:
    """Torques that jump are brought to steps that the arm takes: it stops at 1 N·m a millisecond."""
    drive = make(name, address, hand=False)
    drive.open()
    for cycle in range(300):
        state = drive.read()
        assert state.error == "", state.error
        drive.write_torque(np.array([3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]) * (1 if cycle % 20 < 10 else -1))
    drive.close()


if __name__ == "__main__":
    prioritise(5)  # as on a robot's computer; without the right to it, without
    globals()[sys.argv[1]](*sys.argv[2:4])
