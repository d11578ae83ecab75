"""What every world promises, held to by every world. A new one earns these tests by one more entry in ``WORLDS``."""

from __future__ import annotations

import dataclasses
import importlib.util
import math

import pytest
import torch

from envs.worlds.mujoco_world import MujocoWorld
from envs.worlds.warp_world import WarpWorld
from robo_rl import geometry
from robo_rl.contracts import Command, Pose, SceneObject, SceneSpec, Shape, Start, World
from robo_rl.errors import InvalidAction, UserError
from robo_rl.robots import robot

# Ten or twenty physics steps a period instead of fifty or a hundred: the promises are the same, and sooner checked.
ROBOT = dataclasses.replace(robot("panda"), control_rate=50.0)
GAINS = ROBOT.impedance
DT = 0.02
FINGERTIP = 0.01  # how far the fingers reach beyond the tool centre point, m
CUBE, CUBE_MASS = 0.04, 0.2
B = 3
DOWN = torch.diag(torch.tensor([1.0, -1.0, -1.0]))

SCENE = SceneSpec(
    objects=(
        SceneObject("cube", (Shape("box", (CUBE / 2,) * 3, friction=1.0),), "free", mass=CUBE_MASS, tracked=True),
        # Its frame is in the middle of its upper side.
        SceneObject("pad", (Shape("box", (0.03, 0.03, 0.1), (0.0, 0.0, -0.1)),), "fixture", calibrated=True),
        SceneObject("marker", (), "fixture", solid=False),
        SceneObject("probe", (Shape("sphere", (0.005,)),), "tool", mass=0.02, solid=False),
    )
)

SHAPES = {
    "time": (1,), "joint_pos": (7,), "joint_vel": (7,), "tcp_pos": (3,), "tcp_rot": (3, 3), "tcp_linvel": (3,),
    "tcp_angvel": (3,), "tcp_force": (3,), "tcp_torque": (3,), "target_pos": (3,), "target_rot": (3, 3),
    "gripper_width": (1,), "gripper_target": (1,),
    "fixture.pad.pos": (3,), "fixture.pad.rot": (3, 3), "tracked.cube.pos": (3,), "tracked.cube.rot": (3, 3),
    "object.cube.pos": (3,), "object.cube.rot": (3, 3), "object.pad.pos": (3,), "object.pad.rot": (3, 3),
    "object.marker.pos": (3,), "object.marker.rot": (3, 3), "object.probe.pos": (3,), "object.probe.rot": (3, 3),
}  # fmt: skip

needs_warp = pytest.mark.skipif(importlib.util.find_spec("mujoco_warp") is None, reason="the extra 'warp' is missing")


def mujoco(n):
    return MujocoWorld(ROBOT, SCENE, num_envs=n, threads=1)


def mujoco_threads(n):
    return MujocoWorld(ROBOT, SCENE, num_envs=n, threads=2)


def mujoco_law(n):
    return MujocoWorld(ROBOT, SCENE, num_envs=n, fidelity="law")


def warp(n):
    return WarpWorld(ROBOT, SCENE, num_envs=n, device="cpu")


def warp_cuda(n):
    return WarpWorld(ROBOT, SCENE, num_envs=n, device="cuda:0")


WORLDS = [
    mujoco,
    mujoco_threads,
    mujoco_law,
    pytest.param(warp, marks=needs_warp),
    pytest.param(warp_cuda, marks=[needs_warp, pytest.mark.gpu]),
]


@pytest.fixture(scope="module", params=WORLDS, ids=lambda make: make.__name__)
def build(request):
    """How to make the world under test, for a number of environments."""
    return request.param


@pytest.fixture(scope="module")
def world(build):
    made = build(B)
    yield made
    made.close()


ON_TABLE, ASIDE = (0.5, 0.2, CUBE / 2), (0.55, -0.15, 0.02)


def start(n=B, *, tool=(0.5, 0.0, 0.2), cube=ON_TABLE, pad=ASIDE, probe=(0.0, 0.0, 0.0), width=0.08, fixtures=None):
    """The same start ``n`` times; a place may also be a tensor, one row each."""

    def at(pos, rot):
        return Pose(torch.as_tensor(pos, dtype=torch.float32).expand(n, 3).clone(), rot.expand(n, 3, 3).clone())

    places = {"cube": cube, "pad": pad, "probe": probe, "marker": (0.4, 0.0, 0.0)}
    objects = {name: at(place, torch.eye(3)) for name, place in places.items()}
    return Start(at(tool, DOWN), torch.full((n, 1), width), objects, fixtures or {})


