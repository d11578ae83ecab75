"""The page as a device: what is believed, for how long, and what the emergency stop does to it."""

import math
import time

import pytest
import torch

from robo_rl.cockpit import page as module
from robo_rl.cockpit.page import LOST, SILENCE, FrameOfThePage, Page
from robo_rl.contracts import Deflection, InputDevice

AWAY = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_is_an_input_device():
    assert isinstance(Page(), InputDevice)


def test_a_push_is_believed_until_the_page_is_silent(clock):
    page = Page()
    page.push(100.0, AWAY, "base")
    assert page.read().translation == (1.0, 0.0, 0.0)
    clock[0] += SILENCE - 0.01
    assert page.read().moved
    clock[0] += 0.02
    assert not page.read().moved
    clock[0] = 100.01 + LOST
    assert page.read() is None


def test_a_push_that_was_held_up_in_the_network_is_over(clock):
    page = Page()
    page.push(clock[0] - 0.5, AWAY, None)
    assert not page.read().moved
    page.push(clock[0], [0.0] * 6, None)
    page.push(clock[0] - 0.1, AWAY, None)  # overtaken by one that let go
    assert not page.read().moved


def test_a_clock_that_is_ahead_gives_no_more_time(clock):
    page = Page()
    page.push(clock[0] + 1000.0, AWAY, None)
    clock[0] += SILENCE + 0.01
    assert not page.read().moved


@pytest.mark.parametrize("axes", [[1.0], [math.nan] * 6, [math.inf] + [0.0] * 5, [0.0] * 7])
def test_what_is_no_push_is_none(clock, axes):
    page = Page()
    page.push(clock[0], axes, None)
    assert page.read() is None


def test_pushes_are_bounded(clock):
    page = Page()
    page.push(clock[0], [5.0, -7.0, 0.0, 0.0, 2.0, 0.0], None)
    said = page.read()
    assert said.translation == (1.0, -1.0, 0.0)
    assert said.rotation == (0.0, 1.0, 0.0)


def test_the_stop_is_latched_until_it_is_released(clock):
    page = Page()
    page.push(clock[0], AWAY, None)
    page.press("emergency")
    assert page.read().request == "pause"
    for word in ("resume", "reset", "open"):
        page.press(word)
    page.push(clock[0], AWAY, None)
    said = page.read()
    assert not said.moved
    assert (said.request, said.gripper) == (None, None)
    page.press("release")
    assert page.read().request is None  # to go on is a word of its own
    page.press("resume")
    assert page.read().request == "resume"


def test_who_leaves_leaves_nothing_but_the_wish_to_stop(clock):
    page = Page()
    page.push(clock[0], AWAY, None)
    page.press("success")
    page.press("stop")
    page.leave()
    said = page.read()
    assert (said.label, said.request, said.moved) == (None, "stop", False)
    assert page.read() is None


def test_unknown_words_mean_nothing(clock):
    page = Page()
    page.push(clock[0], [0.0] * 6, None)
    page.press("launch")
    said = page.read()
    assert (said.label, said.request, said.gripper) == (None, None, None)


def test_every_push_has_its_frame():
    from envs.registry import make_env, make_task

    env = make_env(make_task("reach", "panda", {}), num_envs=1, seed=0)
    try:
        env.reset()
        chosen = [None]
        actions = FrameOfThePage(env, None, lambda: chosen[0])
        assert {"base", "tool"} <= set(actions.frames)
        said = Deflection(time.monotonic(), (0.0, 0.0, 1.0))
        found = {}
        for frame in ("base", "tool", "no such frame"):
            chosen[0] = frame
            found[frame] = actions.action(said, env.reading)
        up, along_tool = found["base"][:3], found["tool"][:3]
        if actions.frame == "base":
            assert torch.allclose(up, torch.tensor([0.0, 0.0, 1.0]), atol=1e-5)
        assert not torch.allclose(up, along_tool, atol=0.5)  # a tool that points down
        assert torch.equal(found["no such frame"], found[actions.frame])
    finally:
        env.close()
