"""Builds the environment that a configuration asks for: one of our tasks in a simulator, or one of Gymnasium's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from robo_rl.commands.task_options import GymOptions, options_of, read_options
from robo_rl.training.config import GYM_PREFIX, TrainConfig

if TYPE_CHECKING:
    from robo_rl.contracts.learning import BatchedEnv


def options_type(task: str) -> type:
    """Return the dataclass of what can be set of a task by ``--task.FIELD``.

    Raises:
        UserError: if there is no such task.
    """
    if task.startswith(GYM_PREFIX):
        return GymOptions
    from envs.registry import task_class

    return options_of(task_class(task))


def training_defaults(task: str, obs: str = "state") -> dict[str, Any]:
    """Return the settings that a task recommends for an observation, by their dotted paths in :class:`TrainConfig`."""
    if task.startswith(GYM_PREFIX):
        # There is no expert; two critics keep up with a simulator on one core, a larger ensemble is one option away.
        return {"demos": 0, "agent.critics": 2}
    from envs.registry import task_class

    kind = task_class(task)
    found = dict(getattr(kind, "training_defaults", {}))
    return found | dict(getattr(kind, "pixel_training_defaults", {})) if obs == "pixels" else found


def make_environment(config: TrainConfig, num_envs: int, seed: int, *, cameras: bool = False) -> BatchedEnv:
    """Build the environment of a run.

    Args:
        config: names task, robot, world, reward and observation.
        num_envs: copies.
        seed: of the starts to come.
        cameras: whether camera images are part of the observation ``state`` too.

    Raises:
        UserError: if a name is unknown, an option refused, or the environment cannot be used.
        MissingExtra: if something it needs is not installed.
    """
    if config.is_foreign:
        from envs.foreign import make_gym_env

        horizon = config.task_options.get("horizon")
        foreign = make_gym_env(config.task.removeprefix(GYM_PREFIX), num_envs=num_envs, seed=seed, horizon=horizon)
        return cast("BatchedEnv", foreign)  # Its box is of float32 only, which mypy takes for another type.
    from envs.registry import chooses_device, make_env, make_task

    cameras = cameras or config.classifier is not None
    options = read_options(options_type(config.task), config.task_options, where="task_options")
    task = make_task(config.task, config.robot, {f.name: getattr(options, f.name) for f in dataclasses.fields(options)})
    on_cpu = not chooses_device(config.world)
    env = make_env(
        task,
        world=config.world,
        num_envs=num_envs,
        seed=seed,
        reward=config.reward,
        threads=config.threads if on_cpu else None,
        device=None if on_cpu else config.device,
        cameras=cameras,
        obs=config.obs,
    )
    return classified(env, config)


def classified(env: Any, config: TrainConfig) -> BatchedEnv:
    """Put the classifier of a run, if it goes by one, in the place of the success of ``env``.

    Where the policy sees the state, the pictures are the classifier's alone.

    Raises:
        UserError: if there is no such classifier, or it looks at what is not observed; ``env`` is closed then.
    """
    if config.classifier is None:
        return env
    from robo_rl.rewards.classified_env import ClassifiedEnv
    from robo_rl.rewards.classifier import SuccessClassifier

    try:
        classifier = SuccessClassifier.load(config.classifier)
        seen = [key for key in env.observation_space.spaces if key.startswith("camera.")]
        return ClassifiedEnv(env, classifier, hidden=seen if config.obs == "state" else ())
    except BaseException:
        env.close()
        raise
