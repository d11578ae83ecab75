"""Backbones learned from a simulator's pictures: regress where things are.

Pictures are taken along the scripted expert's motion, disturbed by random actions, mostly weak ones, from the task's
own random starts. What is regressed are positions and orientations: of the objects in the tool's frame for a camera on
the tool, of the tool and the objects in the base frame for a camera that stands still. Either frame is fixed to the
camera. Images are shifted at random while the poses stay, so that what is learned leans on what is in the picture, not
on where the picture's edge is.

What learners get of ``keypoints`` are the poses of the objects, as :func:`with_code` puts them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import smooth_l1_loss

from robo_rl.agents.augmentation import Augmentation
from robo_rl.agents.backbones import Backbone, BackboneSpec, Keypoints, draw_weights
from robo_rl.agents.encoder_weights import EncoderWeights, weights_of
from robo_rl.agents.encoders import IMAGE_FEATURES, ImageHead
from robo_rl.errors import UserError

TOOL = "tool"
"""What the tool is called among the bodies that a camera sees."""

_STRIDE = 4  # control steps between two pictures of one environment
_NEW_EPISODE = 0.04  # share of the steps after which an episode is cut
_HELD_OUT = 10  # of so many episodes, one is held out
_SMALLEST = 0.005  # m; what varies by less counts no more than what varies by this
_BETA = 0.02  # of smooth L1 losses; poses are to be found far more exactly than they spread
_TURN = 0.2  # what entries of a rotation matrix are measured by
WAVELENGTHS = (0.02, 0.08)
"""Of the sines in codes, m."""


@dataclass(frozen=True)
class Views:
    """N pictures of one camera, and the poses of n bodies in a frame that is fixed to it.

    Attributes:
        images: (N, H, W, 3) uint8.
        bodies: names of the bodies.
        positions: (N, n, 3) m.
        rotations: (N, n, 3, 3).
        held_out: (N,) bool; whole episodes are held out.
    """

    images: Tensor
    bodies: tuple[str, ...]
    positions: Tensor
    rotations: Tensor
    held_out: Tensor


def take_pictures(
    env: Any,
    count: int,
    *,
    randomise: float = 0.0,
    seed: int = 0,
    should_stop: Callable[[], bool] = lambda: False,
) -> dict[str, Views]:
    """Take ``count`` pictures with each camera of a task, by observation key.

    Args:
        env: an environment in a simulator; its cameras need not be observed.
        count: pictures of each camera.
        randomise: how much colours, lights and mountings of the cameras vary, 0 to 1.
        seed: of the actions and of the looks.
        should_stop: asked at every step; once true, no more are taken.

    Raises:
        UserError: if the task has no camera, or nothing but the tool to look at, or looks cannot be varied.
    """
    cameras = env.task.scene().cameras
    if not cameras:
        raise UserError(f"task {env.task.name!r} has no camera; there is nothing to learn an encoder from")
    generator = torch.Generator().manual_seed(seed)
    looks = np.random.default_rng(seed)
    if randomise and not hasattr(env.world, "vary_looks"):
        raise UserError(f"randomise: {type(env.world).__name__} cannot vary its looks; leave it out")
    n, size = env.num_envs, (env.num_envs, *env.action_space.shape)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator)

    env.reset()
    strength, wander = uniform(n, 1).square(), 2.0 * uniform(*size) - 1.0
    episode = torch.arange(n)
    images: dict[str, list[Tensor]] = {camera.name: [] for camera in cameras}
    poses: list[dict[str, Tensor]] = []
    numbers: list[Tensor] = []
    while len(numbers) * n < count and not (numbers and should_stop()):
        if randomise:
            env.world.vary_looks(looks, randomise)
        for _ in range(_STRIDE):
            step = env.step(((1.0 - strength) * _expert(env) + strength * wander).to(env.device))
            turn = uniform(n, 1) < 0.3
            wander = torch.where(turn, 2.0 * uniform(*size) - 1.0, wander)
            over = step.done.cpu() | (uniform(n) < _NEW_EPISODE)
            if bool(over.any()):
                env.reset(over.to(env.device))
                strength = torch.where(over[:, None], uniform(n, 1).square(), strength)
                episode = torch.where(over, int(episode.max()) + 1 + torch.arange(n), episode)
        for camera in cameras:
            seen = [torch.from_numpy(env.render(camera.name, i, camera.width, camera.height)) for i in range(n)]
            images[camera.name].append(torch.stack(seen))
        poses.append({name: value.cpu().clone() for name, value in env.reading.items() if _is_pose(name)})
        numbers.append(episode)
    held_out = torch.cat(numbers) % _HELD_OUT == 0
    reading = {name: torch.cat([each[name] for each in poses]) for name in poses[0]}
    views = {}
    for camera in cameras:
        bodies, positions, rotations = poses_seen(reading, on_tool=camera.on_tool)
        pictures = torch.cat(images[camera.name])
        key = f"camera.{camera.name}.rgb"
        views[key] = Views(pictures, bodies, positions, rotations, held_out)
    return views


def poses_seen(reading: Mapping[str, Tensor], *, on_tool: bool) -> tuple[tuple[str, ...], Tensor, Tensor]:
    """Return the bodies that a camera sees and their poses, positions (N, n, 3) and rotations (N, n, 3, 3).

    Args:
        reading: of N instants, with the privileged poses.
        on_tool: whether the camera is carried: poses are then in the tool's frame, ``T_tool_object``, otherwise in the
            base frame, the tool's among them.

    Raises:
        UserError: if there is nothing to see.
    """
    names = sorted(name.split(".")[1] for name in reading if name.startswith("object.") and name.endswith(".pos"))
    tool, rot = reading["tcp_pos"], reading["tcp_rot"]
    positions = [reading[f"object.{name}.pos"] for name in names]
    rotations = [reading[f"object.{name}.rot"] for name in names]
    if on_tool:
        positions = [((pos - tool)[:, None] @ rot)[:, 0] for pos in positions]
        rotations = [rot.mT @ each for each in rotations]
    else:
        names, positions, rotations = [TOOL, *names], [tool, *positions], [rot, *rotations]
    if not names:
        raise UserError("the task has no object that a camera on the tool could see")
    return tuple(names), torch.stack(positions, dim=1), torch.stack(rotations, dim=1)


def learn_encoder(
    views: Mapping[str, Views],
    *,
    architecture: str,
    updates: int,
    batch_size: int,
    learning_rate: float,
    augment: Augmentation,
    seed: int = 0,
    device: str = "cpu",
    notes: Mapping[str, Any] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
    on_update: Callable[[int, float], None] = lambda update, loss: None,
) -> tuple[EncoderWeights, dict[str, dict[str, float]]]:
    """Learn a backbone for each camera.

    Args:
        views: what each camera saw, by observation key.
        architecture: one of :data:`robo_rl.agents.backbones.ARCHITECTURES`.
        updates: gradient steps.
        batch_size: pictures of each camera in one of them.
        learning_rate: of AdamW at its highest; it follows one cosine cycle.
        augment: of the pictures.
        seed: of weights, draws and augmentation.
        device: where it learns.
        notes: kept with the weights.
        should_stop: asked before every update; once true, learning ends.
        on_update: told the number of updates and the loss.

    Returns:
        The weights, and the mean error of each body's position over the held-out pictures, mm, by camera and body.

    Raises:
        UserError: if there are too few pictures.
    """
    held_out = next(iter(views.values())).held_out
    rows = (~held_out).nonzero()[:, 0]
    if len(rows) == 0 or not bool(held_out.any()):
        raise UserError(f"images: {len(held_out)} are too few to hold some out; take more")
    initial = torch.Generator().manual_seed(seed)
    generator = torch.Generator().manual_seed(seed + 1)
    sample = torch.cat([view.images[rows[:200]].flatten(0, 2) for view in views.values()]).float() / 255.0
    mean, std = sample.mean(0), sample.std(0).clamp_min(0.05)
    models = {}
    for key, view in views.items():
        size = (view.images.shape[1], view.images.shape[2])
        spec = BackboneSpec(architecture, size, tuple(mean.tolist()), tuple(std.tolist()))
        models[key] = PoseModel(Backbone(spec, initial), view, rows, initial).to(device)
    parameters = [parameter for model in models.values() for parameter in model.parameters()]
    optimiser = torch.optim.AdamW(parameters, learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, learning_rate, total_steps=max(updates, 2), pct_start=0.1)
    for update in range(1, updates + 1):
        if should_stop():
            break
        batch = rows[torch.randint(len(rows), (batch_size,), generator=generator)]
        losses = []
        for key, model in models.items():
            images = augment.images(views[key].images[batch], generator).to(device)
            losses.append(model.loss(images, views[key], batch))
        loss = torch.stack(losses).sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        on_update(update, loss.item())
    errors = {key: model.errors(views[key]) for key, model in models.items()}
    told = {**(notes or {}), "error_mm": errors, "random_shift": augment.shift}
    some = rows[torch.randint(len(rows), (256,), generator=generator)]
    backbones = {key: with_code(model, views[key].images[some].to(device)) for key, model in models.items()}
    return weights_of(backbones, told), errors


@torch.no_grad()
def with_code(model: PoseModel, images: Tensor) -> Backbone:
    """Return a backbone whose code is made of the poses that ``model`` finds; one without a code as it is.

    Of each object (of the tool, where there is none), seen from the tool: position (3) and rotation (6), scaled to mean
    0 and variance 1 over ``images``; and the sine and cosine of the position's entries times 2 pi by each of
    :data:`WAVELENGTHS`, so that a millimetre makes a difference however far positions spread (as positional encodings
    do, Tancik et al. 2020).

    Args:
        model: that has learned.
        images: (N, H, W, 3) uint8.
    """
    if not isinstance(model.backbone.net, Keypoints):
        return model.backbone
    layer: Any = model.backbone.net.code[-1]
    # Entries of the code are affine in what the readout says, (n, 9): positions (3) over their spread, rotations (6).
    bodies, n = model.bodies, len(model.bodies)
    told = [i for i, name in enumerate(bodies) if name != TOOL] or [bodies.index(TOOL)]
    plain, phases = [], []
    for i in told:
        position, middle = torch.zeros(3, n, 9), model.middle[i].cpu().clone()
        position[:, i, :3] = model.spread[i].cpu() * torch.eye(3)
        if TOOL in bodies and bodies[i] != TOOL:
            tool = bodies.index(TOOL)
            position[:, tool, :3] = -model.spread[tool].cpu() * torch.eye(3)
            middle -= model.middle[tool].cpu()
        turn = torch.zeros(6, n, 9)
        turn[:, i, 3:] = torch.eye(6)
        plain += [(position.flatten(1), middle), (turn.flatten(1), torch.zeros(6))]
        for length in WAVELENGTHS:
            rate = 2.0 * math.pi / length
            phases += [(rate * position.flatten(1), rate * middle + shift) for shift in (0.0, math.pi / 2)]
    matrix, offset = (torch.cat(parts).to(images.device) for parts in zip(*plain, *phases, strict=True))
    code = (9 * len(told), len(matrix) - 9 * len(told))
    backbone = Backbone(replace(model.backbone.spec, code=code)).to(images.device)
    state = dict(model.backbone.net.state_dict())
    readout = model.readout
    last = f"code.{len(model.backbone.net.code) - 1}"
    state[f"{last}.weight"] = matrix @ readout.weight @ layer.weight
    state[f"{last}.bias"] = matrix @ (readout.weight @ layer.bias + readout.bias) + offset
    backbone.net.load_state_dict(state)
    standardise(backbone, images)
    return backbone


@torch.no_grad()
def standardise(backbone: Backbone, images: Tensor) -> None:
    """Scale and shift the last layer of a :class:`Keypoints` backbone so that its code has mean 0 and variance 1.

    Learners then begin with every entry of the code at one size, and float16 is precise where it varies. Entries whose
    sine is taken are left as they are.

    Args:
        backbone: to change.
        images: (N, H, W, 3) uint8, over which it has these moments.
    """
    plain = backbone.spec.code[0]
    layer = backbone.net.get_submodule("code")[-1]  # type: ignore[index]
    code = torch.cat([backbone(part) for part in images.split(64)]).flatten(1)[:, :plain]
    std, mean = torch.std_mean(code, dim=0)
    std = std.clamp_min(1e-3)
    layer.weight[:plain].div_(std[:, None])
    layer.bias[:plain].sub_(mean).div_(std)


class PoseModel(nn.Module):
    """A backbone, and poses read from its map: linearly from a map of one place, through an image head from others."""

    def __init__(self, backbone: Backbone, view: Views, rows: Tensor, generator: torch.Generator) -> None:
        super().__init__()
        self.backbone, self.bodies = backbone, view.bodies
        n = len(view.bodies)
        channels, height, width = backbone.map_shape
        self.head: nn.Module = nn.Flatten()
        if height * width > 1:
            self.head, channels = ImageHead(backbone.map_shape, generator), IMAGE_FEATURES
        self.readout = nn.Linear(channels, 9 * n)
        draw_weights(self.readout, generator)
        positions, turns = view.positions[rows], _turns(view.rotations[rows])
        self.middle: Tensor
        self.spread: Tensor
        self.turn: Tensor
        self.register_buffer("middle", positions.mean(0))  # (n, 3)
        self.register_buffer("spread", positions.var(0).mean(-1, keepdim=True).sqrt().clamp_min(_SMALLEST))  # (n, 1)
        self.register_buffer("turn", turns.mean(0))  # (n, 6)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return positions (B, n, 3) over their spread and the rotations' columns (B, n, 6), both off their means."""
        found = self.readout(self.head(self.backbone(images))).unflatten(1, (-1, 9))
        return found[..., :3], found[..., 3:]

    def loss(self, images: Tensor, view: Views, rows: Tensor) -> Tensor:
        """Return the mean loss over the pictures ``rows``, which ``images`` (B, H, W, 3) shows, augmented."""
        position, turn = self(images)
        where = (view.positions[rows].to(self.middle) - self.middle) / self.spread
        turned = (_turns(view.rotations[rows]).to(self.turn) - self.turn) / _TURN
        return smooth_l1_loss(position, where, beta=_BETA) + smooth_l1_loss(turn, turned, beta=_BETA)

    @torch.no_grad()
    def errors(self, view: Views) -> dict[str, float]:
        """Return the mean distance, mm, of each body's found position from its true one over the held-out pictures."""
        rows = view.held_out.nonzero()[:, 0]
        found = torch.cat([self(view.images[part].to(self.middle.device))[0] for part in rows.split(64)])
        off = (found * self.spread + self.middle).cpu() - view.positions[rows]
        distance = 1000.0 * off.norm(dim=-1).mean(0)
        return {name: round(value, 3) for name, value in zip(view.bodies, distance.tolist(), strict=True)}


def _turns(rotations: Tensor) -> Tensor:
    """First two columns (N, n, 6) of rotations (N, n, 3, 3): continuous, unlike angles (Zhou et al. 2019)."""
    return rotations[..., :2].flatten(-2)


def _is_pose(name: str) -> bool:
    return name.startswith("object.") or name in ("tcp_pos", "tcp_rot")


def _expert(env: Any) -> Tensor:
    """What the scripted expert would do, (B, A); nothing where there is none."""
    try:
        return env.expert_action().cpu()
    except UserError:
        return torch.zeros(env.num_envs, *env.action_space.shape)
