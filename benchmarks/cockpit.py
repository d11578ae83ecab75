"""How fast the cockpit is on loopback: from a key in a browser to the command, and its pictures beside a control loop.

::

    python -m benchmarks.cockpit --seconds 60

A control loop keeps a period, as that of a cell does: it reads the person, works out the action of a task, and leaves a
state and two pictures in the mailboxes. It runs alone, with the page open in headless Chromium, and again alone.

* A key is pressed in the page (by an event of the browser's) and the time is taken at which the loop has an action
  of the person's in hand. That includes the wait for the loop's next period, of up to one; what the page and the server
  take is told apart, as the time until the device's mailbox has it.
* Pictures are counted where the browser has drawn them.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.report import RESULTS, make_report, save, target
from robo_rl.cockpit.cockpit import Cockpit
from robo_rl.cockpit.settings import CockpitSettings

_FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_WIDTH, _HEIGHT = 640, 480
_KEY = "window.dispatchEvent(new KeyboardEvent('{kind}', {{code: 'KeyW', key: 'w', bubbles: true}}))"


class Loop:
    """A control loop that keeps its period, in a thread.

    Args:
        cockpit: that it shows itself in.
        period: s.
        fps: pictures a second of each of two cameras.

    Attributes:
        late: by how much each period was missed, s.
        pushed: when the loop first had a push in hand, s; None until then.
    """

    def __init__(self, cockpit: Cockpit, period: float, fps: float) -> None:
        self._cockpit, self._period, self._every = cockpit, period, max(1, round(1.0 / (period * fps)))
        noise = np.random.default_rng(0)
        base = np.linspace(40, 200, _WIDTH * 3, dtype=np.uint8).reshape(1, _WIDTH, 3).repeat(_HEIGHT, axis=0)
        self._pictures = [(base + noise.integers(0, 12, base.shape, np.uint8)).astype(np.uint8) for _ in range(8)]
        self.late: list[float] = []
        self.pushed: float | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End it."""
        self._closing = True
        self._thread.join()

    def _run(self) -> None:
        due, step = time.monotonic(), 0
        while not self._closing:
            due += self._period
            time.sleep(max(0.0, due - time.monotonic()))
            self.late.append(time.monotonic() - due)
            said = self._cockpit.page.read()
            if said is not None and said.moved and self.pushed is None:
                self.pushed = time.monotonic()
            step += 1
            self._cockpit.show_state({"t": "state", "step": step, "authority": "policy", "joint_pos": [0.0] * 7})
            if step % self._every == 0:
                for number in range(2):
                    self._cockpit.show_picture(f"camera {number}", self._pictures[(step + number) % 8])


def measure_keys(cockpit: Cockpit, page: Any, loop: Loop, count: int) -> tuple[list[float], list[float]]:
    """Press a key again and again; return the seconds until the loop has it, and until the device has it."""
    loop_seconds, device_seconds = [], []
    arrived: list[float] = []
    taken: Callable[..., None] = cockpit.page.push

    def note(stamp: float, axes: list[float], frame: str | None) -> None:
        taken(stamp, axes, frame)
        if any(axes) and not arrived:
            arrived.append(time.monotonic())

    cockpit.page.push = note  # type: ignore[method-assign]
    for number in range(count):
        arrived.clear()
        loop.pushed = None
        offset = _offset(page)
        told = page.evaluate(f"() => {{ const at = performance.now(); {_KEY.format(kind='keydown')}; return at; }}")
        pressed = told / 1000.0 + offset
        end = time.monotonic() + 5.0
        while (loop.pushed is None or not arrived) and time.monotonic() < end:
            time.sleep(0.0005)
        page.evaluate(f"() => {_KEY.format(kind='keyup')}")
        if loop.pushed is not None and arrived:
            loop_seconds.append(loop.pushed - pressed)
            device_seconds.append(arrived[0] - pressed)
        time.sleep(0.15 + 0.01 * (number % 7))  # at every phase of the loop
    cockpit.page.push = taken  # type: ignore[method-assign]
    return loop_seconds, device_seconds


def _offset(page: Any) -> float:
    """From the page's clock to ours, s: of ten measurements the quickest counts."""
    best = (float("inf"), 0.0)
    for _ in range(10):
        before = time.monotonic()
        theirs = page.evaluate("() => performance.now()")
        after = time.monotonic()
        best = min(best, (after - before, 0.5 * (before + after) - theirs / 1000.0))
    return best[1]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """Return median and 99th percentile in ms, and how many there are."""
    ordered = sorted(seconds)
    return {
        "p50_ms": round(1e3 * statistics.median(ordered), 3),
        "p99_ms": round(1e3 * float(np.quantile(ordered, 0.99)), 3),
        "largest_ms": round(1e3 * ordered[-1], 3),
        "count": len(ordered),
    }


