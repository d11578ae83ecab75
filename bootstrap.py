"""Makes a virtual environment beside this file, installs robo-rl into it, and goes.

    python3 bootstrap.py demo [options of `robo-rl train`]     train a Franka arm to insert a peg, then show the result
    python3 bootstrap.py test [options of pytest]              run the tests; without options, style and types too

Needs Python 3.11 to 3.13 and nothing else.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
# There is a CPU build of this version, much smaller than the others; asked for first, so that nothing asks for another.
TORCH = "torch==2.13.0"
EXTRAS = {"demo": "", "test": "[dev]"}
STAMP = ".robo-rl.json"


class BootstrapError(Exception):
    """A step could not be done; the text says which and what to do."""


def main(arguments: list[str]) -> int:
    """Run one of the two commands and return its exit code."""
    if not (3, 11) <= sys.version_info[:2] < (3, 14):
        say(f"Python 3.11 to 3.13 is needed, this is {platform.python_version()}; try python3.11 bootstrap.py")
        return 2
    if not arguments or arguments[0] not in EXTRAS:
        print(str(__doc__).strip())
        return 0 if arguments[:1] in (["-h"], ["--help"]) else 2
    command, rest = arguments[0], arguments[1:]
    try:
        python = prepare(ROOT, EXTRAS[command])
    except BootstrapError as failure:
        say(str(failure))
        return 1
    except KeyboardInterrupt:
        say("interrupted; the same command goes on from here")
        return 130
    return {"demo": demo, "test": test}[command](python, rest)


def prepare(root: Path, extra: str) -> Path:
    """Return the Python of a virtual environment with robo-rl and ``extra`` installed; nothing is done twice.

    One that we left half-made is completed, or made anew if it does not run. One that somebody else made is used if it
    works, and never deleted.

    Raises:
        BootstrapError: if it cannot be made or installed.
    """
    folder = root / ".venv"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    stamp = folder / STAMP
    state = read(stamp)
    installed = state.pop("extras", [])
    wanted = {"python": platform.python_version(), "pyproject": digest(root / "pyproject.toml"), "torch": TORCH}
    if state == wanted and extra in installed and works(python):
        return python
    if folder.exists() and not works(python, "import pip"):
        if not stamp.exists():
            raise BootstrapError(f"{folder} is not ours and has no pip that works with this Python; move it away")
        shutil.rmtree(folder)
    fresh = not folder.exists()
    folder.mkdir(exist_ok=True)
    write(stamp, {})  # ours from here on, and unfinished until the end
    if fresh:
        say(f"making {folder}")
        create(folder, python)
    say("installing PyTorch (a large download the first time)")
    pip(python, TORCH)
    say(f"installing robo-rl{extra} and what it needs")
    pip(python, "-e", f"{root}{extra}")
    write(stamp, {**wanted, "extras": sorted({extra, "", *(installed if state == wanted else ())})})
    return python


def create(folder: Path, python: Path) -> None:
    """Make a virtual environment with pip.

    Raises:
        BootstrapError: if this Python cannot, as Debian's without python3-venv, and has no pip of its own to help.
    """
    bare = [sys.executable, "-m", "venv", "--without-pip", str(folder)]
    with_pip = [str(python), "-m", "ensurepip", "--default-pip"]
    borrowed = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "pip"]
    if quiet(bare) and (quiet(with_pip) or quiet(borrowed)):
        return
    shutil.rmtree(folder, ignore_errors=True)
    raise BootstrapError(
        "this Python cannot make virtual environments; Debian and Ubuntu: apt-get install python3-venv"
    )


def pip(python: Path, *what: str) -> None:
    """Install into the environment.

    Raises:
        BootstrapError: if pip does not manage; it has said why.
    """
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", *what]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode:
        raise BootstrapError(f"pip could not install {' '.join(what)}: see above; the same command goes on from here")


def demo(python: Path, arguments: list[str]) -> int:
    """Train until the evaluation reaches its target, then say where plot and video are."""
    started = time.time() - 1.0  # clocks of file systems are coarse
    code = wait([str(python), "-m", "robo_rl.cli", "train", "peg_insertion", *arguments], display(os.environ))
    chosen = arguments[arguments.index("--out") + 1 :][:1] if "--out" in arguments else []
    for picture in sorted((ROOT / (chosen[0] if chosen else "runs")).glob("*/*")):
        if picture.suffix in (".png", ".mp4") and picture.stat().st_mtime >= started:
            say(f"{'video' if picture.suffix == '.mp4' else 'plot'}: {picture}")
    return code


def test(python: Path, arguments: list[str]) -> int:
    """Run pytest; without arguments, style and types before it, and with coverage. Any failure counts."""
    environment = display({**os.environ, "OMP_NUM_THREADS": "1"})
    failed = []
    if not arguments:
        for check in (["ruff", "check"], ["ruff", "format", "--check"], ["mypy"]):
            say(" ".join(check))
            if wait([str(python), "-m", *check], environment):
                failed.append(" ".join(check))
        # Control loops keep time on the wall clock: their tests run when no others do. They wait most of the time, so
        # two go side by side, those with a simulated cell in turn; the longest come first. In processes of their own,
        # because a native library that crashes there is one test's failure and not the end of all.
        workers = str(min(2, os.cpu_count() or 1))
        runs = {
            "tests": ["-m", "not slow and not gpu and not realtime", "-n", workers, "--cov"],
            "tests in real time": [
                "-m", "realtime and not slow and not gpu", "-n", workers, "--dist", "loadscope",
                "--no-loadscope-reorder", "--reruns", "3", "--cov", "--cov-append", "--cov-report", "term:skip-covered",
            ],
        }  # fmt: skip
        runs["tests"] += ["--cov-report", ""]
        for name, words in runs.items():
            say(name)
            if wait([str(python), "-m", "pytest", *words], environment):
                failed.append(name)
        say(f"FAILED: {', '.join(failed)} (see above)" if failed else "all is well")
        return int(bool(failed))
    return wait([str(python), "-m", "pytest", *arguments], environment)


def display(environment: dict[str, str] | os._Environ[str]) -> dict[str, str]:
    """Return the environment, with EGL chosen for pictures where there is the library but no screen.

    Without the library OpenGL is left alone: pictures are then made by ray casting, which needs none.
    """
    chosen = dict(environment)
    if not any(chosen.get(name) for name in ("MUJOCO_GL", "DISPLAY", "WAYLAND_DISPLAY")):
        try:
            ctypes.CDLL("libEGL.so.1")
            chosen["MUJOCO_GL"] = "egl"
        except OSError:
            if sys.platform == "linux":  # elsewhere MuJoCo knows what the system has
                chosen["MUJOCO_GL"] = "disable"
    return chosen


def wait(command: list[str], environment: dict[str, str]) -> int:
    """Run a command in the root and return its exit code; Ctrl-C and termination are its business, and waited for."""
    sys.stdout.flush()
    with subprocess.Popen(command, cwd=ROOT, env=environment) as process:
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:  # the terminal has sent it to the command too, which stops in its own way
                continue
            return code if code >= 0 else 128 - code


def works(python: Path, code: str = "") -> bool:
    """Whether an environment's Python runs, is of this version, and runs ``code``."""
    return quiet([str(python), "-c", f"import sys; assert sys.version_info[:3] == {sys.version_info[:3]}; {code}"])


def quiet(command: list[str]) -> bool:
    """Run a command unseen and return whether it went well."""
    try:
        return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def read(stamp: Path) -> dict:
    """What an environment says of itself; nothing if it is unfinished."""
    try:
        return dict(json.loads(stamp.read_text()))
    except (OSError, ValueError):
        return {}


def write(stamp: Path, state: dict) -> None:
    """Replace the stamp in one go."""
    new = stamp.with_suffix(".new")
    new.write_text(json.dumps(state))
    new.replace(stamp)


def digest(path: Path) -> str:
    """Fingerprint of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def say(text: str) -> None:
    """Tell the user, on standard error."""
    print(f"bootstrap: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
