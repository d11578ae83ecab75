"""Any Gymnasium environment with a box of actions, stepped by the same loop as ours."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import re
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from envs.registry import import_here
from robo_rl.contracts.learning import Step
from robo_rl.errors import InvalidAction, MissingExtra, UserError

if TYPE_CHECKING:
    from robo_rl.contracts.learning import Obs

GOAL_KEYS = frozenset({"observation", "achieved_goal", "desired_goal"})
_SUCCESS_KEYS = ("success", "is_success")
_ROBOTICS = ("Fetch", "HandManipulate", "HandReach", "Adroit", "FrankaKitchen", "PointMaze", "AntMaze")


class ForeignEnv:
    """Several copies of a Gymnasium environment as one :class:`~robo_rl.contracts.learning.BatchedEnv`.

    Actions are in [-1, 1] and are mapped to the environment's bounds. A box observation becomes ``{"state": ...}``, a
    dictionary keeps its keys, numbers become float32 and images stay uint8. Nothing resets by itself: a copy whose
    episode is over stands still (its last observation, reward 0) until :meth:`reset` begins a new one.

    Each episode is begun with a seed of its own, drawn from :meth:`seed` and counted in order, so that its start does
    not depend on what was done before it.

    Attributes:
        num_envs: copies, stepped one after the other in this process.
        device: the CPU.
        observation_space: of one copy, a ``Dict`` of boxes.
        action_space: of one copy, a flat box of [-1, 1].
        horizon: steps after which the environment cuts an episode.
        is_goal_env: whether it observes ``observation``, ``achieved_goal`` and ``desired_goal``.
        has_success: whether its ``info`` ever told success; while false, ``info["success"]`` is false throughout.

    Args:
        make: builds one copy.
        num_envs: how many.
        seed: of the starts.
        horizon: overrides the one registered with the environment; needed where there is none.

    Raises:
        UserError: if actions are no bounded box, observations are no boxes, or there is no horizon.
    """

    def __init__(
        self, make: Callable[[], gymnasium.Env], num_envs: int = 1, *, seed: int = 0, horizon: int | None = None
    ) -> None:
        self._copies = [make() for _ in range(num_envs)]
        first = self._copies[0]
        self.name = first.spec.id if first.spec is not None else type(first.unwrapped).__name__
        self.num_envs = num_envs
        self.device = torch.device("cpu")
        self._low, self._high = _bounds(first.action_space, self.name)
        self._action_shape, self._action_dtype = first.action_space.shape, first.action_space.dtype
        self.action_space = spaces.Box(-1.0, 1.0, (self._low.size,), np.float32)
        self.observation_space = _observation_space(first.observation_space, self.name)
        self.is_goal_env = frozenset(self.observation_space.spaces) == GOAL_KEYS
        self.horizon = horizon or _registered_horizon(first, self.name)
        self.has_success = False
        self._obs = {
            key: np.zeros((num_envs, *(space.shape or ())), space.dtype)
            for key, space in self.observation_space.spaces.items()
        }
        self._length = np.zeros(num_envs, np.int64)
        self._over = np.zeros((2, num_envs), bool)  # terminated, truncated
        self._success = np.zeros(num_envs, bool)
        self.seed(seed)
        self._look_for_success()

    def seed(self, seed: int) -> None:
        """Make the starts to come a function of ``seed``."""
        self._seed, self._episodes = seed, 0

    def reset(self, mask: torch.Tensor | None = None, *, seeds: Sequence[int] | None = None) -> Obs:
        """Begin new episodes.

        Args:
            mask: (B,) bool, where; everywhere if None.
            seeds: one for each new episode, in the order of its rows; drawn from :meth:`seed` if None.

        Returns:
            The observations of all copies, each (B, ...).
        """
        rows = range(self.num_envs) if mask is None else mask.nonzero()[:, 0].tolist()
        if seeds is not None and len(seeds) != len(rows):
            raise ValueError(f"{len(rows)} episodes begin but {len(seeds)} seeds are given")
        for n, i in enumerate(rows):
            seed = self._next_seed() if seeds is None else int(seeds[n]) % 2**32
            obs, _ = self._copies[i].reset(seed=seed)
            self._store(i, obs)
            self._length[i], self._over[:, i], self._success[i] = 0, False, False
        return self._observations()

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (B, A) in each copy whose episode goes on.

        Raises:
            InvalidAction: if the action has the wrong shape or is not finite.
        """
        if tuple(action.shape) != (self.num_envs, self._low.size):
            raise InvalidAction(f"action: expected shape {(self.num_envs, self._low.size)}, got {tuple(action.shape)}")
        if not bool(torch.isfinite(action).all()):
            raise InvalidAction("action: not finite")
        executed = action.detach().to(torch.float32).clamp(-1.0, 1.0)
        fraction = (executed.numpy().astype(np.float64) + 1.0) / 2.0
        commands = (self._low + fraction * (self._high - self._low)).astype(self._action_dtype)
        reward = np.zeros(self.num_envs, np.float32)
        for i in np.flatnonzero(~self._over.any(axis=0)).tolist():
            obs, reward[i], terminated, truncated, info = self._copies[i].step(commands[i].reshape(self._action_shape))
            self._store(i, obs)
            self._length[i] += 1
            cut = truncated or self._length[i] >= self.horizon
            self._over[:, i] = terminated, cut and not terminated
            self._success[i] = self._read_success(info)
        terminated_rows, truncated_rows = torch.from_numpy(self._over.copy())
        return Step(
            obs=self._observations(),
            reward=torch.from_numpy(reward),
            terminated=terminated_rows,
            truncated=truncated_rows,
            info={"success": torch.from_numpy(self._success.copy()), "executed_action": executed},
        )

    def compute_reward(self, achieved_goal: torch.Tensor, desired_goal: torch.Tensor) -> torch.Tensor:
        """Return what reaching ``achieved_goal`` (N, G) is worth when ``desired_goal`` (N, G) was asked for, (N,).

        Raises:
            UserError: if the environment has no goals.
        """
        rewarded = getattr(self._copies[0].unwrapped, "compute_reward", None)
        if not self.is_goal_env or rewarded is None:
            raise UserError(f"{self.name} has no goals to relabel: switch hindsight off")
        achieved, desired = achieved_goal.detach().cpu().numpy(), desired_goal.detach().cpu().numpy()
        reward = np.asarray(rewarded(achieved, desired, {}), np.float32)
        if reward.shape != (len(achieved),):  # some are written for one goal at a time
            reward = np.array([rewarded(a, d, {}) for a, d in zip(achieved, desired, strict=True)], np.float32)
        return torch.from_numpy(reward).to(achieved_goal.device)

    def compute_terminated(self, achieved_goal: torch.Tensor, desired_goal: torch.Tensor) -> torch.Tensor:
        """Return whether reaching ``achieved_goal`` ends an episode that asked for ``desired_goal``, (N,) bool."""
        ends = getattr(self._copies[0].unwrapped, "compute_terminated", None)
        if ends is None:
            return torch.zeros(len(achieved_goal), dtype=torch.bool, device=achieved_goal.device)
        pairs = zip(achieved_goal.detach().cpu().numpy(), desired_goal.detach().cpu().numpy(), strict=True)
        return torch.tensor([bool(ends(a, d, {})) for a, d in pairs], device=achieved_goal.device)

    def render(self, camera: str | None = None, env_index: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
        """Return a picture of one copy, (height, width, 3) uint8.

        Args:
            camera: must be None; a foreign environment has one view.
            env_index: which copy.
            width: pixels.
            height: pixels.

        Raises:
            UserError: if the environment cannot render.
        """
        if camera is not None:
            raise UserError(f"{self.name} has no camera {camera!r}, only its own view")
        copy = self._copies[env_index]
        if copy.render_mode != "rgb_array":
            raise UserError(f"{self.name} has no render mode 'rgb_array'")
        import cv2

        try:
            picture = copy.render()
        except gymnasium.error.DependencyNotInstalled as e:
            raise UserError(f"{self.name} cannot render: {_line(e)}") from e
        return cv2.resize(np.asarray(picture), (width, height), interpolation=cv2.INTER_AREA)

    def close(self) -> None:
        """Close every copy."""
        for copy in self._copies:
            copy.close()

    def _next_seed(self) -> int:
        self._episodes += 1
        return int(np.random.SeedSequence((self._seed, self._episodes)).generate_state(1)[0])

    def _store(self, i: int, obs: Any) -> None:
        values = obs if isinstance(obs, dict) else {next(iter(self._obs)): obs}
        for key, stored in self._obs.items():
            stored[i] = np.reshape(values[key], stored.shape[1:])

    def _observations(self) -> Obs:
        return {key: torch.from_numpy(value.copy()) for key, value in self._obs.items()}

    def _read_success(self, info: dict[str, Any]) -> bool:
        for key in _SUCCESS_KEYS:
            if key in info:
                self.has_success = True
                return bool(info[key])
        return False

    def _look_for_success(self) -> None:
        copy = self._copies[0]
        copy.reset(seed=0)
        middle = ((self._low + self._high) / 2).astype(self._action_dtype).reshape(self._action_shape)
        self._read_success(copy.step(middle)[4])
        self._over[1] = True  # nothing runs before the first reset


def make_gym_env(env_id: str, num_envs: int = 1, seed: int = 0, *, horizon: int | None = None) -> ForeignEnv:
    """Build a registered Gymnasium environment.

    Args:
        env_id: such as ``Pendulum-v1``, or ``package.module:Name-v0`` where importing the module (installed,
            or in the working directory) registers it; the newest version if it names none.
        num_envs: copies.
        seed: of the starts.
        horizon: overrides the registered one.

    Raises:
        UserError: if the name is unknown or the environment cannot be used.
        MissingExtra: if it comes with a package that is not installed.
    """
    name = _registered(env_id)

    def make() -> gymnasium.Env:
        options: dict[str, Any] = {"disable_env_checker": True, "max_episode_steps": horizon}
        try:
            try:
                return gymnasium.make(name, render_mode="rgb_array", **options)
            except TypeError:  # it takes no render mode
                return gymnasium.make(name, **options)
        except (gymnasium.error.DependencyNotInstalled, ImportError) as e:
            raise UserError(f"{name} needs a package that is not installed: {_line(e)}") from e

    return ForeignEnv(make, num_envs, seed=seed, horizon=horizon)


def _registered(env_id: str) -> str:
    """Import what registers an environment and return its id there, with the newest version if none is given."""
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            import_here(module)
        except Exception as e:  # the module is the user's: whatever it raises is told in one line
            raise UserError(f"cannot import {module!r} of {env_id!r}: {type(e).__name__}: {_line(e)}") from e
    robotics = find_spec("gymnasium_robotics") is not None
    if robotics and name not in gymnasium.registry:
        _import_robotics()
    if name in gymnasium.registry:
        return name
    versions = [known for known in gymnasium.registry if re.fullmatch(rf"{re.escape(name)}-v\d+", known)]
    if versions:
        return max(versions, key=lambda known: int(known.rpartition("-v")[2]))
    if name.startswith(_ROBOTICS) and not robotics:
        raise MissingExtra(f"Gymnasium environment {name!r} (gymnasium-robotics)", "benchmarks")
    near = difflib.get_close_matches(name, gymnasium.registry, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "gymnasium.pprint_registry() lists them"
    raise UserError(f"unknown Gymnasium environment {name!r}; {hint}")


def _import_robotics() -> None:
    with contextlib.redirect_stderr(io.StringIO()):  # it announces news about environments that nobody asked for
        importlib.import_module("gymnasium_robotics")
    utilities: Any = importlib.import_module("gymnasium_robotics.utils.mujoco_utils")
    joint_types = utilities.mujoco.mjtJoint
    if joint_types.mjJNT_HINGE != np.int32(joint_types.mjJNT_HINGE):
        # Enumerations of newer MuJoCo no longer equal NumPy integers, which Gymnasium-Robotics 1.4 relies on: it alone
        # is shown plain integers.
        utilities.mujoco = _PlainJointTypes(utilities.mujoco)


class _PlainJointTypes:
    """MuJoCo's module, its joint types as integers."""

    def __init__(self, mujoco: Any) -> None:
        self._mujoco = mujoco
        self.mjtJoint = SimpleNamespace(**{name: int(kind) for name, kind in mujoco.mjtJoint.__members__.items()})

    def __getattr__(self, name: str) -> Any:
        return getattr(self._mujoco, name)


def _bounds(space: spaces.Space, name: str) -> tuple[np.ndarray, np.ndarray]:
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise UserError(f"{name}: actions are {space}, but only boxes can be learned; choose a continuous variant")
    if not isinstance(space, spaces.Box) or not np.issubdtype(space.dtype, np.floating):
        raise UserError(f"{name}: actions are {space}, not one box of real numbers; flatten them with a wrapper")
    low, high = space.low.astype(np.float64).reshape(-1), space.high.astype(np.float64).reshape(-1)
    unbounded = np.flatnonzero(~(np.isfinite(low) & np.isfinite(high)))
    if unbounded.size:
        raise UserError(
            f"{name}: action {unbounded[0]} has no bounds ({low[unbounded[0]]}, {high[unbounded[0]]}); "
            "bound it with gymnasium.wrappers.TransformAction"
        )
    return low, high


def _observation_space(space: spaces.Space, name: str) -> spaces.Dict:
    if isinstance(space, spaces.Box):
        space = spaces.Dict({"image" if _is_image(space) else "state": space})
    if not isinstance(space, spaces.Dict):
        raise UserError(
            f"{name}: observations are {space}; turn them into a box with gymnasium.wrappers.FlattenObservation"
        )
    parts: dict[str, spaces.Space] = {}
    for key, part in space.spaces.items():
        if not isinstance(part, spaces.Box):
            raise UserError(
                f"{name}: observation {key!r} is {part}, not a box; gymnasium.wrappers.FlattenObservation makes it one"
            )
        size = int(np.prod(part.shape))
        parts[key] = part if _is_image(part) else spaces.Box(-np.inf, np.inf, (size,), np.float32)
    return spaces.Dict(parts)


def _is_image(space: spaces.Box) -> bool:
    return space.dtype == np.uint8 and len(space.shape) == 3


def _registered_horizon(env: gymnasium.Env, name: str) -> int:
    limit = env.spec.max_episode_steps if env.spec is not None else None
    limit = limit or getattr(env.unwrapped, "horizon", None)
    if limit is None:
        raise UserError(f"{name} is registered without max_episode_steps; give horizon")
    return int(limit)


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
