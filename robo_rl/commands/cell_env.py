"""Environments on robot cells: the task of a run, in the world that is a cell."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robo_rl.errors import UserError

if TYPE_CHECKING:
    from envs.env import Env
    from hardware.cell import Cell
    from hardware.ros.camera_client import RosCamera
    from hardware.world import CellWorld
    from robo_rl.contracts import Robot
    from robo_rl.training.config import TrainConfig

_ALIKE = ({"panda", "fr3"},)
"""Arms of one kinematics and one hand, on which policies of each other run."""


@dataclass(frozen=True)
class CellEnvironment:
    """An environment on a cell.

    Attributes:
        env: to act in.
        world: its world.
        operator: who sets the scene up.
        robots: all arms of the cell, the one that acts first.
        cameras: of the cell, where somebody watches who is not the policy.
    """

    env: Env
    world: CellWorld
    operator: Any
    robots: list[Robot] = dataclasses.field(default_factory=list)
    cameras: Mapping[str, RosCamera] = dataclasses.field(default_factory=dict)

    def true_success(self) -> bool | None:
        """Whether the task is truly done now; None where only a person could tell."""
        if not hasattr(self.operator, "truth"):
            return None
        import torch

        from robo_rl.contracts import Reading

        poses = self.operator.truth()
        true = {}
        for name, (pos, rot) in poses.items():
            true[f"object.{name}.pos"] = torch.as_tensor(pos, dtype=torch.float32)[None]
            true[f"object.{name}.rot"] = torch.as_tensor(rot, dtype=torch.float32)[None]
        pos, rot = poses["tcp"]
        tool = {"tcp_pos": torch.as_tensor(pos).float()[None], "tcp_rot": torch.as_tensor(rot).float()[None]}
        return bool(self.env.task.reward(Reading({**self.env.reading, **true, **tool})).success[0])

    def figures(self, true: list[bool]) -> dict[str, Any]:
        """What a deployment tells besides its success."""
        from robo_rl.training.statistics import wilson_interval

        found: dict[str, Any] = {"overruns": self.world.overruns}
        if true:
            found["true_success_rate"] = round(sum(true) / len(true), 6)
            found["true_success_interval_95"] = [round(end, 6) for end in wilson_interval(sum(true), len(true))]
        return found


@contextlib.contextmanager
def cell_environment(
    cell: Cell,
    run: Path | TrainConfig,
    *,
    arm: str | None = None,
    seed: int = 0,
    cameras: bool = False,
    watched: bool = False,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[CellEnvironment]:
    """Build the environment of a run on a cell, which is started if it is not up.

    Args:
        cell: from its file.
        run: run folder, or configuration.
        arm: of the cell; the only one if None.
        seed: of the starts.
        cameras: whether pictures are observed though the policy sees the state.
        watched: whether somebody besides the policy is to see the cameras.
        should_stop: ends waiting for a fault to be acknowledged.

    Raises:
        UserError: if the run is of Gymnasium, or of another arm.
    """
    from envs.env import GuestEnv
    from envs.registry import make_task
    from hardware.realtime import hand_over_soon
    from hardware.ros.camera_client import RosCamera
    from hardware.ros.robot_client import RosRobot
    from hardware.ros.session import Session
    from robo_rl.commands.cells import make_cell_world, running, stop_key
    from robo_rl.commands.environments import options_type
    from robo_rl.commands.task_options import read_options
    from robo_rl.settings import from_json
    from robo_rl.training.config import TrainConfig
    from robo_rl.training.run_folder import RunFolder

    config = run
    if not isinstance(config, TrainConfig):
        folder = RunFolder.open(run)  # type: ignore[arg-type]
        config = from_json(TrainConfig, folder.config, where=str(folder.path / "config.json"))
    if config.is_foreign:
        raise UserError(f"task {config.task} is Gymnasium's; a robot cell runs tasks of `robo-rl tasks`")

    cameras = cameras or config.obs == "pixels"
    name = cell.arm(arm)
    robot = cell.arms[name].robot
    if robot != config.robot and not any({robot, config.robot} <= alike for alike in _ALIKE):
        raise UserError(f"the run is of robot {config.robot!r}, but arm {name!r} of cell {cell.name!r} is {robot!r}")
    options = read_options(options_type(config.task), config.task_options, where="task_options")
    overrides = {each.name: getattr(options, each.name) for each in dataclasses.fields(options)}
    task = make_task(config.task, robot, overrides)
    with (
        hand_over_soon(),
        running(cell, config.task, _plain(overrides), cameras=cameras or watched) as up,
        Session(f"policy_{name}", domain=cell.ros.domain, interfaces=cell.ros.interfaces) as session,
    ):
        world = make_cell_world(up, task, session, arm=name, cameras=cameras, should_stop=should_stop)
        try:
            others = [RosRobot(each, up.cell.spec_of(each), session) for each in up.cell.arms if each != name]
            env = GuestEnv(world, task, seed=seed, reward=config.reward, obs=config.obs)
            robots: list[Robot] = [world.arm, *others]
            seen = up.cell.cameras if watched and not cameras else {}
            shown = {each: RosCamera(each, entry.width, entry.height, session) for each, entry in seen.items()}
            with stop_key(robots, world.operator):
                yield CellEnvironment(env, world, world.operator, robots, shown)
        finally:
            world.close()


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """What can be written as JSON."""
    return {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
