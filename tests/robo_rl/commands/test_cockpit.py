"""The page in a real browser: a person takes over by the keyboard, ends an episode, labels it, and it is on disk."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from robo_rl import cli
from robo_rl.contracts import AUTHORITIES, DEVICES, LABELS
from robo_rl.data.episodes import load_episodes

pytest.importorskip("aiohttp")

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60_000  # ms that a busy machine gets


@pytest.fixture
def chromium():
    api = pytest.importorskip("playwright.sync_api")
    if CHROMIUM is None:
        pytest.skip("Debian's package chromium is not installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@contextlib.contextmanager
def serving(folder, tmp_path):
    """`robo-rl cockpit reach` in a process of its own: (address, folder, process)."""
    command = [sys.executable, "-m", "robo_rl.cli", "cockpit", "reach", "--out", str(folder), "--port", "0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
                               env={**os.environ, "PYTHONPATH": os.getcwd()})  # fmt: skip
    line = process.stderr.readline()
    assert line.startswith("cockpit: http://127.0.0.1:"), line + process.stderr.read()
    try:
        yield line.split()[1], folder, process
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def session(tmp_path):
    with serving(tmp_path / "episodes", tmp_path) as served:
        yield served


def wait_for(page, text):
    page.wait_for_function(
        "text => document.getElementById('authority-text').textContent.includes(text)", arg=text, timeout=PATIENCE
    )


def enter(browser, address, **more):
    page = browser.new_page(**more)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    end = time.monotonic() + 30.0
    while True:
        try:
            page.goto(address, timeout=PATIENCE)
            return page
        except Exception:  # it is starting
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_a_full_disk_is_told_on_the_page_and_what_was_recorded_stays(chromium, small_disk, tmp_path):
    disk = small_disk(512)
    with serving(disk / "episodes", tmp_path) as (address, folder, process):
        page = enter(chromium, address)
        wait_for(page, "push to begin")
        page.keyboard.down("w")
        page.wait_for_function("() => +document.getElementById('step').textContent >= 3", timeout=PATIENCE)
        page.keyboard.up("w")
        page.keyboard.press("Enter")
        page.wait_for_selector("[data-replay=episode_000000]", timeout=PATIENCE)
        page.keyboard.down("w")
        page.wait_for_function("() => +document.getElementById('step').textContent >= 3", timeout=PATIENCE)
        with contextlib.suppress(OSError), (disk / "else").open("wb", buffering=0) as file:
            while file.write(bytes(1 << 12)):
                pass
        page.wait_for_function(
            "() => document.getElementById('banner-text').textContent.includes('the disk is full')", timeout=PATIENCE
        )
        assert process.wait(PATIENCE / 1000) == 1
        assert "robo-rl: error: the disk is full: could not write" in process.stderr.read()
        assert page.errors == []
    (episode,) = load_episodes(folder)
    assert len(episode) >= 3
    assert list(folder.glob("*.journal"))  # the next recording stores what was under way


def test_a_person_takes_over_finishes_an_episode_and_labels_it(chromium, session):
    address, folder, process = session
    page = enter(chromium, address)
    wait_for(page, "push to begin")
    page.keyboard.down("w")
    wait_for(page, "you in control")
    page.wait_for_function("() => +document.getElementById('step').textContent >= 5", timeout=PATIENCE)
    page.keyboard.up("w")
    page.keyboard.press("Enter")
    page.wait_for_selector("[data-replay=episode_000000]", timeout=PATIENCE)

    # A watcher sees it, holds no control, and may ask for it.
    watcher = enter(chromium.new_context(), address)
    watcher.wait_for_selector("#ask:visible", timeout=PATIENCE)
    assert watcher.is_disabled("[data-press=success]")
    watcher.click("#ask")
    page.wait_for_selector("#yes:visible", timeout=PATIENCE)
    page.click("#no")
    page.wait_for_selector("#yes", state="hidden", timeout=PATIENCE)

    # Loaded anew, the page is still in control.
    page.reload(timeout=PATIENCE)
    page.wait_for_selector("#role.mine", timeout=PATIENCE)

    page.click("[data-replay=episode_000000]")
    page.wait_for_selector("dialog[open]", timeout=PATIENCE)
    page.wait_for_function("() => +document.getElementById('replay-at').value >= 2", timeout=PATIENCE)
    page.click("#replay-close")

    # Whoever watches may stop; who holds control releases it, and then goes on.
    watcher.click("#emergency")
    page.wait_for_selector("#release:visible", timeout=PATIENCE)
    page.click("#release")
    page.wait_for_function(
        "() => document.getElementById('pause').textContent.startsWith('Resume')"
        " && document.getElementById('release').hidden",
        timeout=PATIENCE,
    )
    page.click("#pause")
    page.wait_for_selector("#banner", state="hidden", timeout=PATIENCE)

    assert page.errors == []
    assert watcher.errors == []
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#end")
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    told = json.loads(said)
    assert (told["successes"], told["episodes"]) == (1, 1)

    (episode,) = load_episodes(folder)
    assert bool(episode.success[-1])
    assert bool(episode.terminated[-1])
    assert float(episode.reward[-1]) == 1.0
    provenance = episode.provenance
    override = AUTHORITIES.index("override")
    assert int((provenance["authority"] == override).sum()) >= 3
    pushed = provenance["active"]
    assert bool(pushed.any())
    assert set(provenance["device"][pushed].tolist()) == {DEVICES.index("cockpit")}
    assert LABELS[int(provenance["label"][-1])] == "success"
    assert float(provenance["latency"][pushed].max()) < 0.5
    assert bool((episode.executed_action[pushed].abs() > 0.2).any())


def test_a_hidden_tab_has_its_hands_off(chromium, session):
    address, _, _ = session
    page = enter(chromium, address)
    wait_for(page, "push to begin")
    page.keyboard.down("w")
    wait_for(page, "you in control")
    page.evaluate(
        "Object.defineProperty(document, 'hidden', {value: true});document.dispatchEvent(new Event('visibilitychange'))"
    )
    wait_for(page, "policy in control")


def test_it_fits_a_phone_and_is_steered_by_touch(chromium, session):
    address, _, _ = session
    page = enter(chromium, address, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    wait_for(page, "push to begin")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.locator("#pad-move").scroll_into_view_if_needed()
    box = page.locator("#pad-move").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y - 50)
    wait_for(page, "you in control")
    page.mouse.up()
    wait_for(page, "policy in control")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--port", "0"], "name the task"),
        (["reach", "--host", "0.0.0.0"], "give certificate and key"),
        (["reach", "--frame", "moon", "--port", "0"], "frame: 'moon'"),
        (["raech", "--port", "0"], "reach"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["cockpit", *arguments]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert said in told[-1]
    assert told[-1].startswith("robo-rl: error:")


def test_training_takes_one_of_two_devices(capsys):
    assert cli.main(["train", "reach", "--cockpit", "--human", "gamepad"]) == 2
    assert "--cockpit is short for" in capsys.readouterr().err
