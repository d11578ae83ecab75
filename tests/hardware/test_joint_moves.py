"""A move that is waited for: it ends where it should, or it is said why not."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest

from hardware import joint_moves
from hardware.joint_moves import move_to
from robo_rl.contracts import RobotStatus
from robo_rl.errors import Faulted, UserError
from robo_rl.robots.panda import PANDA

HOME = np.array(PANDA.home)


class Telling:
    """A robot that tells one status after the other, the last one for ever, and is where it is."""

    spec = PANDA

    def __init__(self, *statuses: RobotStatus, at: np.ndarray = HOME) -> None:
        self._statuses = itertools.chain(statuses, itertools.repeat(statuses[-1]))
        self._at = at
        self.moves: list[tuple[np.ndarray, float]] = []

    def move_joints(self, joint_pos: np.ndarray, gripper: float) -> None:
        self.moves.append((joint_pos, gripper))

    def status(self) -> RobotStatus:
        return next(self._statuses)

    def state(self, max_age: float) -> SimpleNamespace:
        return SimpleNamespace(joint_pos=self._at)


MOVING, HOLDING = RobotStatus("moving"), RobotStatus("holding")
LOST = RobotStatus("fault", fault="no_link", reason="its node is silent")


def test_it_returns_once_the_arm_is_there():
    robot = Telling(MOVING, MOVING, HOLDING)
    move_to(robot, HOME, 0.04)
    assert len(robot.moves) == 1
    assert robot.moves[0][1] == 0.04


def test_a_fault_on_the_way_is_raised():
    with pytest.raises(Faulted, match=r"no_link: its node is silent"):
        move_to(Telling(MOVING, LOST), HOME, 0.04)


def test_one_that_may_go_by_itself_is_waited_out():
    move_to(Telling(MOVING, LOST, LOST, HOLDING), HOME, 0.04, waited_out=("no_link",))


def test_one_that_does_not_go_ends_the_waiting_with_its_reason(monkeypatch):
    monkeypatch.setattr(joint_moves, "_LONGEST", 0.05)
    with pytest.raises(UserError, match=r"did not reach the posture .* its node is silent"):
        move_to(Telling(MOVING, LOST), HOME, 0.04, waited_out=("no_link",))


def test_an_arm_that_holds_elsewhere_has_not_arrived():
    short = HOME - np.eye(7)[1] * 0.3
    with pytest.raises(UserError, match=r"stopped 0\.30 rad short of the posture .*blocked"):
        move_to(Telling(MOVING, HOLDING, at=short), HOME, 0.04)