def all_of(world):
    return torch.ones(world.num_envs, dtype=torch.bool, device=world.device)


def begin(world, **where):
    return world.reset(all_of(world), start(world.num_envs, **where))


def hold(reading, *, pos=None, rot=None, width=None):
    """A command: what is in force, with some of it replaced."""
    return Command(
        reading["target_pos"] if pos is None else pos,
        reading["target_rot"] if rot is None else rot,
        reading["gripper_target"] if width is None else torch.full_like(reading["gripper_target"], width),
    )


def run(world, command, steps):
    for _ in range(steps):
        reading = world.step(command)
    return reading


def untouched(world):
    """The newest reading, once more."""
    return world.reset(~all_of(world), start(0))


def same(a, b, rows=slice(None)):
    """Readings agree to the bit; on a GPU, whose sums have no order, to rounding."""
    for name in a:
        if a[name].is_cuda:
            torch.testing.assert_close(a[name][rows], b[name][rows], rtol=1e-4, atol=1e-4, msg=name)
        else:
            assert torch.equal(a[name][rows], b[name][rows]), name


def near(value, expected, atol=1e-6):
    """Whether ``value`` is ``expected``, which may be smaller and elsewhere."""
    return torch.allclose(
        value.cpu(), torch.as_tensor(expected, dtype=value.dtype).cpu().expand(value.shape), atol=atol
    )


def test_is_a_world(world):
    assert isinstance(world, World)
    assert world.num_envs == B
    assert world.robot is ROBOT
    assert world.control_dt == pytest.approx(DT)


def test_reads_exactly_what_it_says_it_provides(world):
    first = begin(world)
    for reading in (first, world.step(hold(first))):
        assert set(reading) == world.provides == set(SHAPES)
        for name, shape in SHAPES.items():
            assert tuple(reading[name].shape) == (B, *shape), name
            assert reading[name].dtype == torch.float32, name
            assert reading[name].device == world.device, name
            assert torch.isfinite(reading[name]).all(), name


def test_starts_where_it_is_told_at_rest(world):
    spread = torch.tensor([[0.5, 0.0, 0.2], [0.45, 0.1, 0.15], [0.6, -0.1, 0.3]])
    below = spread - torch.tensor([0.0, 0.0, 0.1])
    reading = begin(world, tool=spread, cube=below, width=0.05)
    assert near(reading["tcp_pos"], spread, 2e-4)
    assert geometry.distance(reading["tcp_rot"].cpu(), DOWN.expand(B, 3, 3)).max() < 1e-3
    assert near(reading["object.cube.pos"], below)
    assert torch.equal(reading["tracked.cube.pos"], reading["object.cube.pos"])
    assert near(reading["gripper_width"], 0.05)
    for name in ("time", "joint_vel", "tcp_linvel", "tcp_angvel"):
        assert not reading[name].any(), name


def test_a_tool_is_held_as_the_start_says(world):
    held = torch.tensor([[0.0, 0.0, 0.03], [0.01, 0.0, 0.02], [0.0, -0.01, 0.0]])
    reading = run(world, hold(begin(world, probe=held)), 2)
    expected = reading["tcp_pos"] + geometry.rotate(reading["tcp_rot"], held.to(world.device))
    assert near(reading["object.probe.pos"], expected)


def test_the_target_is_seeded_from_the_measured_pose(world):
    moved = run(world, hold(begin(world), pos=torch.full((B, 3), 0.4, device=world.device)), 5)
    assert (moved["target_pos"] - moved["tcp_pos"]).norm(dim=-1).min() > 0.02  # so a stale target would be seen
    reading = begin(world)
    assert near(reading["target_pos"], reading["tcp_pos"])
    assert near(reading["target_rot"], reading["tcp_rot"], 1e-5)
    assert near(reading["gripper_target"], reading["gripper_width"])


def test_a_step_is_one_control_period(world):
    reading = begin(world, cube=(0.5, 0.2, 0.3))
    for k in range(1, 6):
        reading = world.step(hold(reading))
        assert near(reading["time"], k * DT)
    # A falling cube keeps the time as well; sensors may be one physics step old.
    fallen = 0.3 - reading["object.cube.pos"][:, 2]
    assert (fallen > 0.99 * 0.5 * 9.81 * (5 * DT - 0.002) ** 2).all()
    assert (fallen < 1.01 * 0.5 * 9.81 * (5 * DT) ** 2).all()


