"""A simulated cell of which one process after the other is killed while a task is going on, and what holds the arm."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("rclpy")

from envs.env import Env
from envs.registry import make_task
from hardware.cell_file import load_cell
from hardware.emulation.client import CellClient
from hardware.ros import Session
from hardware.world import CellWorld
from robo_rl.commands.cells import RunningCell, make_cell_world, running

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(240)]
TASK = "peg_insertion"


@dataclass
class Rig:
    """A task on a simulated cell with a camera, all of its processes real."""

    up: RunningCell
    world: CellWorld
    env: Env
    waits: list[str]
    physics: CellClient

    def act(self) -> Any:
        return self.env.step(torch.zeros(1, *self.env.action_space.shape))

    def episode_that_is_cut(self, kill: Any) -> None:
        """Kill something on the way; the episode is truncated, waits, and the next one goes on."""
        self.env.reset()
        assert not bool(self.act().done[0])
        kill()
        deadline = time.monotonic() + 60.0
        step = self.act()
        while not bool(step.truncated[0]):
            assert time.monotonic() < deadline, "nobody has noticed"
            assert not bool(step.terminated[0])
            step = self.act()
        self.goes_on()

    def goes_on(self) -> None:
        deadline = time.monotonic() + 90.0
        while True:
            self.env.reset()
            if all(not bool(self.act().done[0]) for _ in range(3)):
                return
            assert time.monotonic() < deadline, "it does not go on"


@pytest.fixture(scope="module")
def rig(tmp_path_factory) -> Iterator[Rig]:
    shipped = load_cell("sim")
    cell = replace(
        shipped, name=f"deaths_{os.getpid()}", ros=replace(shipped.ros, domain=100 + os.getpid() % 100, max_age=1.0),
        simulation=replace(shipped.simulation, fps=10.0, delay=0.0),
    )  # fmt: skip
    task = make_task(TASK, cell.arms["arm"].robot)
    waits: list[str] = []
    with running(cell, TASK) as up, Session("deaths", domain=cell.ros.domain) as session:
        world = make_cell_world(up, task, session, cameras=True)
        world._on_wait = waits.append
        env = Env(world, task, seed=0)
        yield Rig(up, world, env, waits, CellClient(up.simulation, timeout=5.0))
        world.close()


def tool(rig: Rig) -> np.ndarray:
    """Where the tool truly is: the physics says so."""
    return rig.physics.truth()["tcp"][0]


def test_physics_itself_holds_an_arm_whose_node_was_killed(rig):
    rig.env.reset()
    push = torch.zeros(1, *rig.env.action_space.shape)
    push[0, 1] = 1.0
    for _ in range(5):
        rig.env.step(push)
    trips = rig.physics.figures()["guard_trips"]
    rig.up.processes.running["arm"].kill()
    killed, places = time.monotonic(), []
    while time.monotonic() < killed + 0.8:
        places.append((time.monotonic() - killed, tool(rig)))
    assert rig.physics.figures()["guard_trips"] == trips + 1
    # Torques may be late by 0.2 s in this cell; then its guard brakes, and the arm stays where it stopped.
    stopped = next(pos for after, pos in places if after > 0.5)
    assert all(np.linalg.norm(pos - stopped) < 2e-3 for after, pos in places if after > 0.5)
    assert np.linalg.norm(places[-1][1] - places[0][1]) < 0.08
    waits = len(rig.waits)
    assert bool(
        rig.act().truncated[0]
    )  # waits for the node, which is started anew, and for its fault's acknowledgement
    assert any("no_link" in each or "ms old" in each for each in rig.waits[waits:])
    rig.goes_on()


def test_a_camera_node_that_is_killed_in_an_episode_comes_back(rig):
    node = rig.up.processes.running["front"]
    rig.episode_that_is_cut(node.kill)
    assert rig.up.processes.running["front"].pid != node.pid


@pytest.mark.parametrize("part", ["physics", "cameras"])
def test_physics_and_pictures_that_die_are_started_anew(rig, part, caplog):
    (before,) = pids(part, rig.up.simulation)
    rig.episode_that_is_cut(lambda: os.kill(before, signal.SIGKILL))
    (after,) = pids(part, rig.up.simulation)
    assert after != before
    assert f"its process of the {part} has ended with code -9" in caplog.text


def pids(part: str, folder: Path) -> list[int]:
    """Processes of a part of a simulated cell."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = each.read_text()
        except OSError:  # it has ended meanwhile
            continue
        if str(folder) in line and f"--part\0{part}" in line:
            found.append(int(each.parent.name))
    return found


def listening(pid: int) -> set[str]:
    """Addresses that a process has sockets on: hexadecimal, as the kernel lists them; connected ones too."""
    mine, found = set(), set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(descriptor))
        except OSError:
            continue
    for table in ("tcp", "udp", "tcp6", "udp6", "raw", "raw6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if f"socket:[{fields[9]}]" in mine:
                found.add(fields[1].split(":")[0])
    return found


def test_no_process_of_a_cell_has_a_socket_on_anything_but_loopback(rig):
    processes = {name: process.pid for name, process in rig.up.processes.running.items()}
    processes |= {part: pids(part, rig.up.simulation)[0] for part in ("physics", "cameras")}
    processes["policy"] = os.getpid()
    heard = {name: listening(pid) for name, pid in processes.items()}
    assert heard["arm"] >= {"0100007F"}  # 127.0.0.1: the look itself sees what is there
    assert heard["policy"] >= {"0100007F"}
    loopback = {"0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"}
    assert {name: addresses - loopback for name, addresses in heard.items()} == {name: set() for name in heard}
