"""franka-sim, a Franka that enforces its limits, in a network of its own.

``franka-sim`` speaks libfranka's protocol and stops motions with the errors of the real arm: limits of joints, torques
and their rates, and commands that come too late. It wants other versions of NumPy and MuJoCo than this package, and it
listens on every interface; so it gets a virtual environment of its own, and a network namespace in which there is only
the loopback interface. Whatever is to talk to it has to run in there, too::

    python -m hardware.emulation.franka_sim -- python -m benchmarks.franka_endurance --drive franky

The command finds the server at 127.0.0.1. Linux only; needs root or user namespaces.

franky-sim is started from here as well: it enforces nothing, and listens where it is told to.
"""

from __future__ import annotations

import argparse
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import venv
import xml.etree.ElementTree as ET
from collections.abc import Mapping, Sequence
from pathlib import Path

from robo_rl.errors import MissingExtra, UserError

REQUIREMENTS = ("franka-sim==1.1.7", "mujoco==3.2.7", "numpy==1.26.4")
ARM_PORT, HAND_PORT = 1337, 1338

_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 0x1


def default_folder() -> Path:
    """Where the virtual environment and the model are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "robo_rl" / "franka_sim"


def prepare(folder: Path) -> Path:
    """Make the virtual environment and the model of the arm, unless they are there; return the server's program.

    Raises:
        UserError: if franka-sim cannot be installed.
    """
    program = folder / "venv" / "bin" / "run-franka-sim-server"
    if not program.exists():
        shutil.rmtree(folder / "venv", ignore_errors=True)
        venv.create(folder / "venv", with_pip=True)
        pip = [str(folder / "venv" / "bin" / "python"), "-m", "pip", "install", "--quiet", *REQUIREMENTS]
        done = subprocess.run(pip, capture_output=True, text=True)
        if done.returncode != 0 or not program.exists():
            raise UserError(
                f"{REQUIREMENTS[0]} could not be installed: {(done.stderr.strip() or 'no reason').splitlines()[-1]}"
            )
    if not (folder / "fr3.xml").exists():
        write_model(folder)
    return program


def write_model(folder: Path) -> None:
    """Write the FR3 of franky-sim for franka-sim, whose flange is the body ``link7``: with it there."""
    found = importlib.util.find_spec("franky_sim")
    if found is None or found.origin is None:
        raise MissingExtra("the model of franka-sim", "emulation")
    assets = Path(found.origin).parent / "assets"
    tree = ET.parse(assets / "fr3.xml")
    last = tree.find(".//body[@name='fr3_link7']")
    shape = tree.find(".//geom[@name='fr3_link7_collision']")
    assert last is not None
    assert shape is not None
    last.set("name", "fr3_last")
    last.remove(shape)
    flange = ET.SubElement(last, "body", name="fr3_link7", pos="0 0 0.107")
    flange.append(shape)
    shape.set("pos", "0 0 -0.107")
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "assets"
    link.unlink(missing_ok=True)
    link.symlink_to(assets / "meshes")
    tree.write(folder / "fr3.xml")


def start(folder: Path) -> subprocess.Popen[bytes]:
    """Start franka-sim, which has to be prepared, and wait until it listens.

    Raises:
        UserError: if it does not; says where its log is.
    """
    command = [str(prepare(folder)), "--enforce-motion-limits", "--enforce-comm-constraints"]
    return _start(command, {"FR3_MJCF": str(folder / "fr3.xml")}, "127.0.0.1", folder / "server.log")


def start_franky_sim(address: str, log: Path) -> subprocess.Popen[bytes]:
    """Start franky-sim at a loopback address, and wait until it listens.

    Raises:
        UserError: if it does not; says where its log is.
    """
    if importlib.util.find_spec("franky_sim") is None:
        raise MissingExtra("franky-sim", "emulation")
    command = [sys.executable, "-m", "franky_sim.run_server", "-s", "mujoco", "--hostname", address]
    return _start(command, {}, address, log)


def free_address() -> str:
    """Return a loopback address at which no simulator listens."""
    return next(a for a in (f"127.0.0.{i}" for i in range(1, 255)) if not listening(a, ARM_PORT))


def _start(command: Sequence[str], more: Mapping[str, str], address: str, log: Path) -> subprocess.Popen[bytes]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | dict(more)
    with log.open("ab") as output:
        server = subprocess.Popen(command, env=environment, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    deadline = time.monotonic() + 60.0
    while not (listening(address, ARM_PORT) and listening(address, HAND_PORT)):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise UserError(f"{Path(command[0]).name} did not start; see {log}")
        time.sleep(0.1)
    return server


def listening(address: str, port: int) -> bool:
    """Return whether something listens at a TCP port, without connecting to it: the simulators take one client."""
    wanted = f"{struct.unpack('=I', socket.inet_aton(address))[0]:08X}", f"{port:04X}"
    with open("/proc/net/tcp") as table:
        for line in list(table)[1:]:
            _, local, _, state, *_ = line.split()
            host, _, at = local.partition(":")
            if state == "0A" and at == wanted[1] and host in (wanted[0], "00000000"):
                return True
    return False


def stop(server: subprocess.Popen[bytes]) -> None:
    """Stop a server, frozen or not."""
    if server.poll() is None:
        server.send_signal(signal.SIGCONT)
        server.terminate()
        try:
            server.wait(5.0)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def isolated(command: Sequence[str]) -> list[str]:
    """Return ``command`` such that it runs in a network namespace of its own.

    Raises:
        UserError: if this machine does not allow it.
    """
    unshare = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    try:
        subprocess.run([*unshare, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(
            f"network namespaces are not allowed here ({error}); run it as root, or in a container"
        ) from error
    return [*unshare, *command]


def raise_loopback() -> None:
    """Switch the loopback interface on; in a new namespace it is off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | _IFF_UP))


def main() -> int:
    """Run a command next to the simulator; return its exit code."""
    parser = argparse.ArgumentParser(description="Run a command next to franka-sim, in a network of their own.")
    parser.add_argument(
        "--folder", type=Path, default=default_folder(), help="of the virtual environment and the model"
    )
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("command", nargs="+")
    arguments = parser.parse_args()
    try:
        prepare(arguments.folder)
        if not arguments.inside:
            again = [
                sys.executable,
                "-m",
                "hardware.emulation.franka_sim",
                "--inside",
                "--folder",
                str(arguments.folder),
            ]
            return subprocess.run(isolated([*again, "--", *arguments.command])).returncode
        raise_loopback()
        server = start(arguments.folder)
        try:
            return subprocess.run(arguments.command).returncode
        finally:
            stop(server)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