def test_the_tool_goes_where_it_is_told(world):
    reading = begin(world)
    pos = torch.tensor([[0.45, 0.05, 0.25]], device=world.device).expand(B, 3)
    rot = geometry.exp(torch.tensor([[0.1, -0.1, 0.4]], device=world.device)) @ reading["target_rot"]
    reading = run(world, hold(reading, pos=pos, rot=rot), 60)
    assert (reading["tcp_pos"] - pos).norm(dim=-1).max() < 0.001
    assert geometry.distance(reading["tcp_rot"], rot).max() < math.radians(0.5)
    assert torch.equal(reading["target_pos"], pos)
    assert torch.equal(reading["target_rot"], rot)


def test_a_reset_is_reproducible(world):
    def play():
        readings = [begin(world, cube=(0.5, 0.2, 0.03))]
        for k in range(6):
            newest = readings[-1]
            command = hold(newest, pos=newest["target_pos"] + 0.01 * math.cos(k), width=0.03)
            readings.append(world.step(command))
        return readings

    for a, b in zip(play(), play(), strict=True):
        same(a, b)


def test_a_masked_reset_leaves_the_others_alone(world):
    mask = torch.tensor([False, True, False], device=world.device)

    def play(interrupted):
        first = begin(world, cube=(0.5, 0.2, 0.03))
        command = hold(first, pos=first["target_pos"] + 0.01, width=0.03)
        before = run(world, command, 4)
        if interrupted:
            same(before, world.reset(mask, start(1, tool=(0.45, 0.1, 0.3))), [0, 2])
        return run(world, command, 4)

    undisturbed, disturbed = play(False), play(True)
    same(undisturbed, disturbed, [0, 2])
    assert near(disturbed["time"][1], 4 * DT)
    assert (disturbed["tcp_pos"][1] - undisturbed["tcp_pos"][1]).norm() > 0.05


def test_to_carry_on_moves_nothing_and_begins_the_time_anew(world, build):
    fresh = build(1)
    with pytest.raises(UserError, match="reset"):
        fresh.carry_on(torch.tensor([True], device=fresh.device))
    fresh.close()
    mask = torch.tensor([True, False, True], device=world.device)
    command = hold(begin(world), pos=torch.full((B, 3), 0.4, device=world.device), width=0.03)
    before = run(world, command, 4)
    after = world.carry_on(mask)
    assert set(after) == set(before)
    for name in before:
        if name != "time":
            assert torch.equal(after[name], before[name]), name
    assert near(after["time"], torch.tensor([[0.0], [4 * DT], [0.0]]))
    disturbed = run(world, command, 3)
    assert near(disturbed["time"], torch.tensor([[3 * DT], [7 * DT], [3 * DT]]))
    command = hold(begin(world), pos=torch.full((B, 3), 0.4, device=world.device), width=0.03)
    undisturbed = run(world, command, 7)
    same({**undisturbed, "time": disturbed["time"]}, disturbed)


def test_a_batch_of_one_does_what_a_row_of_many_does(world, build):
    single = build(1)
    readings = []
    for each in (single, world):
        reading = begin(each)
        readings.append(run(each, hold(reading, pos=reading["target_pos"] + 0.01, width=0.02), 5))
    single.close()
    for name in SHAPES:
        assert near(readings[0][name][0], readings[1][name][1], 1e-4), name


def test_a_reading_stays_what_it_was(world):
    reading = begin(world)
    for _ in range(2):
        kept = {name: value.clone() for name, value in reading.items()}
        newer = world.step(hold(reading, pos=reading["target_pos"] + 0.02, width=0.03))
        begin(world, tool=(0.45, 0.1, 0.3))
        assert all(torch.equal(kept[name], reading[name]) for name in kept)
        reading = newer


def test_the_workspace_limits_the_target(world):
    reading = begin(world)
    outside = torch.tensor([[9.0, 0.0, 0.2], [0.5, -9.0, 0.2], [0.5, 0.0, -9.0]], device=world.device)
    reading = world.step(hold(reading, pos=outside))
    low, high = torch.tensor(ROBOT.workspace_low), torch.tensor(ROBOT.workspace_high)
    assert torch.equal(reading["target_pos"].cpu(), torch.clamp(outside.cpu(), low, high))


