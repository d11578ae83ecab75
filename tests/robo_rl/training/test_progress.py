import io

import pytest

from robo_rl.training import progress
from robo_rl.training.progress import Rates, TrainingProgress, Voice, clock, remaining_seconds


def test_rates_are_of_the_last_seconds():
    rates = Rates()
    assert rates.mark(100.0, 0, 0) == (0.0, 0.0)
    assert rates.mark(102.0, 20, 40) == (10.0, 20.0)
    # At 130 s the mark of 102 s is the newest that is still 20 s old: 280 steps in 28 s.
    assert rates.mark(130.0, 300, 40) == (10.0, 0.0)
    assert rates.mark(131.0, 400, 41) == pytest.approx((380 / 29, 1 / 29))


def test_what_ends_first_is_what_remains():
    assert remaining_seconds(50, 150, 10.0, None) == 10.0
    assert remaining_seconds(50, 150, 10.0, 4.0) == 4.0
    assert remaining_seconds(50, 150, 0.0, None) is None
    assert remaining_seconds(50, 150, 0.0, 7.0) == 7.0


def test_clock():
    assert clock(None) == "-:--:--"
    assert clock(3725.4) == "1:02:05"
    assert clock(-3.0) == "0:00:00"


def test_plain_lines_come_seldom_and_say_all(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with TrainingProgress(1000, stream=stream) as shown:
        for second in range(25):
            now[0] = float(second)
            shown.update(10 * second, 20 * second, success=0.25, episode_return=1.5, seconds_left=None)
        shown.say("a line")
    lines = stream.getvalue().splitlines()
    assert lines == [
        "training: 100/1000 steps  success 25%  return 1.5  10 env steps/s  20 updates/s  ETA 0:01:30",
        "training: 200/1000 steps  success 25%  return 1.5  10 env steps/s  20 updates/s  ETA 0:01:20",
        "a line",
    ]


def test_a_terminal_gets_a_bar(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with TrainingProgress(1000, stream=stream) as shown:
        shown.update(500, 10, success=None, episode_return=None, seconds_left=60.0)
        shown.say("evaluation [of 20]")
    text = stream.getvalue()
    assert "500/1000" in text
    assert "evaluation [of 20]" in text
    assert "\x1b[" in text


def test_those_that_share_a_bar_add_up_and_name_themselves(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    stream = io.StringIO()
    with TrainingProgress(200, stream=stream) as shown:
        counters = {"there": (0, 0), "back": (0, 0)}
        there, back = (Voice(shown, name, counters) for name in counters)
        there.update(30, 60, success=None, episode_return=None, seconds_left=None)
        now[0] = 10.0
        back.update(20, 40, success=0.5, episode_return=1.0, seconds_left=None)
        there.say("a line")
    plain, line = stream.getvalue().splitlines()
    assert plain.startswith("back: training: 50/200 steps")
    assert "2 env steps/s  4 updates/s" in plain
    assert line == "there: a line"
