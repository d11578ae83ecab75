from __future__ import annotations

import dataclasses
from functools import partial

import numpy as np
import pytest

from controllers.joint_speeds import JointSpeeds
from controllers.single import SingleChain, damped_inverse
from hardware.actuation import Estimate, JointActuator, PoseActuator, TorqueActuator, actuator, external_wrench
from hardware.arms.drive import Delegated
from hardware.safety.filter import SafetyFilter
from hardware.safety.limits import SafetyLimits
from robo_rl import geometry
from robo_rl.robots import robot

SPEC = robot("panda")
HOME = np.array(SPEC.home)
CHAIN = SingleChain(SPEC)
LIMITS = SafetyLimits.of(SPEC)
MOST = np.array([link.max_torque for link in SPEC.links])


class Told:
    """A drive that only remembers what it was told, in those of the ways ``torque``, ``joints`` and ``pose`` it has."""

    spec, rate, delegated = SPEC, 1000.0, Delegated()

    def __init__(self, *ways) -> None:
        for way in ways:
            setattr(self, f"write_{way}", partial(self._remember, way))

    def _remember(self, way, *values):
        setattr(self, way, values[0] if len(values) == 1 else values)

    def __getattr__(self, name):
        if name in ("open", "read", "write_gripper", "recover", "close"):
            return lambda *_: None
        raise AttributeError(name)


def measured(q=HOME, dq=None, stamp=0.0, bias=None) -> Estimate:
    zero = np.zeros(7)
    dq = zero if dq is None else dq
    pos, rot, jacobian = CHAIN.forward(q)
    return Estimate(
        stamp, q, dq, zero, zero if bias is None else bias, pos, rot, jacobian, damped_inverse(jacobian),
        jacobian @ dq, np.zeros(6), 0.04, "",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("ways", "kind"),
    [
        (("torque", "joints"), TorqueActuator),
        (("pose", "joints"), PoseActuator),
        (("joints",), JointActuator),
    ],
)
def test_the_best_way_of_driving_is_taken(ways, kind):
    assert isinstance(actuator(Told(*ways), LIMITS), kind)


def test_a_drive_that_cannot_be_driven_is_refused():
    with pytest.raises(TypeError, match="neither by torques nor by poses nor by joint positions"):
        actuator(Told(), LIMITS)


def pull(made: TorqueActuator, drive: Told, stamp: float, cycles: int = 50) -> float:
    """Force with which the tool is pulled, its reference 1 cm off."""
    now = measured(stamp=stamp)
    for _ in range(cycles):
        made.track(now, now.pos + np.array([0.0, 0.01, 0.0]), now.rot, 0.001)
    return float(external_wrench(now.jacobian, now.inverse, drive.torque)[1])


def test_it_starts_softly_and_stiffens():
    drive = Told("torque")
    made = TorqueActuator(drive, LIMITS)
    made.begin(measured())
    forces = [pull(made, drive, stamp) for stamp in (0.0, 0.1, 0.25, 0.4, 0.6)]
    full = SPEC.impedance.stiffness * 0.01
    assert forces[0] < 0.1 * full
    assert (np.diff(forces) > 0.0).all()
    assert forces[-1] == pytest.approx(full, rel=0.02)
    made.begin(measured(stamp=10.0))
    assert pull(made, drive, 10.0) < 0.1 * full


def test_taking_over_begins_with_the_weight_of_the_arm():
    drive = Told("torque")
    made = TorqueActuator(drive, LIMITS)
    bias = np.array([0.0, -20.0, 0.0, 15.0, 0.0, 2.0, 0.0])
    made.begin(measured(bias=bias))
    now = measured(bias=bias)
    made.track(now, now.pos, now.rot, 0.001)
    np.testing.assert_allclose(drive.torque, bias, atol=1e-6)


@pytest.mark.parametrize("side", [0, 1])
def test_a_joint_in_its_margin_is_pushed_back(side):
    q = HOME.copy()
    q[6] = SPEC.links[6].joint_range[side]
    torques = []
    for posture in (HOME, q):
        drive = Told("torque")
        made = TorqueActuator(drive, LIMITS)
        made.begin(measured(posture))
        now = measured(posture, stamp=5.0)
        for _ in range(50):
            made.track(now, now.pos, now.rot, 0.001)
        torques.append(drive.torque[6])
    assert torques[0] == pytest.approx(0.0, abs=1e-6)
    assert torques[1] * (1 if side == 0 else -1) > 0.5


