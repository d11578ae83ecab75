"""Where a process listens, and what it says if it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hardware.ros import Session
from hardware.ros.session import PROFILE
from robo_rl.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def addresses(profile: Path) -> list[str]:
    return [each.text for each in ElementTree.parse(profile).iter() if each.tag.endswith("address")]


def run(code: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_the_profile_names_loopback_only():
    assert addresses(PROFILE) == ["127.0.0.1"]


def test_a_process_listens_on_loopback_only_whatever_the_environment_says():
    # The middleware opens further sockets, to send from; it reads none of them. Those that it reads have the ports of
    # the domain: 7400 + 250 * domain and above.
    code = """
import os
from pathlib import Path
from hardware.ros import Session
with Session('quiet', domain=99):
    mine = set()
    for descriptor in Path('/proc/self/fd').iterdir():
        if descriptor.is_symlink():
            mine.add(os.readlink(descriptor))
    for line in Path('/proc/net/udp').read_text().splitlines()[1:]:
        fields = line.split()
        address, port = fields[1].split(':')
        if f'socket:[{fields[9]}]' in mine and 32150 <= int(port, 16) < 32400:
            print(address)
    print(os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'], 'ROS_STATIC_PEERS' in os.environ)
"""
    said = run(code, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET", ROS_STATIC_PEERS="10.0.0.7").split()
    assert said[-2:] == ["LOCALHOST", "False"]
    assert set(said[:-2]) == {"0100007F"}  # 127.0.0.1


def test_other_interfaces_are_used_if_they_are_named():
    code = """
import os
from hardware.ros.session import _choose_interfaces
_choose_interfaces(('192.168.3.4', 'eth1'))
print(os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'], open(os.environ['FASTDDS_DEFAULT_PROFILES_FILE']).read())
"""
    said = run(code)
    assert said.startswith("SUBNET")
    assert "<address>127.0.0.1</address><address>192.168.3.4</address><address>eth1</address>" in said


@pytest.mark.parametrize(
    ("name", "options", "says"),
    [
        ("arm-1", {}, "'arm-1' cannot be a ROS 2 name"),
        ("", {}, "cannot be a ROS 2 name"),
        ("arm", {"domain": 233}, "ros.domain is 233"),
        ("arm", {"interfaces": ["<x/>"]}, "neither an address"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(name, options, says, monkeypatch):
    monkeypatch.setattr("hardware.ros.session._interfaces", None)
    with pytest.raises(UserError, match=says):
        Session(name, **options)


def test_one_process_has_one_set_of_interfaces(monkeypatch):
    monkeypatch.setattr("hardware.ros.session._interfaces", ())
    with pytest.raises(UserError, match="already uses"):
        Session("arm", interfaces=["192.168.3.4"])


def test_a_missing_client_library_names_the_extra():
    code = """
import sys
sys.modules['rclpy'] = None
from hardware.ros import Session
try:
    Session('arm')
except Exception as error:
    print(type(error).__name__, error)
"""
    assert run(code).strip() == (
        "MissingExtra ROS 2 (rclpy) needs an extra that is not installed: pip install 'robo-rl[ros]'"
    )


def test_an_error_in_a_loop_ends_the_wait_with_it(session, monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    def act() -> None:
        raise RuntimeError("a driver broke")

    with Session("failing", domain=session.domain) as failing:
        end = failing.loop("breaks", 0.01, act)
        with pytest.raises(RuntimeError, match="a driver broke"):
            failing.wait()
        end()


def test_closing_twice_is_no_error(session):
    another = Session("twice", domain=session.domain)
    another.close()
    another.close()
