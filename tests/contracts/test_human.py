"""What every person promises, held to by every device and by simulated people. A new one earns these by one entry.

An entry makes a person and tells how to have them push, let go and press, and how their device is lost and found.
"""

from __future__ import annotations

import itertools
import os
import pty
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from hardware.emulation.hand_held import HidSpaceMouse, MagellanSpaceMouse, VirtualGamepad
from hardware.teleop.keyboard import Keyboard
from hardware.teleop.reports import HidReports, SpacenavReports
from hardware.teleop.spacemouse import SpaceMouse
from robo_rl.contracts import DEVICES, Human, HumanInput, View
from robo_rl.human.mapping import ActionMap
from robo_rl.human.simulated import SimulatedHuman, SimulatedSettings
from robo_rl.human.teleoperation import Teleoperator

SIZE = 6
PATIENCE = 20.0  # s that a busy machine gets for what takes milliseconds


@dataclass
class Hand:
    """A person under test, and what moves them.

    Attributes:
        human: the person.
        push: have them push with all their might, away from themselves.
        let_go: have them let go.
        press: have them press what means a word, such as ``success``; None where they press nothing.
        lose: have the device vanish; None where there is none that could.
        find: have it come back; None where it does not.
        progress: of the task, as far as they watch it.
    """

    human: Human
    push: Callable[[], None]
    let_go: Callable[[], None]
    press: Callable[[str], None] | None = None
    lose: Callable[[], None] | None = None
    find: Callable[[], None] | None = None
    progress: list[float] = field(default_factory=lambda: [0.0])

    def read(self) -> HumanInput | None:
        expert = torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
        return self.human.read(
            View({}, {}, torch.zeros(SIZE), 0, 0.1, torch.zeros(SIZE), lambda: expert.clone(), lambda: self.progress[0])
        )

    def until(self, met: Callable[[HumanInput | None], bool]) -> HumanInput | None:
        """Read until something is said that meets a condition."""
        end = time.monotonic() + PATIENCE
        while not met(said := self.read()):
            assert time.monotonic() < end, said
            time.sleep(0.005)
        return said


def at(device):
    return Teleoperator(device, ActionMap(None, SIZE))


@contextmanager
def keyboard(_: Path) -> Iterator[Hand]:
    ours, theirs = pty.openpty()
    keys = {"success": b"\n", "failure": b"\x7f", "discard": b"x", "pause": b"p", "stop": b"q", "reset": b"n"}
    device = Keyboard(pulse=0.2, stream=theirs)
    hand = Hand(at(device), lambda: os.write(ours, b"w"), lambda: None, lambda word: os.write(ours, keys[word]))
    closed = []

    def lose() -> None:
        closed.append(os.close(ours))

    hand.lose = lose
    try:
        yield hand
    finally:
        hand.human.close()
        if not closed:
            os.close(ours)
        os.close(theirs)


@contextmanager
def gamepad(_: Path) -> Iterator[Hand]:
    from hardware.teleop.gamepad import Gamepad

    pad = VirtualGamepad()
    numbers = {"success": 0, "failure": 1, "discard": 2, "reset": 3, "stop": 4, "pause": 6}
    device = Gamepad()
    hand = Hand(at(device), lambda: pad.axis("LEFTY", -1.0), lambda: pad.axis("LEFTY", 0.0), lose=pad.unplug)

    def press(word: str) -> None:
        pad.button(numbers[word], True)

    hand.press, hand.find = press, pad.plug_in
    try:
        yield hand
    finally:
        hand.human.close()
        pad.unplug()


@contextmanager
def spacemouse_hid(folder: Path) -> Iterator[Hand]:
    path = folder / "hidraw0"
    path.touch()
    mouse = HidSpaceMouse(str(path))
    words = ("success", "failure", "discard", "pause", "reset", "stop")
    with mouse.bus():
        device = SpaceMouse(HidReports(str(path)), buttons=words)
        # The library knows two buttons of this make.
        hand = Hand(at(device), lambda: mouse.push([0, -1, 0, 0, 0, 0]), lambda: mouse.push([0] * 6), lose=mouse.unplug)
        hand.press, hand.find = lambda word: mouse.press(words.index(word)), mouse.plug_in
        try:
            yield hand
        finally:
            hand.human.close()


@contextmanager
def spacemouse_daemon(folder: Path) -> Iterator[Hand]:
    program = shutil.which("spacenavd")
    if program is None:
        pytest.skip("Debian's package spacenavd is not installed")
    if os.geteuid() != 0:
        pytest.skip("spacenavd can only be started by root")
    words = ("success", "failure", "discard", "pause", "reset", "stop")
    with MagellanSpaceMouse(folder, program) as mouse:
        device = SpaceMouse(SpacenavReports(), buttons=words)
        hand = Hand(at(device), lambda: mouse.push([0, 0, -350, 0, 0, 0]), lambda: mouse.push([0] * 6), lose=mouse.stop)
        hand.press, hand.find = lambda word: mouse.press(words.index(word)), mouse.start
        try:
            yield hand
        finally:
            hand.human.close()


