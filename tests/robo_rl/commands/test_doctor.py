import json

import pytest

from robo_rl.cli import main
from robo_rl.commands import probes
from robo_rl.commands.probes import Finding, run_python


def test_a_probe_that_crashes_is_told_of():
    assert run_python("print('noise'); print('fine')") == (True, "fine")
    assert run_python("raise RuntimeError('no luck')") == (False, "RuntimeError: no luck")
    assert run_python("import os; os.abort()") == (False, "crashed with signal 6")
    assert run_python("import os; os._exit(3)") == (False, "exit code 3")


def test_a_probe_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(probes, "_TIMEOUT", 0.5)
    assert run_python("import time; time.sleep(60)") == (False, "no answer within 0 s")


@pytest.fixture
def only_quick_probes(monkeypatch):
    """The real probes start a dozen processes; here only those that need none."""
    monkeypatch.setattr(probes, "run_python", lambda code, **env: (False, "ModuleNotFoundError: No module named 'x'"))


def test_what_is_missing_comes_with_a_remedy(only_quick_probes, capsys):
    assert main(["doctor", "--json"]) == 1  # without torch nothing can be trained
    told = json.loads(capsys.readouterr().out)
    assert not told["can_train"]
    groups = {finding["group"] for finding in told["findings"]}
    assert groups == {"core", "rendering", "GPU", "ROS 2", "devices", "extras"}
    for finding in told["findings"]:
        assert finding["detail"]
        assert bool(finding["remedy"]) == (finding["status"] != "ok")


def test_extras_are_those_of_the_package(only_quick_probes):
    extras = {finding.name: finding for finding in probes.findings() if finding.group == "extras"}
    assert {"warp", "benchmarks", "dev"} <= extras.keys()


def test_an_extra_that_is_too_old_is_missing(monkeypatch):
    real = probes.metadata.version
    monkeypatch.setattr(probes.metadata, "version", lambda name: "0.0.1" if name == "mujoco-warp" else real(name))
    (warp,) = [finding for finding in probes._extras() if finding.name == "warp"]
    assert warp.status == "missing"
    assert "mujoco-warp" in warp.detail
    assert warp.remedy == "pip install 'robo-rl[warp]'"


def test_devices_that_may_not_be_opened(monkeypatch, tmp_path):
    port = tmp_path / "ttyUSB0"
    assert probes._nodes("serial ports", [], "plug it in", "join the group").status == "missing"
    monkeypatch.setattr(probes.os, "access", lambda path, mode: False)
    found = probes._nodes("serial ports", [str(port)], "plug it in", "join the group")
    assert (found.status, found.remedy) == ("failed", "join the group")
    assert str(port) in found.detail


def test_the_core_probes_pass_here(capsys):
    found = {finding.name: finding for finding in probes._core()}
    assert {name: finding.status for name, finding in found.items()} == dict.fromkeys(
        ("python", "torch", "physics", "video"), "ok"
    )


def test_table(monkeypatch, capsys):
    rows = [
        Finding("core", "torch", "ok", "torch [2.13]", needed=True),
        Finding("ROS 2", "rclpy", "missing", "none", "source it"),
    ]
    monkeypatch.setattr(probes, "findings", lambda: iter(rows))
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "torch [2.13]" in out
    assert "source it" in out
    assert "this machine can train" in out
