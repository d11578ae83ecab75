"""Where a process listens, and what it says if it cannot."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

from hardware.ros import Session, transport
from robo_rl.errors import UserError

ROOT = Path(__file__).resolve().parents[3]


def addresses(profile: str) -> list[str]:
    return [each.text for each in ElementTree.fromstring(profile).iter() if each.tag.endswith("address")]


def run(code: str, **environment: str) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


def test_profiles_name_loopback_and_what_was_asked_for():
    assert set(addresses(transport.profile((), True))) == {"127.0.0.1"}
    assert addresses(transport.profile(("192.168.3.4", "eth1"), False)) == ["127.0.0.1", "192.168.3.4", "eth1"]
    assert "SHM" in transport.profile((), True)
    assert "SHM" not in transport.profile((), False)


@pytest.mark.parametrize("shared_memory", [True, False])
def test_every_socket_is_on_loopback_whatever_the_environment_says(shared_memory):
    code = f"""
import os
from pathlib import Path
from hardware.ros import Session
with Session('quiet', domain=99, shared_memory={shared_memory}):
    mine = set()
    for descriptor in Path('/proc/self/fd').iterdir():
        if descriptor.is_symlink():
            mine.add(os.readlink(descriptor))
    for line in Path('/proc/net/udp').read_text().splitlines()[1:]:
        fields = line.split()
        if f'socket:[{{fields[9]}}]' in mine:
            print(fields[1].split(':')[0])
    mapped = Path('/proc/self/maps').read_text()
    print('/dev/shm/fastdds' in mapped or '/dev/shm/fastrtps' in mapped)
"""
    said = run(code, ROS_AUTOMATIC_DISCOVERY_RANGE="SUBNET", ROS_STATIC_PEERS="10.0.0.7").split()
    assert said[-1] == str(shared_memory)
    assert set(said[:-1]) == {"0100007F"}  # 127.0.0.1


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
    monkeypatch.setattr("hardware.ros.transport._chosen", None)
    with pytest.raises(UserError, match=says):
        Session(name, **options)


@pytest.mark.parametrize("other", [{"interfaces": ["192.168.3.4"]}, {"shared_memory": False}])
def test_one_process_has_one_way_to_reach_others(other, monkeypatch):
    monkeypatch.setattr("hardware.ros.transport._chosen", ((), True))
    with pytest.raises(UserError, match="already uses"):
        Session("arm", **other)


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
