"""A process of its own for a node: `serve.py arm NAME DOMAIN`, `serve.py camera NAME DOMAIN [depth]`, or
`serve.py stop NAME DOMAIN PATH`: an emergency stop on a line of a board, of the arm NAME_arm.

The arm here is made of numbers: its tool goes straight to where it is told. Its last line on standard output says what
it had been asked to do.
"""

from __future__ import annotations

import json
import sys
import threading
import time

import numpy as np

from hardware.inputs.stop_inputs import GpioInput
from hardware.ros import Intrinsics, serve_arm, serve_camera, serve_emergency_stop
from robo_rl.contracts import Applied, Frame, RobotState, RobotStatus, ToolCommand
from robo_rl.errors import Faulted, InvalidAction, Stale
from robo_rl.robots.fr3 import FR3

SPEED = 0.5
START = np.array([0.5, 0.0, 0.3])
DOWN = np.diag([1.0, -1.0, -1.0])


class NumbersArm:
    """A Robot that moves its tool at SPEED m/s towards the target, and holds when a command expires."""

    spec = FR3

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.pos = START.copy()
        self.target, self.rot, self.gripper = START.copy(), DOWN.copy(), 0.04
        self.joints = np.array(FR3.home)
        self.id, self.expires, self.last_id = 0, 0.0, 0
        self.moving_until = 0.0
        self.goal = self.joints
        self.fault = self.reason = ""
        self.rejected = 0
        self.pursued = 0
        self.frozen = 0.0
        self.time = time.monotonic()

    def advance(self) -> float:
        now = time.monotonic()
        step, self.time = (now - self.time) * SPEED, now
        if self.moving_until and now >= self.moving_until:
            self.moving_until, self.joints = 0.0, self.goal
        if self.fault or now >= self.expires:
            self.target = self.pos.copy()
        away = self.target - self.pos
        distance = float(np.linalg.norm(away))
        self.pos = self.target.copy() if distance <= step else self.pos + away * (step / distance)
        return now

    def state(self, max_age: float = 0.1) -> RobotState:
        with self.lock:
            now = self.advance()
            if now < self.frozen:
                raise Stale("the numbers are frozen")
            zero = np.zeros(3)
            still = np.zeros(7)
            torque = np.full(7, np.nan)
            return RobotState(now, self.joints, still, torque, self.pos, self.rot, zero, zero, zero, zero, self.gripper)

    def command(self, command: ToolCommand) -> None:
        with self.lock:
            self.advance()
            if self.fault:
                self.rejected += 1
                raise Faulted(self.fault)
            if command.id <= self.last_id or not 0.0 < command.valid_for <= 0.3:
                self.rejected += 1
                raise InvalidAction("out of order, or valid for too long")
            self.last_id = self.id = command.id
            self.target, self.rot, self.gripper = command.pos, command.rot, command.gripper
            self.expires = time.monotonic() + command.valid_for
            self.moving_until = 0.0
            self.pursued += 1

    def applied(self) -> Applied:
        with self.lock:
            expired = self.advance() >= self.expires
            reasons = ("expired",) if expired and self.id else ()
            return Applied(self.id, self.target, self.rot, self.gripper, reasons)

    def status(self) -> RobotStatus:
        with self.lock:
            now = self.advance()
            moving = now < self.moving_until
            mode = "fault" if self.fault else "moving" if moving else "running" if now < self.expires else "holding"
            counters = {"pursued": float(self.pursued), "cycles": now}
            return RobotStatus(mode, self.reason, self.fault, bool(self.fault), 0, self.rejected, counters)

    def move_joints(self, joint_pos: np.ndarray, gripper: float) -> None:
        with self.lock:
            if self.fault:
                raise Faulted(self.fault)
            within = [
                link.joint_range[0] < q < link.joint_range[1] for link, q in zip(FR3.links, joint_pos, strict=True)
            ]
            if not all(within) or joint_pos[0] > 2.5:
                self.rejected += 1
                raise InvalidAction("too close to the limit of a joint")
            self.goal, self.gripper = joint_pos, gripper
            self.moving_until = time.monotonic() + 0.3

    def stop(self, reason: str) -> None:
        with self.lock:
            if reason == "freeze":
                self.frozen = time.monotonic() + 0.6
                return
            self.fault, self.reason = "stopped", reason

    def recover(self) -> None:
        with self.lock:
            if self.reason == "for good":
                raise Faulted("stopped for good: the cause is still there")
            self.fault = self.reason = ""

    def close(self) -> None:
        self.stop("closed")


class NumbersCamera:
    """A Camera whose pictures come at 30 Hz and carry their index; index 20 to 22 are lost."""

    width, height = 64, 48

    def __init__(self, name: str, depth: bool, width: int = 64, height: int = 48, rate: float = 30.0) -> None:
        self.name, self.depth, self.width, self.height, self.rate = name, depth, width, height, rate
        self.began = time.monotonic()
        self.rgb = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)

    def read(self, max_age: float = 0.2) -> Frame:
        index = int((time.monotonic() - self.began) * self.rate)
        if 20 <= index <= 22:
            index = 19
        stamp = self.began + index / self.rate
        if time.monotonic() - stamp > max_age:
            raise Stale("the picture is old")
        rgb = self.rgb.copy()
        rgb[0, :4, 0] = list(index.to_bytes(4, "little"))
        depth = np.full((self.height, self.width), 0.5, np.float32) if self.depth else None
        if depth is not None:
            depth[0, 0] = 0.0
        return Frame(stamp, index, rgb, depth)

    def close(self) -> None:
        self.began = -1e9


def main() -> None:
    kind, name, domain, *more = sys.argv[1:]
    print("up", flush=True)
    if kind == "arm":
        arm = NumbersArm()
        serve_arm(arm, name, domain=int(domain))
        print(json.dumps({"pursued": arm.pursued, "rejected": arm.rejected, "pos": arm.pos.tolist()}), flush=True)
    elif kind == "stop":
        serve_emergency_stop(GpioInput(more[0]), name, {f"{name}_arm": FR3}, domain=int(domain))
    else:
        size = [int(number) for number in more[1:]] or [64, 48]
        camera = NumbersCamera(name, "depth" in more, *size)
        serve_camera(camera, name, domain=int(domain), intrinsics=Intrinsics(50.0, 50.0, 32.0, 24.0))


if __name__ == "__main__":
    main()
