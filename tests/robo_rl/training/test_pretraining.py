import types
from math import pi

import numpy as np
import pytest
import torch

from robo_rl import geometry
from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone, BackboneSpec
from robo_rl.contracts import CameraSpec, Reading
from robo_rl.contracts.learning import Step
from robo_rl.errors import UserError
from robo_rl.training.pretraining import (
    TOOL,
    WAVELENGTHS,
    PoseModel,
    Views,
    learn_encoder,
    poses_seen,
    standardise,
    take_pictures,
    with_code,
)

SIZE = 24


def test_poses_are_seen_in_the_frame_that_the_camera_is_fixed_to():
    """The tool at (1, 0, 0), turned by 90 degrees about z; a ball 0.2 m from it along the base's y: along its own x."""
    quarter = geometry.yaw(torch.tensor([pi / 2]))
    reading = {
        "tcp_pos": torch.tensor([[1.0, 0.0, 0.0]]), "tcp_rot": quarter,
        "object.ball.pos": torch.tensor([[1.0, 0.2, 0.0]]), "object.ball.rot": torch.eye(3)[None],
    }  # fmt: skip
    bodies, positions, rotations = poses_seen(reading, on_tool=True)
    assert bodies == ("ball",)
    torch.testing.assert_close(positions[0], torch.tensor([[0.2, 0.0, 0.0]]))
    torch.testing.assert_close(rotations[0, 0], quarter[0].mT)
    bodies, positions, rotations = poses_seen(reading, on_tool=False)
    assert bodies == ("tool", "ball")
    torch.testing.assert_close(positions[0], torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.2, 0.0]]))
    torch.testing.assert_close(rotations[0, 0], quarter[0])
    with pytest.raises(UserError, match="no object that a camera on the tool could see"):
        poses_seen({"tcp_pos": torch.zeros(1, 3), "tcp_rot": quarter}, on_tool=True)