def drawn(page: Any, seconds: float) -> list[float]:
    """Return how many pictures a second of each camera the page has drawn."""
    page.evaluate(
        "() => { window.drawn = {}; const real = CanvasRenderingContext2D.prototype.drawImage;"
        " CanvasRenderingContext2D.prototype.drawImage = function (...all) {"
        "   const box = this.canvas.closest('.camera');"
        "   if (box) { const name = box.querySelector('span').textContent;"
        "     window.drawn[name] = (window.drawn[name] ?? 0) + 1; }"
        "   return real.apply(this, all); }; }"
    )
    began = time.monotonic()
    time.sleep(seconds)
    counts = page.evaluate("() => window.drawn")
    return [round(counts.get(f"camera {number}", 0) / (time.monotonic() - began), 2) for number in range(2)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60.0, help="of each measurement")
    parser.add_argument("--keys", type=int, default=300, help="presses")
    parser.add_argument("--period", type=float, default=0.1, help="of the control loop, s")
    parser.add_argument("--fps", type=float, default=30.0, help="pictures a second that each camera gives")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the result")
    arguments = parser.parse_args()
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium")
    if chromium is None:
        parser.error("Debian's package chromium is not installed")
    settings = CockpitSettings(port=0, fps=60.0)
    # Pictures come at their own pace, above that of the loop: the loop ticks at the quicker of both.
    period = min(arguments.period, 1.0 / arguments.fps)
    with Cockpit(settings, title="benchmark") as cockpit, sync_playwright() as playwright:
        loop = Loop(cockpit, period, arguments.fps)
        alone = _lateness(loop, arguments.seconds)
        browser = playwright.chromium.launch(executable_path=chromium, args=_FLAGS)
        page = browser.new_page(viewport={"width": 1600, "height": 1000})
        page.goto(cockpit.url)
        page.wait_for_selector("#role.mine")
        time.sleep(2.0)  # the clocks of page and server are compared
        del loop.late[:]
        rates = drawn(page, arguments.seconds)
        watched = percentiles(loop.late)
        loop.close()
        loop = Loop(cockpit, arguments.period, arguments.fps)
        keys, device = measure_keys(cockpit, page, loop, arguments.keys)
        browser.close()
        loop.close()
    found = {
        "key_to_command": percentiles(keys),
        "key_to_device": percentiles(device),
        "control_period_ms": 1e3 * arguments.period,
        "pictures_per_second": rates,
        "picture": [_WIDTH, _HEIGHT],
        "lateness_alone": alone,
        "lateness_watched": watched,
    }
    slower = watched["p99_ms"] - alone["p99_ms"]
    report = make_report(
        "cockpit",
        compares="from a key in headless Chromium to the action in the control loop's hand, on loopback; two cameras "
        f"of {_WIDTH}x{_HEIGHT} beside the loop",
        command=f"python -m benchmarks.cockpit --seconds {arguments.seconds:g} --keys {arguments.keys}",
        seeds=[0],
        targets=[
            target(
                "key press to the command, the wait for the loop's next period included, p99",
                f"below {1e3 * arguments.period:g} ms",
                found["key_to_command"]["p99_ms"],
                found["key_to_command"]["p99_ms"] < 1e3 * arguments.period,
            ),
            target(
                "key press to the loop's mailbox, p99",
                f"below {1e3 * arguments.period:g} ms",
                found["key_to_device"]["p99_ms"],
                found["key_to_device"]["p99_ms"] < 1e3 * arguments.period,
            ),
            target("pictures of each of two cameras", "20 a second or more", min(rates), min(rates) >= 20.0),
            target(
                "lateness of the control loop while watched, p99, beyond that without a page",
                "below 1 ms",
                round(slower, 3),
                slower < 1.0,
            ),
        ],
        results=found,
        packages=["aiohttp", "playwright", "numpy", "opencv-python-headless"],
    )
    print(save(report, arguments.out))


def _lateness(loop: Loop, seconds: float) -> dict[str, float]:
    del loop.late[:]
    time.sleep(seconds)
    return percentiles(loop.late)


if __name__ == "__main__":
    main()
