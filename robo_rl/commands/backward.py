"""The backward task of a run: its configuration, and its environment in the world of the forward one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from robo_rl.commands.environments import options_type
from robo_rl.commands.task_options import read_options
from robo_rl.errors import UserError
from robo_rl.settings import to_json
from robo_rl.training.config import TrainConfig

if TYPE_CHECKING:
    from robo_rl.contracts import Task


def backward_config(config: TrainConfig) -> TrainConfig:
    """Return the configuration of the agent that learns the backward task of ``config``.

    It is that of the forward agent. Of the task's options it takes those that were set and that its own task has too,
    such as the size of what both handle.

    Raises:
        UserError: if there is no such task.
    """
    assert config.backward is not None
    forward, backward = options_type(config.task), options_type(config.backward)
    set_to = {
        name: value
        for name, value in to_json(read_options(forward, config.task_options, where="task_options")).items()
        if value != to_json(forward())[name] and name in {f.name for f in dataclasses.fields(backward)}
    }
    return dataclasses.replace(
        config,
        task=config.backward,
        task_options=to_json(read_options(backward, set_to, where="task_options")),
        demo_path=config.backward_demo_path,
        backward=None,
        backward_demo_path=None,
        reset_every=TrainConfig.reset_every,
    )


def sharing(config: TrainConfig, backward: TrainConfig) -> Callable[[Any], Any]:
    """Return what builds an environment of the backward task in the world of one of the forward task.

    Raises:
        UserError: if the tasks share no world, or a person is to correct actions that mean different things.
    """
    make = _maker(backward)
    first, second = _maker(config)(config.robot), make(config.robot)
    if first.scene() != second.scene():
        raise UserError(
            f"backward: {config.task} and {backward.task} are done in different scenes; they share no world"
        )
    if config.human is not None and getattr(first, "tool_delta", None) != getattr(second, "tool_delta", None):
        raise UserError(f"human: an action means one thing in {config.task} and another in {backward.task}")

    def share(env: Any) -> Any:
        from envs.env import GuestEnv

        return GuestEnv(env.world, make(env.task.robot), seed=backward.seed, reward=backward.reward, obs=backward.obs)

    return share


def _maker(config: TrainConfig) -> Callable[[Any], Task]:
    """What builds the task of a configuration for an arm, or for the name of one."""
    from envs.registry import make_task

    options = read_options(options_type(config.task), config.task_options, where="task_options")
    values = {f.name: getattr(options, f.name) for f in dataclasses.fields(options)}
    return lambda robot: make_task(config.task, robot, values)
