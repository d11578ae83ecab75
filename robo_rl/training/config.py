"""The configuration of a training run: what the command line reads and the run folder keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from robo_rl.agents.sac import SACConfig
from robo_rl.cockpit.settings import CockpitSettings
from robo_rl.errors import UserError
from robo_rl.human.authority import AuthoritySettings
from robo_rl.human.simulated import SimulatedSettings

GYM_PREFIX = "gym:"
"""What the name of a task begins with that is the id of a Gymnasium environment."""

_POSITIVE_COUNTS = (
    "num_envs",
    "steps",
    "batch_size",
    "n_step",
    "replay_capacity",
    "eval_every",
    "eval_episodes",
    "eval_envs",
    "final_episodes",
    "checkpoint_every",
    "log_every",
    "cloning_updates",
    "reset_every",
)
_COUNTS = ("seed", "demos", "hindsight_k", "warmup_steps", "max_lag", "prefetch", "video_episodes")
_POSITIVE_IF_GIVEN = ("critic_updates_per_actor_update", "threads")


@dataclass(frozen=True)
class TrainConfig:
    """How to train a policy."""

    task: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="TASK")]
    """Name of a task, dotted path of one (package.module:Class), or gym:ID for a Gymnasium environment."""

    robot: str = "panda"
    """Arm that does the task."""

    world: str = "mujoco"
    """Simulator: mujoco, mujoco_law (the control law of the real arm, at 1 kHz; slower) or warp (GPU)."""

    cell: str | None = None
    """Robot cell to learn on instead of in a simulator: a cell file, or the name of one (robo-rl cell list)."""

    arm: str | None = None
    """Which arm of the cell; None: the only one."""

    keep_episodes: bool | None = None
    """Keep every transition of training in RUN/episodes, step by step; None: on a robot cell, or with a person."""

    human: str | None = None
    """Who may correct the policy while it learns: keyboard, gamepad, spacemouse (NAME:WHICH picks one of several, by
    its path or number), cockpit (a page in a browser; --cockpit is short for it), or simulated."""

    frame: str | None = None
    """Frame that the person's device moves in: base, tool, or a camera of the task; None: the task's own."""

    cockpit: CockpitSettings = field(default_factory=CockpitSettings)
    """Where the page of ``--human cockpit`` is served."""

    authority: AuthoritySettings = field(default_factory=AuthoritySettings)
    """When the person is in control, and of how much."""

    simulated: SimulatedSettings = field(default_factory=SimulatedSettings)
    """What kind of person ``--human simulated`` is."""

    obs: Literal["state", "pixels"] = "state"
    """What the policy sees: the vector that the task observes, or camera images and what the arm knows of itself."""

    backward: str | None = None
    """Task that undoes this one (name or dotted path), learned by a second agent with the same settings: the two take
    turns in one world, which is hardly ever reset."""

    backward_demo_path: Path | None = None
    """Folder of recorded episodes of the backward task to start from; None: its scripted expert records them."""

    reset_every: int = 20
    """With a backward task: episodes of both after which the world is reset all the same."""

    reward: Literal["sparse", "dense"] = "sparse"
    """Reward that is learned from: 1 at success and 0 elsewhere, or the task's dense terms."""

    classifier: Path | None = None
    """Success classifier (robo-rl reward train) whose success is learned from in the place of the task's; what the
    task says is still what evaluations count."""

    num_envs: int = 1
    """Environments stepped side by side."""

    seed: int = 0
    """Seed of everything that is drawn."""

    steps: int = 100_000
    """Environment steps at most, counted over all environments."""

    max_minutes: float | None = None
    """Minutes of training at most, evaluations included, set-up and the final evaluation not."""

    demos: int = 20
    """Successful demonstrations to start from, recorded by the task's scripted expert; 0 for none."""

    demo_path: Path | None = None
    """Folder of recorded episodes to start from instead; the first ``demos`` successful ones are used."""

    demo_ratio: float = 0.5
    """Share of demonstrations in each batch."""

    algorithm: Literal["sac", "hg-dagger"] = "sac"
    """sac: reinforcement learning. hg-dagger: imitation of the demonstrations and of the person's corrections, without
    a reward (of agent.* it takes hidden, actor_layer_norm, actor_lr, observation_keys)."""

    agent: SACConfig = field(default_factory=SACConfig)
    """The learner."""

    cloning_updates: int = 10_000
    """Gradient steps on the demonstrations before training, where they are imitated: hg-dagger and agent.ibrl."""

    batch_size: int = 256
    """Transitions of one critic update."""

    utd: float = 1.0
    """Critic updates per environment step (update-to-data ratio); may be a fraction."""

    sync: bool = True
    """Learn and act in turns, in one thread: a run comes out the same, bit for bit, on the same machine. Otherwise the
    learner has a thread of its own beside the environment; on a robot cell it always has."""

    max_lag: int = 20
    """Environment steps that a learner in its own thread may be behind. Then a simulator waits for it; a robot does
    not, and the updates owed for the steps beyond that are left out."""

    critic_updates_per_actor_update: int | None = None
    """Critic updates to one update of actor and temperature; None: ``utd`` rounded, so once an environment step."""

    n_step: int = 1
    """Steps folded into one return."""

    discount: float = 0.99
    """Discount of future reward per step."""

    warmup_steps: int = 500
    """Environment steps before learning begins; with random actions, of hg-dagger with the policy's own."""

    hindsight: bool | None = None
    """Also learn from goals reached by chance; None: where the observation has a desired and an achieved goal."""

    hindsight_k: int = 4
    """Transitions whose goal is replaced by one reached later, for each one that keeps its goal."""

    replay_capacity: int = 200_000
    """Observations to remember, one for each transition and one more for each episode; the oldest make room."""

    memory_budget_gb: float = 4.0
    """Memory that replay and demonstrations may take, GB; more is refused at the start."""

    replay_storage: Literal["ram", "pinned", "device", "file"] = "ram"
    """Where they lie: in RAM; in RAM that a GPU fetches batches from by itself; on the learner's GPU; or in a file of
    the run folder, which may be larger than the RAM (demonstrations stay in RAM)."""

    disk_budget_gb: float = 50.0
    """Disk space that a replay file may take, GB; it is taken at the start."""

    prefetch: int = 0
    """Batches drawn ahead by a thread while the learner is busy; they miss what is added meanwhile. Only with a learner
    in its own thread (``sync``): no run is reproduced so."""

    eval_every: int = 5_000
    """Environment steps between evaluations."""

    eval_episodes: int = 20
    """Episodes of an evaluation while training."""

    eval_envs: int = 10
    """Environments stepped side by side in evaluations."""

    final_episodes: int = 100
    """Episodes of the final evaluation, and of the one that confirms that the target is reached."""

    target_success: float | None = 0.95
    """Success rate at which training stops, measured by an evaluation and confirmed by a larger one; None: never."""

    checkpoint_every: int = 5_000
    """Environment steps between checkpoints."""

    log_every: int = 500
    """Environment steps between metric lines."""

    video_episodes: int = 4
    """Episodes shown in the video at the end; 0 for no video."""

    device: str = "cpu"
    """Where the learner and its memory live: cpu or cuda."""

    threads: int | None = None
    """Threads of the physics and of the learner, each; None: as many as there are cores, at a robot one fewer."""

    out: Path = Path("runs")
    """Folder that the run folder is made in."""

    task_options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the task."""

    def __post_init__(self) -> None:
        at_least = dict.fromkeys(_COUNTS, 0)
        at_least |= dict.fromkeys(_POSITIVE_COUNTS, 1)
        at_least |= {name: 1 for name in _POSITIVE_IF_GIVEN if getattr(self, name) is not None}
        for name, low in at_least.items():
            if getattr(self, name) < low:
                raise UserError(f"{name}: must be at least {low}, got {getattr(self, name)}")
        for name, low, high in (("demo_ratio", 0, 1), ("discount", 0, 1), ("target_success", 0, 1)):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise UserError(f"{name}: must lie in [{low}, {high}], got {value}")
        for name, usual in (("robot", "panda"), ("world", "mujoco"), ("reward", "sparse"), ("obs", "state")):
            if self.is_foreign and getattr(self, name) != usual:
                raise UserError(f"{name}: {self.task} brings its own; leave it out")
        if self.classifier is not None and self.is_foreign:
            raise UserError(f"classifier: it looks at the cameras of a task of `robo-rl tasks`, not of {self.task}")
        self._check_backward()
        if self.cell is not None and self.is_foreign:
            raise UserError(f"cell: a robot cell runs tasks of `robo-rl tasks`, not {self.task}")
        if self.cell is not None and (self.num_envs != 1 or self.world != "mujoco"):
            raise UserError(
                "cell: a robot cell is one environment and a world of its own; leave out num_envs and world"
            )
        if self.algorithm == "hg-dagger" and self.human is None:
            raise UserError("algorithm: hg-dagger learns from a person's corrections; give --human too")
        if self.algorithm == "hg-dagger" and (self.agent.gripper == "discrete" or self.agent.ibrl.choice != "off"):
            raise UserError(
                "algorithm: hg-dagger has no critics, which agent.gripper and agent.ibrl need; leave them out"
            )
        if self.imitates and self.demos == 0:
            raise UserError("demos: there is nothing to imitate without; give --demos")
        if not self.imitates and self.cloning_updates != TrainConfig.cloning_updates:
            raise UserError("cloning_updates: nothing is imitated; leave it out, or give --agent.ibrl.choice greedy")
        if self.human not in (None, "simulated") and self.num_envs != 1:
            raise UserError(f"num_envs: a person at a {self.human} looks after one environment; leave it out")
        if self.frame is not None and self.human in (None, "simulated"):
            raise UserError("frame: there is nobody at a device; give --human keyboard, gamepad or spacemouse too")
        if self.arm is not None and self.cell is None:
            raise UserError("arm: there is none to choose without a cell; give --cell too")
        if self.prefetch and not self.overlaps:
            raise UserError("prefetch: batches drawn ahead make no run that is reproduced; give --no-sync too")
        for name in ("utd", "memory_budget_gb", "disk_budget_gb", "max_minutes"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{name}: must be positive, got {value}")

    def _check_backward(self) -> None:
        if self.backward is None:
            for name in ("backward_demo_path", "reset_every"):
                if getattr(self, name) != getattr(TrainConfig, name):
                    raise UserError(f"{name}: there is no backward task; leave it out, or give --backward TASK")
            return
        if self.is_foreign or self.backward.startswith(GYM_PREFIX):
            raise UserError(f"backward: {self.task} and {self.backward} share no world; use tasks of `robo-rl tasks`")
        if self.num_envs != 1:
            raise UserError("num_envs: two tasks take turns in one environment; leave it out with --backward")
        if self.cell is not None and self.demos and self.backward_demo_path is None:
            raise UserError(
                "backward_demo_path: a cell cannot be set to where the backward task begins, so no expert shows it; "
                "give recorded demonstrations, or --demos 0"
            )
        if self.classifier is not None:
            raise UserError("classifier: it knows one of the two tasks only; leave it out with --backward")

    @property
    def is_foreign(self) -> bool:
        """Whether the task is a Gymnasium environment, which brings its own robot, world and reward."""
        return self.task.startswith(GYM_PREFIX)

    @property
    def imitates(self) -> bool:
        """Whether demonstrations are cloned before training."""
        return self.algorithm == "hg-dagger" or self.agent.ibrl.choice != "off"

    @property
    def random_steps(self) -> int:
        """Environment steps with random actions at the start."""
        return self.warmup_steps if self.algorithm == "sac" else 0

    @property
    def overlaps(self) -> bool:
        """Whether the learner has a thread of its own."""
        return self.cell is not None or not self.sync

    @property
    def block(self) -> int:
        """Critic updates that are made in one go, with one update of actor and temperature at the end."""
        return self.critic_updates_per_actor_update or max(1, round(self.utd))
