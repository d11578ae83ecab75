"""Our environment stepped at random, the bare physics of the very same steps, and where a step's time goes."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any

import mujoco
import numpy as np
import torch
from mujoco import rollout

if TYPE_CHECKING:
    from envs.env import Env
    from envs.worlds.mujoco_world import MujocoWorld
    from robo_rl.contracts import Command, Reading

_STATE = int(mujoco.mjtState.mjSTATE_FULLPHYSICS)
# What a world sets once a control period: actuator commands and, of reference frames that it turns, the pose.
_CONTROL = int(mujoco.mjtState.mjSTATE_CTRL | mujoco.mjtState.mjSTATE_MOCAP_POS | mujoco.mjtState.mjSTATE_MOCAP_QUAT)


@dataclass(frozen=True)
class Tape:
    """One episode in every environment, recorded: what bare physics needs to do it again.

    Attributes:
        seed: of the starts.
        actions: (T, B, A), random.
        models: one for each environment; they differ in where fixtures stand.
        state: (B, nstate) physics at the start.
        warmstart: (B, nv) of the solver.
        control: (T, B, ncontrol) what the world set, held for one control period each.
        substeps: physics steps of a control period.
        last: (B, nq) joint positions at the end.
    """

    seed: int
    actions: torch.Tensor
    models: list[mujoco.MjModel]
    state: np.ndarray
    warmstart: np.ndarray
    control: np.ndarray
    substeps: int
    last: np.ndarray

    @property
    def env_steps(self) -> int:
        """Control periods, over all environments."""
        return self.control.shape[0] * self.control.shape[1]


def make(task: str, num_envs: int, *, threads: int, cameras: bool = False) -> Env:
    """Build one of our environments in MuJoCo."""
    from envs.registry import make_env, make_task

    return make_env(make_task(task), num_envs=num_envs, threads=threads, cameras=cameras)


def random_actions(env: Env, steps: int, seed: int) -> torch.Tensor:
    """Draw actions (steps, B, A), uniform in [-1, 1]."""
    size = (steps, env.num_envs, *env.action_space.shape)
    return 2.0 * torch.rand(size, generator=torch.Generator().manual_seed(seed)) - 1.0


def record(env: Env, seed: int) -> Tape:
    """Play an episode of full length everywhere, even where it succeeds by chance, and keep what physics needs."""
    world: Any = env.world
    actions = random_actions(env, env.horizon, seed)
    env.seed(seed)
    env.reset()
    models = [copy.copy(model) for model in world.models]
    state = _states(world, _STATE)
    warmstart = np.stack([data.qacc_warmstart for data in world.datas])
    control = []
    for action in actions:
        env.step(action)
        control.append(_states(world, _CONTROL))
    last = np.stack([data.qpos for data in world.datas])
    return Tape(seed, actions, models, state, warmstart, np.stack(control), world.substeps, last)


def _states(world: MujocoWorld, parts: int) -> np.ndarray:
    """Parts of the state of each copy, (B, n)."""
    rows = np.zeros((world.num_envs, mujoco.mj_stateSize(world.model, parts)))
    for model, data, row in zip(world.models, world.datas, rows, strict=True):
        mujoco.mj_getState(model, data, row, parts)
    return rows


def our_rate(env: Env, tape: Tape) -> float:
    """Environment steps per second of one episode everywhere, its reset included."""
    env.seed(tape.seed)
    started = time.perf_counter()
    env.reset()
    for action in tape.actions:
        env.step(action)
    return tape.env_steps / (time.perf_counter() - started)


class Bare:
    """``mujoco.rollout`` of a tape: the same physics and nothing else, no reset, no observation, no reward.

    Args:
        tape: what to do.
        threads: physics threads.
    """

    def __init__(self, tape: Tape, threads: int) -> None:
        self._tape = tape
        self._pool = rollout.Rollout(nthread=threads)
        self._datas = [mujoco.MjData(tape.models[0]) for _ in range(threads)]
        batch, sensors = len(tape.state), tape.models[0].nsensordata
        # Held for a control period: one entry a physics step. Outputs are made once, as a careful caller would.
        self._control = [
            np.ascontiguousarray(np.repeat(control[:, None], tape.substeps, axis=1)) for control in tape.control
        ]
        self._state = np.empty((batch, tape.substeps, tape.state.shape[1]))
        self._sensors = np.empty((batch, tape.substeps, sensors))

    def rate(self) -> float:
        """Environment steps per second, one call a control period: what no environment around it can exceed."""
        started = time.perf_counter()
        self.play()
        return self._tape.env_steps / (time.perf_counter() - started)

    def play(self) -> np.ndarray:
        """Do it and return the last states (B, nstate)."""
        tape, state = self._tape, self._tape.state
        for period, control in enumerate(self._control):
            self._pool.rollout(
                tape.models,
                self._datas,
                state,
                control,
                control_spec=_CONTROL,
                initial_warmstart=tape.warmstart if period == 0 else None,
                state=self._state,
                sensordata=self._sensors,
                skip_checks=True,
                nstep=tape.substeps,
            )
            state = np.ascontiguousarray(self._state[:, -1])
        return state

    def difference(self) -> float:
        """Largest difference of a joint position at the end, m or rad, from what our environment came to."""
        nq = self._tape.last.shape[1]
        return float(np.abs(self.play()[:, 1 : 1 + nq] - self._tape.last).max())  # state: time, qpos, ...

    def close(self) -> None:
        """Stop the threads."""
        self._pool.close()


def steady_rate(env: Env, seconds: float, seed: int) -> Callable[[], float]:
    """Return a measure: environment steps per second over at least ``seconds``, episodes reset as they end."""
    actions = random_actions(env, 256, seed)
    env.seed(seed)
    env.reset()

    def measure() -> float:
        steps = 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            step = env.step(actions[steps % len(actions)])
            steps += 1
            if step.done.any():
                env.reset(step.done)
        return steps * env.num_envs / (time.perf_counter() - started)

    return measure


def gymnasium_rate(env_id: str, seconds: float, seed: int) -> Callable[[], float]:
    """Return a measure like :func:`steady_rate` of the registered Gymnasium environment, NumPy in and out."""
    import gymnasium

    import envs  # noqa: F401  registers the ids

    env = gymnasium.make(env_id, disable_env_checker=True)
    env.reset(seed=seed)
    env.action_space.seed(seed)

    def measure() -> float:
        steps = 0
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            steps += 1
            if terminated or truncated:
                env.reset()
        return steps / (time.perf_counter() - started)

    return measure


def profile(task: str, steps: int = 400, rounds: int = 5) -> dict[str, Any]:
    """Return the microseconds of each part of one step of one environment; medians over ``rounds``.

    ``physics`` is MuJoCo alone on the same commands; ``world`` is the world's step without it: commands to actuators,
    sensors to a reading; ``rest`` is the environment's own loop: checks of the action, the step that is returned.
    """
    env = make(task, 1, threads=1)
    world: Any = env.world
    found: list[dict[str, float]] = [_split(env, world, steps, seed) for seed in range(rounds + 1)][1:]
    env.close()
    parts = {name: round(median(entry[name] for entry in found), 1) for name in found[0]}
    return {
        "task": task,
        "substeps": world.substeps,
        "microseconds": parts,
        "physics_share": round(parts["physics"] / parts["step"], 3),
    }


def _split(env: Env, world: MujocoWorld, steps: int, seed: int) -> dict[str, float]:
    clock = time.perf_counter
    task, known = env.task, env.task.readings | env.task.privileged_readings
    data, state, warmstart = mujoco.MjData(world.model), _states(world, _STATE)[0], np.zeros(world.model.nv)
    spent = dict.fromkeys(("step", "physics", "command", "world", "observe", "reward"), 0.0)
    bare_step = world.step

    def timed_step(command: Command) -> Reading:
        began = clock()
        reading = bare_step(command)
        spent["world"] += clock() - began
        return reading

    env.seed(seed)
    env.reset()
    world.step = timed_step  # type: ignore[method-assign]
    for action in random_actions(env, steps, seed):
        model, before = world.models[0], env.reading
        mujoco.mj_getState(model, world.datas[0], state, _STATE)
        warmstart[:] = world.datas[0].qacc_warmstart
        began = clock()
        step = env.step(action)
        spent["step"] += clock() - began
        # The same once more, part by part; none of it changes the environment.
        mujoco.mj_setState(model, data, state, _STATE)
        mujoco.mj_setState(model, data, _states(world, _CONTROL)[0], _CONTROL)
        data.qacc_warmstart[:] = warmstart
        marks = [clock()]
        mujoco.mj_step(model, data, world.substeps)
        marks.append(clock())
        task.command(action, before)
        marks.append(clock())
        task.observe(env.reading.only(task.readings))
        marks.append(clock())
        task.reward(env.reading.only(known))
        marks.append(clock())
        for name, (start, end) in zip(("physics", "command", "observe", "reward"), pairwise(marks), strict=True):
            spent[name] += end - start
        if step.done.any():
            env.reset(step.done)
    world.step = bare_step  # type: ignore[method-assign]
    spent["world"] -= spent["physics"]
    spent["rest"] = 2.0 * spent["step"] - sum(spent.values())
    return {name: 1e6 * took / steps for name, took in spent.items()}
