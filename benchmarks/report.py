"""What every benchmark leaves in ``benchmarks/results``: one JSON file that says how it was made and what it came to.

::

    benchmark   name of the module
    compares    one sentence
    command     what reproduces the file
    machine     processor, cores, memory_gb, platform, python
    versions    of the packages that matter, by name
    revision    of the repository that was measured; ``-dirty`` if its code had changed since
    seeds       that were run
    targets     list of {what, wanted, measured, met}: what the project promises, and whether it holds here
    results     of the benchmark's own making

No dates: the same measurement twice differs in what was measured only.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from robo_rl.training.durable import write_json
from robo_rl.training.run_folder import describe_system

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"

_FIELDS: dict[str, type] = {
    "benchmark": str, "compares": str, "command": str, "machine": dict, "versions": dict, "revision": str,
    "seeds": list, "targets": list, "results": dict,
}  # fmt: skip
_MACHINE = ("processor", "cores", "memory_gb", "platform", "python")
_TARGET = ("what", "wanted", "measured", "met")
_DATE = re.compile(r"(?<![\d.])20\d\d(-?)(0[1-9]|1[0-2])\1(0[1-9]|[12]\d|3[01])(?!\d)")


def target(what: str, wanted: str, measured: Any, met: bool | None) -> dict[str, Any]:
    """Return one line of ``targets``; ``met`` is None where there is nothing to tell yet."""
    return {"what": what, "wanted": wanted, "measured": measured, "met": met}


def make_report(
    benchmark: str,
    *,
    compares: str,
    command: str,
    seeds: Iterable[int],
    targets: list[dict[str, Any]],
    results: Mapping[str, Any],
    packages: Iterable[str] = (),
    versions: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Put a measurement and its circumstances together.

    Args:
        benchmark: name of the module.
        compares: one sentence.
        command: what reproduces it.
        seeds: that were run.
        targets: from :func:`target`.
        results: the figures.
        packages: installed packages whose versions matter, beside the ones that every run folder records.
        versions: of packages that are installed elsewhere, such as in a virtual environment of a peer.
    """
    system = describe_system(seed=0)
    found = {name: version for name, version in system["versions"].items() if version is not None}
    found |= {name: installed for name in packages if (installed := _version(name)) is not None}
    return {
        "benchmark": benchmark,
        "compares": compares,
        "command": command,
        "machine": {
            "processor": system["processor"],
            "cores": system["cores"],
            "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
            "platform": system["platform"],
            "python": system["python"],
        },
        "versions": found | dict(versions or {}),
        "revision": revision(),
        "seeds": sorted(set(seeds)),
        "targets": targets,
        "results": dict(results),
    }


def save(report: Mapping[str, Any], folder: Path = RESULTS) -> Path:
    """Check a report and store it as ``folder/BENCHMARK.json``.

    Raises:
        ValueError: if it is not as it should be; names the field.
    """
    check(report)
    path = folder / f"{report['benchmark']}.json"
    write_json(path, dict(report))
    return path


def load(path: Path) -> dict[str, Any]:
    """Read a report and check it.

    Raises:
        ValueError: if it is no JSON or not as it should be; names the field.
    """
    report = json.loads(path.read_text())
    check(report)
    return report


def check(report: Any) -> None:
    """Refuse a report that lacks something, or that tells when it was made.

    Raises:
        ValueError: naming the field.
    """
    if not isinstance(report, dict) or set(report) != set(_FIELDS):
        odd = set(_FIELDS) ^ set(report) if isinstance(report, dict) else "it is no object"
        raise ValueError(f"report: fields missing or too many: {odd}")
    for name, kind in _FIELDS.items():
        if not isinstance(report[name], kind) or (kind is not list and not report[name]):
            raise ValueError(f"{name}: expected a {kind.__name__} that is not empty, got {report[name]!r}")
    if f"benchmarks.{report['benchmark']}" not in report["command"]:
        raise ValueError(f"command: {report['command']!r} does not run benchmarks.{report['benchmark']}")
    if missing := set(_MACHINE) - set(report["machine"]):
        raise ValueError(f"machine: lacks {sorted(missing)}")
    if not all(isinstance(version, str) for version in report["versions"].values()):
        raise ValueError("versions: not all are text")
    if not all(isinstance(seed, int) for seed in report["seeds"]):
        raise ValueError("seeds: not all are integers")
    for i, entry in enumerate(report["targets"]):
        if not isinstance(entry, dict) or set(entry) != set(_TARGET) or entry["met"] not in (True, False, None):
            raise ValueError(f"targets[{i}]: expected {_TARGET}, got {entry!r}")
    if date := _DATE.search(json.dumps(report)):
        raise ValueError(f"report: holds a date, {date.group()!r}")


def revision() -> str:
    """Short hash of the commit, with ``-dirty`` if the measured code has changed since; ``unknown`` without git."""
    code = ["robo_rl", "controllers", "envs", "benchmarks/*.py"]
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        return commit + ("-dirty" if _git("status", "--porcelain", "--", *code) else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
