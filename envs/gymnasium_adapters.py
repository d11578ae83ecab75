"""Our environments as Gymnasium ones, single (NumPy) and vectorised, registered as ``robo_rl/...`` by ``import envs``.

Gymnasium 1.x no longer looks for plugins among installed packages, so the ids are there once ``envs`` is imported;
where a program takes nothing but an id, ``envs:robo_rl/Reach-v0`` imports it as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

if TYPE_CHECKING:
    import torch

    from envs.env import Env
    from robo_rl.contracts import Obs

_TASKS = {
    "Reach": "reach",
    "PickCube": "pick_cube",
    "PlaceCube": "place_cube",
    "PegInsertion": "peg_insertion",
    "PegInsertionHard": "peg_insertion_hard",
}
_ROBOTS = {"": "panda", "WidowX": "widowx250s"}
IDS = {f"robo_rl/{arm}{title}-v0": (task, robot) for arm, robot in _ROBOTS.items() for title, task in _TASKS.items()}
"""Registered ids: task and robot of each."""

_RENDER_SIZE = (480, 360)  # width, height, pixels


class GymEnv(gymnasium.Env):
    """One environment, NumPy in and out.

    The observation is the vector ``state`` where the task observes nothing else, and a dictionary otherwise. ``info``
    holds ``success``, the same as ``is_success`` (which Stable-Baselines3 reads), and ``executed_action``.

    Args:
        task: name or dotted path of the task.
        robot: name of the arm.
        world: name of the simulator.
        reward: ``sparse`` or ``dense``.
        cameras: whether the cameras of the scene are observed.
        overrides: values of the task's fields.
        render_mode: None or ``rgb_array``.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  Gymnasium's contract

    def __init__(
        self,
        task: str,
        robot: str = "panda",
        *,
        world: str = "mujoco",
        reward: str = "sparse",
        cameras: bool = False,
        overrides: Mapping[str, Any] | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._env = _make(task, robot, world, 1, reward, cameras, overrides, None)
        self.metadata = _metadata(self._env)
        self.observation_space = _single_space(self._env)
        self.action_space = self._env.action_space
        self.horizon = self._env.horizon
        self.render_mode = render_mode
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; its start and those to come are a function of ``seed``.

        Args:
            seed: goes on with the starts of the last one if None.
            options: none are known.
        """
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._env.seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        return _row(self._env.reset(), 0), {}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one action, each entry clipped to [-1, 1]."""
        import torch

        step = self._env.step(torch.as_tensor(np.asarray(action, np.float32))[None])
        info = {key: _plain(value) for key, value in step.info.items()}
        info["is_success"] = info["success"]
        ended = bool(step.terminated.item()), bool(step.truncated.item())
        return _row(step.obs, 0), step.reward.item(), *ended, info

    def render(self) -> np.ndarray | None:
        """Return a picture, (H, W, 3) uint8, or None where no render mode was chosen."""
        if self.render_mode is None:
            return None
        return self._env.render(None, 0, *_RENDER_SIZE)

    def close(self) -> None:
        """Free what the world holds."""
        self._env.close()


class GymVectorEnv(VectorEnv):
    """Many environments in one simulator, stepped together.

    Autoreset mode ``SAME_STEP``: the step that ends an episode returns the first observation of the next one. The true
    last observation is then in ``info["final_obs"]`` and that step's info in ``info["final_info"]``, with the masks
    ``_final_obs`` and ``_final_info``, as in ``gymnasium.vector.SyncVectorEnv``.

    Args:
        num_envs: how many.
        task: name or dotted path of the task.
        robot: name of the arm.
        world: name of the simulator.
        reward: ``sparse`` or ``dense``.
        cameras: whether the cameras of the scene are observed.
        overrides: values of the task's fields.
        threads: physics threads; as many as there are cores if None.
        render_mode: None or ``rgb_array``.
    """

    def __init__(
        self,
        num_envs: int,
        task: str,
        robot: str = "panda",
        *,
        world: str = "mujoco",
        reward: str = "sparse",
        cameras: bool = False,
        overrides: Mapping[str, Any] | None = None,
        threads: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        self._env = _make(task, robot, world, num_envs, reward, cameras, overrides, threads)
        self.metadata = {**_metadata(self._env), "autoreset_mode": AutoresetMode.SAME_STEP}
        self.num_envs = num_envs
        self.single_observation_space = _single_space(self._env)
        self.single_action_space = self._env.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.render_mode = render_mode
        self._seeded = False

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode everywhere; see :meth:`GymEnv.reset`."""
        super().reset(seed=seed)
        if seed is not None or not self._seeded:
            self._env.seed(int(self.np_random.integers(2**31)))
            self._seeded = True
        return _rows(self._env.reset()), {}

    def step(self, actions: np.ndarray) -> tuple[Any, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Take one action (B, A) in each environment and begin anew where an episode ended."""
        import torch

        step = self._env.step(torch.as_tensor(np.asarray(actions, np.float32)))
        values = {key: value.cpu().numpy() for key, value in step.info.items()}
        values["is_success"] = values["success"]
        done = step.done.cpu().numpy()
        info: dict[str, Any] = _told(values, ~done)
        obs = step.obs
        if done.any():
            last = np.full(self.num_envs, None, dtype=object)
            for i in np.flatnonzero(done):
                last[i] = _row(step.obs, int(i))
            info |= {
                "final_obs": last,
                "_final_obs": done,
                "final_info": _told(values, done),
                "_final_info": done.copy(),
            }
            obs = self._env.reset(step.done)
        reward, terminated, truncated = (x.cpu().numpy() for x in (step.reward, step.terminated, step.truncated))
        return _rows(obs), reward.astype(np.float64), terminated, truncated, info

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return a picture of each environment, (H, W, 3) uint8, or None where no render mode was chosen."""
        if self.render_mode is None:
            return None
        return tuple(self._env.render(None, i, *_RENDER_SIZE) for i in range(self.num_envs))

    def close_extras(self, **kwargs: Any) -> None:
        """Free what the world holds; called once by ``close``."""
        self._env.close()


def register_ids() -> None:
    """Make the ids known to Gymnasium; knowing them already is no error."""
    for env_id, (task, robot) in IDS.items():
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point="envs.gymnasium_adapters:GymEnv",
                vector_entry_point="envs.gymnasium_adapters:GymVectorEnv",
                kwargs={"task": task, "robot": robot},
            )


def _make(
    task: str,
    robot: str,
    world: str,
    num_envs: int,
    reward: str,
    cameras: bool,
    overrides: Mapping[str, Any] | None,
    threads: int | None,
) -> Env:
    from envs.registry import make_env, make_task

    made = make_task(task, robot, overrides)
    return make_env(made, world=world, num_envs=num_envs, reward=reward, cameras=cameras, threads=threads)


def _metadata(env: Env) -> dict[str, Any]:
    return {"render_modes": ["rgb_array"], "render_fps": round(env.task.robot.control_rate)}


def _single_space(env: Env) -> gymnasium.Space:
    parts = {key: _finite(space) for key, space in env.observation_space.spaces.items()}
    return parts["state"] if set(parts) == {"state"} else gymnasium.spaces.Dict(parts)


def _finite(space: gymnasium.Space) -> gymnasium.Space:
    """The same box with the largest float32 for infinity, which Gymnasium's checker takes for a mistake."""
    if not isinstance(space, gymnasium.spaces.Box) or space.is_bounded():
        return space
    largest = np.finfo(np.float32).max
    return gymnasium.spaces.Box(np.maximum(space.low, -largest), np.minimum(space.high, largest), dtype=np.float32)


def _row(obs: Obs, i: int) -> Any:
    """Observation of one environment, in arrays of its own."""
    parts = {key: value.cpu().numpy()[i].copy() for key, value in obs.items()}
    return parts["state"] if set(parts) == {"state"} else parts


def _rows(obs: Obs) -> Any:
    parts = {key: value.cpu().numpy().copy() for key, value in obs.items()}
    return parts["state"] if set(parts) == {"state"} else parts


def _plain(value: torch.Tensor) -> Any:
    """The only row of a value, in memory of its own."""
    return value.item() if value.ndim == 1 else value.cpu().numpy()[0].copy()


def _told(values: dict[str, np.ndarray], where: np.ndarray) -> dict[str, np.ndarray]:
    """An info in Gymnasium's form: each value, zero where it is not told, and the mask of where it is."""
    told: dict[str, np.ndarray] = {}
    for key, value in values.items():
        told[key] = np.where(where.reshape(-1, *[1] * (value.ndim - 1)), value, np.zeros_like(value))
        told[f"_{key}"] = where.copy()
    return told
