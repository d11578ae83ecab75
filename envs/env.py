"""The environment: a world and a task, in the one loop that everyone uses."""

from __future__ import annotations

import math

import gymnasium
import numpy as np
import torch

from robo_rl.contracts import Command, Obs, Reading, Start, Step, Task, World
from robo_rl.contracts.reading import PROPRIOCEPTIVE
from robo_rl.errors import InvalidAction, MissingReading, UserError


class Env:
    """World x Task, batched; satisfies :class:`robo_rl.contracts.BatchedEnv`.

    Example:
        >>> env = Env(MujocoWorld(task.robot, task.scene(), num_envs=4), task, seed=0)    # doctest: +SKIP
        >>> obs = env.reset()                                                             # doctest: +SKIP
        >>> while True:                                                                   # doctest: +SKIP
        ...     step = env.step(agent.act(obs, explore=True))
        ...     obs = env.reset(step.done) if step.done.any() else step.obs

    Args:
        world: a simulator or a cell.
        task: what is done in it.
        seed: of the starts to come.
        reward: ``sparse``, 1 at success and 0 otherwise; or ``dense``, the task's scaled terms on top of it.
        obs: ``state``, what the task observes, and camera images beside it where the world reads cameras; or
            ``pixels``, camera images and ``proprio``, what the arm knows of itself, in place of ``state``.

    Raises:
        MissingReading: if the task needs a reading that the world does not give; names it.
        UserError: if there is no such reward or observation here.
    """

    def __init__(self, world: World, task: Task, *, seed: int = 0, reward: str = "sparse", obs: str = "state") -> None:
        self._assumes = not task.privileged_readings <= world.provides
        missing = task.readings - world.provides
        if self._assumes and type(task).assume is Task.assume:
            missing |= task.privileged_readings - world.provides
        if missing:
            raise MissingReading(
                f"task {task.name!r} needs {', '.join(sorted(missing))}, which {type(world).__name__} does not give"
            )
        if reward not in ("sparse", "dense"):
            raise UserError(f"reward: must be 'sparse' or 'dense', not {reward!r}")
        if reward == "dense" and not task.reward_scales:
            raise UserError(f"reward: task {task.name!r} has no dense terms; use 'sparse'")
        self.world, self.task = world, task
        self.num_envs, self.device, self.horizon = world.num_envs, world.device, task.horizon
        self.action_space = task.action_space
        self._reward_scales = dict(task.reward_scales) if reward == "dense" else {}
        self._full = task.readings | task.privileged_readings
        self._cameras = sorted(name for name in world.provides if name.startswith("camera."))
        if obs not in ("state", "pixels"):
            raise UserError(f"obs: must be 'state' or 'pixels', not {obs!r}")
        if obs == "pixels" and not self._cameras:
            raise UserError(f"obs: task {task.name!r} has no camera in {type(world).__name__}; use --obs state")
        self._pixels = obs == "pixels"
        self._proprioceptive = PROPRIOCEPTIVE & world.provides
        self.observation_space = self._space()
        self._action_shape = (self.num_envs, *task.action_space.shape)
        self._steps = torch.zeros(self.num_envs, dtype=torch.long, device=self.device)
        self._reading: Reading | None = None
        self.seed(seed)

    @property
    def reading(self) -> Reading:
        """The newest reading of the world.

        Raises:
            UserError: before the first reset.
        """
        if self._reading is None:
            raise UserError("the environment has not been reset; call reset() before step()")
        return self._reading

    @property
    def render_seconds(self) -> float:
        """Seconds that drawing what the cameras see has taken so far; 0 where nothing is drawn."""
        return getattr(self.world, "render_seconds", 0.0)

    def seed(self, seed: int) -> None:
        """Make the starts to come a function of ``seed``."""
        self._generator = torch.Generator().manual_seed(seed)

    def reset(self, mask: torch.Tensor | None = None, *, start: Start | None = None) -> Obs:
        """Begin new episodes where ``mask`` (B,) is true, everywhere if None; of the others, nothing changes.

        Args:
            mask: which.
            start: their start states, one row each in order; drawn by the task if None.

        Returns:
            The observations of all B environments.
        """
        if mask is None:
            mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        if start is None:
            start = self.task.start(self._generator, int(mask.sum()))
        self._reading = self.world.reset(mask, start)
        self._steps = torch.where(mask, 0, self._steps)
        return self._observe(self._reading)

    def carry_on(self, mask: torch.Tensor | None = None) -> Obs:
        """Begin new episodes where ``mask`` (B,) is true, everywhere if None, with everything where it was left.

        Returns:
            The observations of all B environments.
        """
        if mask is None:
            mask = torch.ones(self.num_envs, dtype=torch.bool, device=self.device)
        self._reading = self.world.carry_on(mask)
        self._steps = torch.where(mask, 0, self._steps)
        return self._observe(self._reading)

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (B, A), each clipped to [-1, 1], in each environment.

        Raises:
            InvalidAction: if its shape is wrong or an entry is not finite; the world has not moved then.
        """
        before = self.reading
        action = self._checked(action)
        command = self.task.command(action, before)
        reading = self._reading = self.world.step(command)
        self._steps = self._steps + 1
        reward = self.task.reward(self._with_privileged(reading))
        value = reward.success.to(torch.float32)
        if self._reward_scales:
            terms = reward.terms()
            value = value + sum(scale * terms[name] for name, scale in self._reward_scales.items())
        terminated = reward.success | reward.failure
        over = self._steps >= self.horizon
        if "interrupted" in reading:
            over = over | reading["interrupted"]
        info = {"success": reward.success, "executed_action": self._executed(action, command, before, reading)}
        return Step(self._observe(reading), value, terminated, over & ~terminated, info)

    def expert_action(self) -> torch.Tensor:
        """What the task's scripted expert would do now, (B, A)."""
        return self.task.expert(self._with_privileged(self.reading).only(self._full)).clamp(-1.0, 1.0)

    def progress(self) -> torch.Tensor:
        """How near the goal each environment is, (B,): the task's scaled dense terms, whatever is learned from.

        Raises:
            UserError: if the task has no dense terms.
        """
        if not self.task.reward_scales:
            raise UserError(f"task {self.task.name!r} has no dense terms, so nothing tells how far it has come")
        terms = self.task.reward(self._with_privileged(self.reading)).terms()
        return sum((scale * terms[name] for name, scale in self.task.reward_scales.items()), torch.zeros(()))

    def _with_privileged(self, reading: Reading) -> Reading:
        """The reading, with what the task takes its privileged ones to be where the world does not give them."""
        if not self._assumes:
            return reading
        return Reading({**reading, **self.task.assume(reading.only(self.task.readings))})

    def render(self, camera: str | None = None, env_index: int = 0, width: int = 320, height: int = 240) -> np.ndarray:
        """Draw one environment, (height, width, 3) uint8, as ``camera`` sees it; an overview if None.

        Raises:
            UserError: if the world cannot draw, or has no such camera.
        """
        draw = getattr(self.world, "render", None)
        if draw is None:
            raise UserError(f"{type(self.world).__name__} cannot draw; use world 'mujoco' for pictures and videos")
        return draw(camera or "overview", env_index, width, height)

    def close(self) -> None:
        """Free what the world holds."""
        self.world.close()

    def _space(self) -> gymnasium.spaces.Dict:
        spaces: dict[str, gymnasium.Space] = dict(self.task.observation_space.spaces)
        if self._pixels:
            spaces = {"proprio": self.task.proprioception_space}
        specs = {f"camera.{camera.name}.rgb": camera for camera in self.task.scene().cameras}
        for name in self._cameras:
            camera = specs[name]
            spaces[name] = gymnasium.spaces.Box(0, 255, (camera.height, camera.width, 3), np.uint8)
        return gymnasium.spaces.Dict(spaces)

    def _observe(self, reading: Reading) -> Obs:
        if self._pixels:
            obs = {"proprio": self.task.proprioception(reading.only(self._proprioceptive))}
        else:
            obs = self.task.observe(reading.only(self.task.readings))
        for name in self._cameras:
            obs[name] = reading[name]
        return obs

    def _checked(self, action: torch.Tensor) -> torch.Tensor:
        action = torch.as_tensor(action, dtype=torch.float32, device=self.device)
        if action.shape != self._action_shape:
            raise InvalidAction(f"action has shape {tuple(action.shape)}, expected {self._action_shape}")
        # One number tells whether all are finite: what is not finite makes the sum so.
        if not math.isfinite(action.sum().item()):
            env, entry = torch.nonzero(~torch.isfinite(action))[0].tolist()
            raise InvalidAction(
                f"action[{env}, {entry}] is {action[env, entry].item()}; it was refused, nothing has moved"
            )
        return action.clamp(-1.0, 1.0)

    def _executed(self, action: torch.Tensor, command: Command, before: Reading, after: Reading) -> torch.Tensor:
        """The action that was carried out: the given one, unless a limit of the world changed the command."""
        pos, rot, gripper = command.pos, command.rot, command.gripper
        applied = Command(after["target_pos"], after["target_rot"], after["gripper_target"])
        pairs = ((applied.pos, pos), (applied.rot, rot), (applied.gripper, gripper))
        if all(a is b or torch.equal(a, b) for a, b in pairs):
            return action
        changed = (
            (applied.pos != pos).any(-1)
            | (applied.rot != rot).flatten(1).any(-1)
            | (applied.gripper != gripper).any(-1)
        )
        return torch.where(changed[:, None], self.task.action_of(applied, before).clamp(-1.0, 1.0), action)


class GuestEnv(Env):
    """An :class:`Env` in a world that belongs to somebody else, who closes it."""

    def close(self) -> None:
        """Leave the world as it is."""