@contextmanager
def cockpit(_: Path) -> Iterator[Hand]:
    """The page, by a browser's messages to its server."""
    from robo_rl.cockpit.browser import Browser
    from robo_rl.cockpit.cockpit import Cockpit
    from robo_rl.cockpit.settings import CockpitSettings

    with Cockpit(CockpitSettings(port=0), title="test") as served:
        browser = Browser(served.url)
        hand = Hand(at(served.page), lambda: browser.push([1.0, 0, 0, 0, 0, 0]), lambda: browser.push([0.0] * 6))
        hand.press, hand.lose, hand.find = browser.press, browser.vanish, browser.appear
        try:
            yield hand
        finally:
            hand.human.close()
            browser.close()


@contextmanager
def simulated(_: Path) -> Iterator[Hand]:
    settings = SimulatedSettings(patience=0.2, reaction=0.0, attention=1.0, mistakes=0.0, correction=100.0)
    progress = [0.0]
    hand = Hand(SimulatedHuman(settings), lambda: None, lambda: None, progress=progress)
    hand.read()
    for value in (1.0, 0.5):  # now they know what much and little is
        progress[0] = value
        hand.read()
    hand.human.begin()
    rising = itertools.count(2.0)
    hand.let_go = lambda: progress.__setitem__(0, next(rising))
    yield hand


CASES = {
    "keyboard": keyboard, "gamepad": gamepad, "spacemouse-hid": spacemouse_hid, "spacemouse-daemon": spacemouse_daemon,
    "cockpit": cockpit, "simulated": simulated,
}  # fmt: skip


@pytest.fixture(params=CASES)
def hand(request, tmp_path):
    needs = {"gamepad": "pygame", "spacemouse-hid": "pyspacemouse", "cockpit": "aiohttp"}.get(request.param)
    if needs:
        pytest.importorskip(needs)
    with ExitStack() as opened:
        yield opened.enter_context(CASES[request.param](tmp_path))


def pushed(said):
    return said is not None and said.action is not None


def resting(said):
    return said is not None and said.action is None


def test_is_a_person_whose_device_has_a_name(hand):
    assert isinstance(hand.human, Human)
    assert hand.human.device in DEVICES
    assert hand.human.device not in ("none", "other")


def test_at_rest_the_hands_are_off(hand):
    said = hand.until(lambda said: said is not None)
    assert said.action is None
    assert (said.label, said.request, said.gripper) == (None, None, None)
    assert said.device == hand.human.device


def test_pushes_and_lets_go(hand):
    hand.push()
    said = hand.until(pushed)
    assert said.action.shape == (SIZE,)
    assert said.action.dtype == torch.float32
    assert bool((said.action.abs() <= 1.0).all())
    assert said.action[0] > 0.5
    assert 0.0 <= said.latency < PATIENCE
    hand.let_go()
    hand.until(resting)
    assert resting(hand.read())  # and stays so


def test_a_new_episode_may_begin_at_any_time(hand):
    hand.push()
    hand.until(pushed)
    hand.human.begin()
    hand.human.begin()
    hand.let_go()
    hand.until(resting)


@pytest.mark.parametrize("word", ["success", "failure"])
def test_a_verdict_is_told_once(hand, word):
    if hand.press is None:
        pytest.skip("they press nothing")
    hand.press(word)
    assert hand.until(lambda said: said is not None and said.label is not None).label == word
    for _ in range(20):
        assert hand.read().label is None
        time.sleep(0.002)


def test_a_verdict_on_the_last_episode_is_none_on_the_next(hand):
    if hand.press is None:
        pytest.skip("they press nothing")
    hand.press("success")
    time.sleep(0.3)  # what was pressed has come through
    hand.human.begin()
    for _ in range(20):
        assert hand.read().label is None
        time.sleep(0.002)


def test_a_lost_device_is_nobody_and_what_it_said_is_not_repeated(hand):
    if hand.lose is None:
        pytest.skip("nothing that could be lost")
    hand.push()
    hand.until(pushed)
    hand.lose()
    hand.until(lambda said: said is None)
    for _ in range(20):
        assert not pushed(hand.read())
        time.sleep(0.002)
    if hand.find is not None:
        hand.find()
        hand.until(lambda said: said is not None)
        assert resting(hand.read())


def test_closing_twice_is_no_error(hand):
    hand.human.close()
    hand.human.close()