@pytest.mark.parametrize("joint", range(7))
@pytest.mark.parametrize("side", [0, 1])
def test_no_pull_at_the_tool_drives_a_joint_into_the_end_of_its_range(joint, side):
    q = HOME.copy()
    q[joint] = SPEC.links[joint].joint_range[side]
    inwards = 1 if side == 0 else -1
    driven = []
    for axis in range(3):
        for sign in (1.0, -1.0):
            drive = Told("torque")
            made = TorqueActuator(drive, LIMITS)
            made.begin(measured(q))
            now = measured(q, stamp=5.0)
            away = sign * np.eye(3)[axis]
            for _ in range(80):
                made.track(now, now.pos + 0.2 * away, geometry.exp(0.5 * away) @ now.rot, 0.001)
            driven.append(drive.torque[joint] * inwards)
    assert min(driven) > 0.0


def swung(spec, joint, push):
    """Speed and position, at each ms, of a joint of 0.1 kg·m² that ``push`` N·m of the law drive on, from home."""
    drive = Told("torque")
    drive.spec = spec
    actuator = TorqueActuator(drive, SafetyLimits.of(spec))
    q, dq, trace = np.array(spec.home), np.zeros(7), []
    now = measured(q)
    actuator.begin(now)
    effort = np.zeros(7)
    effort[joint] = push
    for _ in range(1500):
        actuator._write(now._replace(joint_pos=q, joint_vel=dq), effort, 0.001)
        dq = dq + 0.001 * np.eye(7)[joint] * drive.torque[joint] / 0.1
        q = q + 0.001 * dq
        trace.append((dq[joint], q[joint]))
    return trace


@pytest.mark.parametrize("joint", [0, 4, 6])
def test_a_joint_that_swings_is_braked_before_its_speed_limit(joint):
    spec = robot("fr3")
    speeds = JointSpeeds(spec)
    for dq, q in swung(spec, joint, 5.0):
        assert dq < speeds.towards([q] * 7, [dq] * 7)[joint]


def test_without_braking_it_would_pass_the_limit():
    spec = robot("fr3")
    wide = dataclasses.replace(
        spec, links=tuple(dataclasses.replace(link, max_velocity=50.0, slow_ends=None) for link in spec.links)
    )
    speeds = JointSpeeds(spec)
    assert any(dq > speeds.towards([q] * 7, [dq] * 7)[4] for dq, q in swung(wide, 4, 5.0))


def test_a_joint_below_its_speed_limit_is_not_braked():
    drive = Told("torque")
    actuator = TorqueActuator(drive, LIMITS)
    effort = np.array([5.0, -5.0, 3.0, 2.0, 1.0, -1.0, 0.5])
    speed = 0.69 * np.array([link.max_velocity for link in SPEC.links])
    actuator.begin(measured(stamp=-10.0))
    actuator._write(measured(dq=speed), effort, 1.0)
    assert np.array_equal(drive.torque, effort)


def test_a_joint_move_is_bounded_by_its_clip():
    drive = Told("torque")
    made = TorqueActuator(drive, LIMITS)
    made.begin(measured())
    for _ in range(500):
        kept_up = made.follow(measured(stamp=5.0), HOME + 1.0, np.full(7, 9.0), 0.001)
    assert not kept_up
    assert (np.abs(drive.torque) <= 0.25 * MOST).all()
    assert made.follow(measured(stamp=5.0), HOME + 0.01, np.zeros(7), 0.001)


def test_differential_kinematics_reach_the_reference():
    drive = Told("joints")
    made = JointActuator(drive, LIMITS)
    made.begin(measured())
    pos, rot, _ = CHAIN.forward(HOME)
    target = pos + np.array([0.02, -0.03, 0.04])
    for _ in range(80):
        made.track(measured(), target, rot, 0.005)
    found = CHAIN.forward(drive.joints)
    np.testing.assert_allclose(found[0], target, atol=1e-5)
    np.testing.assert_allclose(found[1], rot, atol=1e-5)
    np.testing.assert_allclose(made.seed(measured())[0], target, atol=1e-5)


def test_a_set_point_never_passes_a_joint_limit():
    drive = Told("joints")
    made = JointActuator(drive, LIMITS)
    made.begin(measured())
    for _ in range(600):
        made.track(measured(), np.array([2.0, 0.0, 0.3]), CHAIN.forward(HOME)[1], 0.005)
        assert drive.joints[3] <= SPEC.links[3].joint_range[1] - LIMITS.joint_margin + 1e-12
    outside = HOME.copy()
    outside[3] = SPEC.links[3].joint_range[1]
    made.begin(measured(outside))
    made.follow(measured(outside), outside + 0.1, np.zeros(7), 0.005)
    assert drive.joints[3] == outside[3]  # no further, and no jump back