@pytest.mark.parametrize("field", ["pos", "rot", "gripper"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_command_that_is_not_finite_is_refused_and_nothing_moves(world, field, value):
    reading = begin(world)
    reading = world.step(hold(reading, pos=reading["target_pos"] + 0.01))
    command = hold(reading)
    spoilt = getattr(command, field).clone()
    spoilt[1].view(-1)[0] = value
    with pytest.raises(InvalidAction, match=r"env \[1\]"):
        world.step(dataclasses.replace(command, **{field: spoilt}))
    same(reading, untouched(world))
    assert near(world.step(command)["time"], 2 * DT)


def test_a_start_out_of_reach_is_refused_and_nothing_moves(world):
    reading = begin(world)
    with pytest.raises(UserError, match=r"start\.tool: panda cannot reach \[2\.0, 0\.0, 0\.2\]"):
        world.reset(all_of(world), start(tool=torch.tensor([[0.5, 0.0, 0.2], [2.0, 0.0, 0.2], [0.5, 0.0, 0.2]])))
    same(reading, untouched(world))


def test_a_start_for_another_number_of_environments_is_refused(world):
    with pytest.raises(UserError, match="has 2 rows, but 3 environments"):
        world.reset(all_of(world), start(2))


def test_a_fixture_is_read_where_the_calibration_claims_it(world):
    true = torch.tensor([0.55, -0.15, 0.02])
    claimed = Pose(true + torch.tensor([[0.001, 0.0, 0.002]]).expand(B, 3), geometry.yaw(torch.full((B,), 0.01)))
    reading = world.step(hold(begin(world, pad=true, fixtures={"pad": claimed})))
    assert near(reading["fixture.pad.pos"], claimed.pos)
    assert near(reading["fixture.pad.rot"], claimed.rot)
    assert near(reading["object.pad.pos"], true)
    assert near(begin(world, pad=true)["fixture.pad.pos"], true)


def test_a_calibrated_object_that_nobody_places_is_refused(world):
    complete = start()
    objects = {name: pose for name, pose in complete.objects.items() if name != "pad"}
    with pytest.raises(UserError, match=r"start\.fixtures.*'pad'"):
        world.reset(all_of(world), dataclasses.replace(complete, objects=objects))


def test_no_force_is_felt_in_free_space(world):
    reading = begin(world)
    rot = geometry.exp(torch.tensor([[0.3, 0.2, 0.0]], device=world.device)) @ reading["target_rot"]
    reading = run(world, hold(reading, rot=rot), 50)  # tilted, so that a wrong weight or lever would be seen
    assert reading["tcp_force"].abs().max() < 0.05
    assert reading["tcp_torque"].abs().max() < 0.01


def test_what_is_pressed_presses_back_where_it_truly_stands(world):
    heights = torch.tensor([0.02, 0.05, 0.08])
    pads = torch.stack([torch.full((B,), 0.5), torch.zeros(B), heights], dim=-1)
    reading = begin(world, tool=pads + torch.tensor([0.0, 0.0, 0.02]), pad=pads, width=0.0)
    surface = heights.to(world.device)
    pressing = reading["tcp_pos"].clone()
    pressing[:, 2] = surface
    reading = run(world, hold(reading, pos=pressing), 60)
    standing = reading["tcp_pos"][:, 2] - surface
    assert near(standing, FINGERTIP, 0.001)
    spring = GAINS.stiffness * standing
    assert (spring > 10.0).all()
    assert torch.allclose(reading["tcp_force"][:, 2], spring, rtol=0.03), "the pad pushes the tool up"
    assert (reading["tcp_force"][:, :2].abs() < 0.3 * spring[:, None]).all()  # what friction holds back


def test_what_is_held_weighs_on_the_tool(world):
    here = (0.5, 0.0, 0.2)
    reading = begin(world, tool=here, cube=here, width=CUBE + 0.001)
    reading = run(world, hold(reading, width=0.0), 40)
    assert (reading["object.cube.pos"] - reading["tcp_pos"]).norm(dim=-1).max() < 0.003
    assert near(reading["gripper_width"], CUBE, 0.003)
    assert near(reading["tcp_force"][:, 2], -9.81 * CUBE_MASS, 0.1)


def test_the_gripper_opens_and_closes(world):
    reading = begin(world, width=0.03)
    for width in (0.0, 0.03, 0.05, 0.08):
        reading = run(world, hold(reading, width=width), 20)
        assert near(reading["gripper_width"], width, 0.001)
        assert near(reading["gripper_target"], width)


def test_closing_twice_does_no_harm(build):
    made = build(1)
    begin(made)
    made.close()
    made.close()