def dots(n: int, seed: int = 0) -> Views:
    """A bright square that stands where the body is: 100 mm are the picture's width."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.randint(3, SIZE - 3, (n, 2), generator=generator)
    images = torch.randint(40, (n, SIZE, SIZE, 3), generator=generator, dtype=torch.uint8)
    for i, (x, y) in enumerate(place.tolist()):
        images[i, y - 2 : y + 3, x - 2 : x + 3] = 220
    position = torch.cat([place * (0.1 / SIZE), torch.zeros(n, 1)], dim=1)
    return Views(images, ("square",), position[:, None], torch.eye(3).repeat(n, 1, 1, 1), torch.arange(n) % 5 == 0)


def learn(view: Views, architecture: str, updates: int):
    return learn_encoder(
        {"camera.top.rgb": view}, architecture=architecture, updates=updates, batch_size=32, learning_rate=3e-3,
        augment=Augmentation(shift=0), notes={"task": "dots"},
    )  # fmt: skip


def test_learns_where_a_body_is_and_says_how_well():
    view = dots(400)
    weights, errors = learn(view, "keypoints", 120)
    error = errors["camera.top.rgb"]["square"]
    held_out = view.positions[view.held_out]
    guess = 1000 * (held_out - view.positions[~view.held_out].mean(0)).norm(dim=-1).mean().item()
    assert guess > 25
    assert error < 0.4 * guess
    assert weights.notes == {"task": "dots", "error_mm": errors, "random_shift": 0}
    assert weights.spec.size == (SIZE, SIZE)
    # A place in the picture that the poses do not belong to cannot be learned.
    wrong = Views(view.images.roll(7, 0), view.bodies, view.positions, view.rotations, view.held_out)
    _, errors = learn(wrong, "keypoints", 120)
    assert errors["camera.top.rgb"]["square"] > 0.8 * guess


def test_maps_are_read_through_the_learner_s_own_head_and_the_seed_decides():
    first, second = (learn(dots(40), "conv", 3)[0] for _ in range(2))
    assert first.tensors.keys() == second.tensors.keys()
    assert all(torch.equal(value, second.tensors[name]) for name, value in first.tensors.items())
    assert first.backbone("camera.top.rgb", (SIZE, SIZE)).map_shape == (32, 3, 3)


class Lab:
    """A ball somewhere in front of a tool that follows the actions."""

    device = torch.device("cpu")
    num_envs = 4
    action_space = types.SimpleNamespace(shape=(3,))

    def __init__(self, cameras):
        self.task = types.SimpleNamespace(name="lab", scene=lambda: types.SimpleNamespace(cameras=cameras))
        self.world = types.SimpleNamespace()
        self.generator = torch.Generator().manual_seed(0)
        self.tool = self.ball = torch.zeros(4, 3)
        self.drawn: list[tuple[str, int, int, int]] = []
        self.resets = 0

    @property
    def reading(self):
        one = torch.eye(3).repeat(4, 1, 1)
        return Reading({"tcp_pos": self.tool, "tcp_rot": one, "object.ball.pos": self.ball, "object.ball.rot": one,
                        "time": torch.zeros(4, 1)})  # fmt: skip

    def reset(self, mask=None):
        mask = torch.ones(4, dtype=torch.bool) if mask is None else mask
        self.resets += int(mask.sum())
        ball = torch.rand(4, 3, generator=self.generator)
        self.ball = torch.where(mask[:, None], ball, self.ball)

    def step(self, action):
        self.tool = self.tool + 0.1 * action
        never = torch.zeros(4, dtype=torch.bool)
        return Step({}, torch.zeros(4), never, never, {})

    def expert_action(self):
        raise UserError("no expert here")

    def render(self, camera, index, width, height):
        self.drawn.append((camera, index, width, height))
        return np.full((height, width, 3), int(100 * self.ball[index, 0]), np.uint8)


def test_pictures_and_poses_are_of_one_instant_and_whole_episodes_are_held_out():
    cameras = (CameraSpec("top", (0, 0, 1), (0, 0, 0), width=8, height=6),
               CameraSpec("hand", (0, 0, 0), (0, 0, 1), width=4, height=4, on_tool=True))  # fmt: skip
    env = Lab(cameras)
    views = take_pictures(env, 400)
    top, hand = views["camera.top.rgb"], views["camera.hand.rgb"]
    assert top.images.shape == (400, 6, 8, 3)
    assert hand.images.shape == (400, 4, 4, 3)
    assert top.bodies == ("tool", "ball")
    assert torch.equal(top.images[:, 0, 0, 0], (100 * top.positions[:, 1, 0]).to(torch.uint8))
    torch.testing.assert_close(hand.positions[:, 0], top.positions[:, 1] - top.positions[:, 0])
    assert env.resets > 20  # many starts
    held_out, other = top.positions[top.held_out, 1], top.positions[~top.held_out, 1]
    assert 10 < len(held_out) < 100
    assert not (held_out[:, None] == other).all(-1).any()  # no start is in both


def test_looks_are_varied_before_every_picture_where_that_is_asked_for():
    cameras = (CameraSpec("top", (0, 0, 1), (0, 0, 0), width=8, height=6),)
    env, drawn = Lab(cameras), []
    with pytest.raises(UserError, match="randomise: SimpleNamespace cannot vary its looks"):
        take_pictures(env, 10, randomise=0.5)
    env.world.vary_looks = lambda rng, strength: drawn.append((rng.random(), strength))
    take_pictures(env, 20, randomise=0.5)
    assert [strength for _, strength in drawn] == [0.5] * 5  # pictures of four environments at a time
    assert len({number for number, _ in drawn}) == 5
    take_pictures(env, 20)
    assert len(drawn) == 5


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(UserError, match="task 'lab' has no camera"):
        take_pictures(Lab(()), 10)
    few = dots(3)
    few = Views(few.images, few.bodies, few.positions, few.rotations, torch.zeros(3, dtype=torch.bool))
    with pytest.raises(UserError, match="images: 3 are too few"):
        learn(few, "conv", 1)


def test_a_standardised_code_has_one_size_and_tells_the_same():
    net = Backbone(BackboneSpec("keypoints", (SIZE, SIZE)), torch.Generator().manual_seed(0))
    images = dots(60).images
    with torch.no_grad():
        before = net(images).flatten(1)
        standardise(net, images)
        after = net(images).flatten(1)
    std, mean = torch.std_mean(after, dim=0)
    torch.testing.assert_close(std, torch.ones(64), rtol=0, atol=1e-3)
    torch.testing.assert_close(mean, torch.zeros(64), rtol=0, atol=1e-3)
    # Each entry is the one from before, scaled and shifted.
    spread = before.std(0)
    torch.testing.assert_close(after * spread + before.mean(0), before, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("bodies", [("square",), (TOOL, "square"), (TOOL,)])
def test_the_code_tells_where_objects_are_from_the_tool_to_a_millimetre(bodies):
    """From a fixed camera, which finds either in the base frame, by the difference; sines magnify it."""
    view = dots(60)
    n = len(bodies)
    positions = torch.cat([view.positions] * n, dim=1) * torch.linspace(1.0, 0.5, n)[:, None]
    turns = geometry.yaw(torch.linspace(0.0, 1.0, 60 * n)).unflatten(0, (60, n))
    view = Views(view.images, bodies, positions, turns, view.held_out)
    drawn = torch.Generator().manual_seed(0)
    rows = torch.arange(60)
    model = PoseModel(Backbone(BackboneSpec("keypoints", (SIZE, SIZE)), drawn), view, rows, drawn)
    backbone = with_code(model, view.images)
    assert backbone.map_shape == (9 + 6 * len(WAVELENGTHS), 1, 1)
    with torch.no_grad():
        code = backbone(view.images).flatten(1)
        found = model(view.images)[0] * model.spread + model.middle
    where = found[:, bodies.index(bodies[-1])]
    if bodies == (TOOL, "square"):
        where = where - found[:, 0]
    scaled = (where - where.mean(0)) / where.std(0)
    torch.testing.assert_close(code[:, :3], scaled, rtol=1e-2, atol=1e-2)
    for i, length in enumerate(WAVELENGTHS):
        phase = 2 * pi * where / length
        expected = torch.cat([phase.sin(), phase.cos()], dim=1)
        torch.testing.assert_close(code[:, 9 + 6 * i : 15 + 6 * i], expected, rtol=1e-2, atol=1e-2)
    assert (code[:, 3:9].std(0) - 1.0).abs().max() < 1e-2


def test_maps_are_not_made_a_code_of():
    view, drawn = dots(20), torch.Generator().manual_seed(0)
    model = PoseModel(Backbone(BackboneSpec("conv", (SIZE, SIZE)), drawn), view, torch.arange(20), drawn)
    assert with_code(model, view.images) is model.backbone
