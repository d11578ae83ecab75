"""The server, as browsers and the loop meet it."""

import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from robo_rl.cockpit.browser import Browser
from robo_rl.cockpit.cockpit import Cockpit
from robo_rl.cockpit.settings import CockpitSettings
from robo_rl.errors import UserError

pytest.importorskip("aiohttp")

AWAY = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0]


@pytest.fixture
def cockpit():
    with Cockpit(CockpitSettings(port=0), title="test") as served:
        yield served


@pytest.fixture
def browsers(cockpit):
    opened = []

    def open_one(name):
        opened.append(Browser(cockpit.url, name))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def until(met, patience=20.0):
    end = time.monotonic() + patience
    while not met():
        assert time.monotonic() < end
        time.sleep(0.002)


def moved(cockpit):
    said = cockpit.page.read()
    return said is not None and said.moved


def ask(url, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, b""


def test_the_page_and_its_assets_are_served_and_nothing_else(cockpit, browsers):
    browsers("a")
    status, headers, body = ask(cockpit.url)
    assert status == 200
    assert b"STOP" in body
    assert b"//" not in body.replace(b"http://www.w3.org", b"").replace(b"<!", b"")  # no other host is asked
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    for name in ("main.js", "view.js", "style.css", "icon.svg"):
        assert ask(f"{cockpit.url}assets/{name}")[0] == 200
    for name in ("nothing.js", "..%2Fserver.py", "../server.py", "%2Fetc%2Fpasswd"):
        assert ask(f"{cockpit.url}assets/{name}")[0] == 404


def test_pages_of_other_sites_are_not_let_in(cockpit, browsers):
    browsers("a")
    host = cockpit.url.split("/")[2]
    assert ask(cockpit.url, Host="evil.example")[0] == 404  # a name that somebody points at this address
    upgrade = {
        "Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }  # fmt: skip
    assert ask(f"http://{host}/ws", Origin="http://evil.example", **upgrade)[0] == 403


def test_a_state_and_pictures_reach_every_viewer(cockpit, browsers):
    first, second = browsers("a"), browsers("b")
    cockpit.about(scene=None, frames=["base"])
    picture = np.zeros((48, 64, 3), np.uint8)
    cockpit.show_state({"t": "state", "step": 7})
    for each in (first, second):
        each.until(lambda heard: heard.get("state", {}).get("step") == 7)
        each.until(lambda heard: heard["about"].get("frames") == ["base"])

    def shown():
        cockpit.show_picture("front", picture)
        return all(0 in each.pictures for each in (first, second))

    until(shown)
    assert first.heard["about"]["cameras"] == ["front"]


def test_one_holds_control_and_the_other_may_ask_for_it(cockpit, browsers):
    first, second = browsers("a"), browsers("b")
    second.push(AWAY)
    second.press("success")
    time.sleep(0.3)
    said = cockpit.page.read()
    assert not said.moved  # the first one is there, at rest
    assert said.label is None
    second.send({"t": "ask"})
    first.until(lambda heard: heard["role"]["asking"] == "b")
    first.send({"t": "answer", "granted": True})
    second.until(lambda heard: heard["role"]["holder"] == "b")
    until(lambda: moved(cockpit))


def test_whoever_watches_may_stop(cockpit, browsers):
    stopped = []
    cockpit.on_emergency(lambda: stopped.append("stop"), lambda: stopped.append("release"))
    first, second = browsers("a"), browsers("b")
    first.push(AWAY)
    until(lambda: moved(cockpit))
    second.press("emergency")
    until(lambda: cockpit.page.stopped)
    assert stopped == ["stop"]
    assert not moved(cockpit)
    second.press("release")  # who does not hold control does not let it go on
    time.sleep(0.2)
    assert cockpit.page.stopped
    first.press("release")
    until(lambda: not cockpit.page.stopped)
    until(lambda: stopped == ["stop", "release"])


def test_a_page_that_falls_silent_has_its_hands_off(cockpit, browsers):
    browser = browsers("a")
    browser.push(AWAY)
    until(lambda: moved(cockpit))
    browser.fall_silent()
    silent = time.monotonic()
    until(lambda: not moved(cockpit))
    assert time.monotonic() - silent < 5.0
    time.sleep(0.1)
    assert not moved(cockpit)


def test_nonsense_does_no_harm(cockpit, browsers):
    browser = browsers("a")
    for message in (
        {}, {"t": "push"}, {"t": "push", "stamp": "x", "axes": []}, {"t": "push", "stamp": 0, "axes": [None]},
        {"t": "press", "word": ["success"]}, {"t": "press", "word": "launch"}, {"t": "seen", "camera": "x"},
        {"t": "replay", "name": "../../etc/passwd"}, {"t": "still", "name": 1}, {"t": "ping", "at": 1}, [1], None, 3,
    ):  # fmt: skip
        browser.send(message)
    browser.until(lambda heard: "pong" in heard)
    browser.push(AWAY)
    until(lambda: moved(cockpit))


def test_a_server_that_is_killed_is_nobody_and_the_loop_goes_on(cockpit, browsers):
    browsers("a").push(AWAY)
    until(lambda: moved(cockpit))
    os.kill(cockpit._process.pid, signal.SIGKILL)
    until(lambda: cockpit.page.read() is None)
    for i in range(1000):
        cockpit.show_state({"t": "state", "step": i})
        cockpit.add_row({"kind": "episode", "env_steps": i, "return": 0.0})
    cockpit.show_picture("front", np.zeros((4, 4, 3), np.uint8))


def test_the_server_ends_with_the_loop_that_was_killed(tmp_path):
    program = (
        "import time\nfrom robo_rl.cockpit.cockpit import Cockpit\n"
        "from robo_rl.cockpit.settings import CockpitSettings\n"
        "c = Cockpit(CockpitSettings(port=0), title='t')\nprint(c._process.pid, c.url, flush=True)\ntime.sleep(60)"
    )
    loop = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pid, url = loop.stdout.readline().split()
    Browser(url).close()
    loop.kill()
    loop.wait()
    until(lambda: not os.path.exists(f"/proc/{pid}"))


def test_the_page_is_told_why_it_is_over(browsers, cockpit):
    first, second = browsers("a"), browsers("b")
    with pytest.raises(UserError), cockpit:
        raise UserError("the disk is full:\ncould not write it")
    for each in (first, second):
        each.until(lambda heard: "ended" in heard)
        assert each.heard["ended"]["why"] == "the disk is full: could not write it"


def test_a_port_in_use_is_said_in_one_line():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UserError, match="port: 127"):
        Cockpit(CockpitSettings(port=taken.getsockname()[1]), title="test")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl to make a certificate with")
def test_beyond_loopback_there_is_https_and_a_token(tmp_path):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    making = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=robot -keyout key.pem -out cert.pem"
    subprocess.run(making.split(), cwd=tmp_path, check=True, capture_output=True)
    settings = CockpitSettings(host="0.0.0.0", port=0, certificate=certificate, key=key)
    with Cockpit(settings, title="test") as cockpit:
        address, token = cockpit.url.split("#")
        port = int(address.rstrip("/").rpartition(":")[2])
        here = f"https://127.0.0.1:{port}/"
        browser = Browser(f"{here}#{token}")
        browser.push(AWAY)
        until(lambda: moved(cockpit))
        browser.close()
        for wrong in ("", "#wrong"):
            other = Browser.__new__(Browser)
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("robo_rl.cockpit.browser._PATIENCE", 1.0)
                with pytest.raises(UserError, match="waited"):
                    other.__init__(here + wrong)
                other.close()
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(here, context=context, timeout=20) as answer:
            assert token.encode() not in answer.read()
        command = Path(f"/proc/{cockpit._process.pid}/cmdline").read_text()  # which everybody may read
        assert token not in command


def test_episodes_and_figures_are_read_as_they_are_written(cockpit, browsers, tmp_path):
    browser = browsers("a")
    metrics = tmp_path / "metrics.jsonl"
    cockpit.watch(metrics=metrics, episodes=tmp_path / "episodes")
    metrics.write_text(json.dumps({"kind": "train", "env_steps": 5, "return": 2.0, "policy_age_s": 0.5}) + "\n")
    heard = browser.until(lambda heard: "points" in heard)
    assert heard["points"]["points"] == {"reward": [[5.0, 2.0]], "policy age (s)": [[5.0, 0.5]]}
    late = browsers("b")
    late.until(lambda heard: "curves" in heard)
    assert late.heard["curves"]["points"]["reward"] == [[5.0, 2.0]]