def test_poses_along_a_joint_move():
    drive = Told("pose")
    made = PoseActuator(drive, LIMITS)
    made.begin(measured())
    goal = HOME + 0.02
    assert made.follow(measured(), goal, np.zeros(7), 0.005)
    np.testing.assert_allclose(drive.pose[0], CHAIN.forward(goal)[0])
    assert made.arrived(measured(goal), goal)
    assert not made.arrived(measured(), HOME + 0.2)


def test_forces_are_found_from_joint_torques():
    now = measured()
    wrench = np.array([5.0, -8.0, 12.0, 0.3, -0.2, 0.5])
    torque = now.jacobian.T @ wrench
    np.testing.assert_allclose(external_wrench(now.jacobian, now.inverse, torque), wrench, rtol=0.02, atol=0.02)
    torque[2] = np.nan
    np.testing.assert_allclose(external_wrench(now.jacobian, now.inverse, torque), wrench, rtol=0.1, atol=0.1)
    torque[1:] = np.nan
    assert np.isnan(external_wrench(now.jacobian, now.inverse, torque)).all()


def in_the_work_space(name, rate, lag):
    """How far set-points and a lagging tool come out of the work space of an arm that is sent all over, and beyond, m.

    The commands go through the safety filter, as in the guarded arm.
    """
    spec = robot(name)
    limits, chain, home = SafetyLimits.of(spec), SingleChain(spec), np.array(spec.home)
    low, high = np.array(limits.workspace_low), np.array(limits.workspace_high)
    middle, rot = chain.forward(home)[:2]
    guard, drive = SafetyFilter(spec, limits, rot), Told("joints")
    drive.spec = spec
    made = JointActuator(drive, limits)
    random, q, out = np.random.default_rng(0), home, {"told": [], "measured": []}

    def now():
        pos, turned, jacobian = chain.forward(q)
        zero = np.zeros(spec.dof)
        return Estimate(
            0.0, q, zero, zero, zero, pos, turned, jacobian, damped_inverse(jacobian), np.zeros(6), np.zeros(6), 0.0, ""
        )

    def pursue(target, seconds):
        nonlocal q
        for _ in range(int(seconds * rate)):
            here = now()
            guard.advance(*target, here.pos, here.rot, q, here.jacobian, here.inverse, 1.0 / rate)
            made.track(here, guard.pos, guard.rot, 1.0 / rate)
            q = q + (drive.joints - q) / (1.0 + lag * rate)
            for key, at in (("told", drive.joints), ("measured", q)):
                pos = chain.forward(at)[0]
                out[key].append(float(np.maximum(low - pos, pos - high).max()))

    guard.reset(*chain.forward(home)[:2])
    made.begin(now())
    for _ in range(8):
        corner = np.where(random.integers(0, 2, 3), high + 0.3, low - 0.3)
        tilt = geometry.exp(random.normal(0.0, 1.0, 3)) @ rot
        pursue((corner, tilt), 1.0)
        pursue((random.uniform(low, high), rot), 0.3)
    pursue((middle, rot), 5.0)
    if spec.dof == 6:  # wherever it was, it gets away; a joint that is redundant may have drifted to its limit
        np.testing.assert_allclose(chain.forward(drive.joints)[0], middle, atol=1e-3)
    return {key: max(values) for key, values in out.items()}


@pytest.mark.parametrize(
    ("name", "rate"), [("widowx250s", 50.0), ("widowx250s", 200.0), ("widowx_ai", 50.0), ("panda", 50.0), ("fr3", 50.0)]
)
def test_no_set_point_has_the_tool_out_of_the_work_space(name, rate):
    out = in_the_work_space(name, rate, lag=0.04)
    assert out["told"] <= 1e-6


def test_from_outside_of_the_work_space_set_points_only_come_back():
    spec = robot("widowx250s")
    limits, chain = SafetyLimits.of(spec), SingleChain(spec)
    high = np.array(limits.workspace_high)
    home = np.array(spec.home)
    inside, rot, _ = chain.forward(home)
    q = home.copy()
    while chain.forward(q)[0][2] < high[2] + 0.02:
        q[1] -= 0.01
    drive = Told("joints")
    drive.spec = spec
    made = JointActuator(drive, limits)
    pos, _, jacobian = chain.forward(q)
    zero = np.zeros(6)
    now = Estimate(0.0, q, zero, zero, zero, pos, rot, jacobian, damped_inverse(jacobian), zero, zero, 0.0, "")
    made.begin(now)
    heights = [pos[2]]
    for target in (np.array([inside[0], inside[1], high[2] + 0.2]), inside):
        for _ in range(300):
            made.track(now, target, rot, 0.01)
            heights.append(chain.forward(drive.joints)[0][2])
    assert max(np.diff(np.maximum(heights, high[2]))) <= 1e-6
    np.testing.assert_allclose(chain.forward(drive.joints)[0], inside, atol=1e-3)
