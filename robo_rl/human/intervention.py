"""The environment in which a person may take over."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from robo_rl.contracts.human import DEVICES, LABELS, Human, HumanInput, Provenance, View
from robo_rl.contracts.learning import Step
from robo_rl.errors import UserError
from robo_rl.human.authority import Authority, AuthoritySettings, Decision
from robo_rl.human.mapping import ActionMap

if TYPE_CHECKING:
    from robo_rl.contracts.learning import BatchedEnv, Obs

_POLL = 0.02  # s between two looks at a person while the loop is paused

logger = logging.getLogger(__name__)


class InterventionEnv:
    """A ``BatchedEnv`` around another in which people may take over; whatever is not said here is the one inside.

    Each step asks the person of each environment, decides who is in control
    (:class:`~robo_rl.human.authority.Authority`) and carries that out. ``Step.info`` then also holds
    :class:`robo_rl.contracts.Provenance`, and ``executed_action`` stays the action that was really carried out, after
    every limit of the world: the one to learn from.

    A person's verdict and requests become part of the step in which they are heard. ``success``: terminal, worth 1.
    ``failure``: not a success, whatever the task says. ``failure``, ``discard`` and ``reset`` truncate, and never make
    a step terminal. ``pause`` makes :meth:`step` wait, before anything is carried out, until ``resume`` or ``stop``.
    Where a classifier saw a success (:class:`robo_rl.rewards.classified_env.ClassifiedEnv`), a person has a moment to
    contradict: ``failure`` takes it back, and the frames of the episode are what the next classifier learns from.

    Example:
        >>> env = InterventionEnv(inside, {0: human})                                # doctest: +SKIP
        >>> step = env.step(policy_action)                                           # doctest: +SKIP
        >>> step.info["authority"], step.info["executed_action"]                     # doctest: +SKIP

    Args:
        env: to act in.
        humans: by the number of the environment that they look after.
        settings: when a person is in control.
        paced: whether a step takes one control period of the wall clock, so that a person can follow a simulator.
        should_stop: asked while paused; once true, the pause is over.
        tell: told what a person should know.

    Raises:
        UserError: if there is no such environment.

    Attributes:
        env: the one inside.
        stop_requested: whether a person wants the session to end.
        paused: whether the loop waits for a person.
        attended: whether people may take over; see :meth:`unattended`.
        human_steps: steps in which people had a say, which ``settings.budget`` bounds; a run that goes on sets it.
    """

    def __init__(
        self,
        env: BatchedEnv,
        humans: Mapping[int, Human],
        settings: AuthoritySettings | None = None,
        *,
        paced: bool = False,
        should_stop: Callable[[], bool] = lambda: False,
        tell: Callable[[str], None] = logger.warning,
    ) -> None:
        if not humans or not all(0 <= row < env.num_envs for row in humans):
            raise UserError(
                f"humans: there are environments 0 to {env.num_envs - 1}, somebody looks after {set(humans)}"
            )
        self.env = env
        self.num_envs, self.device, self.horizon = env.num_envs, env.device, env.horizon
        self.action_space, self.observation_space = env.action_space, env.observation_space
        self.stop_requested = self.paused = False
        self.attended = True
        self.human_steps = 0
        self._humans = dict(humans)
        self._map = ActionMap.of(env)
        settings = settings or AuthoritySettings()
        self._budget = settings.budget
        self._authority = {row: Authority(settings, gripper=self._map.gripper) for row in humans}
        self._veto = settings.veto
        self._paced, self._should_stop, self._tell = paced, should_stop, tell
        self._obs: Obs | None = None
        self._steps = torch.zeros(env.num_envs, dtype=torch.long)
        self._due = 0.0
        self._lost: set[int] = set()
        self._pending: dict[int, HumanInput] = {}  # said before the first step of an episode

    def __getattr__(self, name: str) -> Any:
        if name == "env":  # not there yet
            raise AttributeError(name)
        return getattr(self.env, name)

    @property
    def control_dt(self) -> float:
        """Seconds of one control period; 0.1 where the environment has no clock."""
        return float(getattr(getattr(self.env, "world", self.env), "control_dt", 0.1))

    def seed(self, seed: int) -> None:
        """Make the starts to come a function of ``seed``."""
        self.env.seed(seed)

    def reset(self, mask: torch.Tensor | None = None, *, start: Any = None) -> Obs:
        """Begin new episodes where ``mask`` is true, everywhere if None, with the policy in control."""
        self._obs = self.env.reset(mask) if start is None else self.env.reset(mask, start=start)  # type: ignore[call-arg]
        for row, human in self._humans.items():
            if mask is None or bool(mask[row]):
                human.begin()
                self._authority[row].begin()
                self._steps[row] = 0
                self._pending.pop(row, None)
        self._due = 0.0
        return self._obs

    def step(self, action: torch.Tensor) -> Step:
        """Take one action (B, A) of the policy in each environment, or what the people make of it."""
        if self._obs is None:
            raise UserError("the environment has not been reset; call reset() before step()")
        policy = torch.as_tensor(action, dtype=torch.float32, device=self.device)
        said = {row: self._read(row, policy) for row in self._humans}
        while self._hear_requests(said.values()):
            time.sleep(_POLL)
            said = {row: _with_verdict(self._read(row, policy), before) for row, before in said.items()}
        if not self.attended:
            step = self.env.step(policy)
            self._obs = step.obs
            return step
        decisions: dict[int, Decision] = {}
        for row, heard in said.items():
            spent = self._budget is not None and self.human_steps >= self._budget
            decisions[row] = self._authority[row].decide(self._view(row, policy), None if spent else heard)
            self.human_steps += decisions[row].authority > 0
        command = policy.clone()
        for row, decision in decisions.items():
            command[row] = decision.action.to(command)
        step = self.env.step(command)
        self._steps += 1
        self._obs = step.obs
        self._hear_vetoes(step, said, policy)
        self._keep_pace()
        return self._judged(step, said, self._provenance(policy, decisions, said))

    def neutral(self) -> torch.Tensor:
        """Return the actions (B, A) that leave everything where it is told to be: those of a policy that only waits."""
        reading = getattr(self.env, "reading", {})
        return torch.stack([self._map.neutral(reading, row) for row in range(self.num_envs)]).to(self.device)

    def await_push(self) -> bool:
        """Wait, without a step, until somebody pushes; so an episode of theirs begins when they do.

        Returns:
            Whether somebody did. False if they want to stop instead.
        """
        policy = self.neutral()
        while not self.stop_requested and not self._should_stop():
            for row in self._humans:
                said = self._read(row, policy)
                self._hear_requests([said])
                if said is not None and (said.action is not None or said.gripper is not None):
                    self._pending[row] = said
                    return True
            time.sleep(_POLL)
        return False

    @contextmanager
    def unattended(self) -> Iterator[None]:
        """Let the policy act by itself meanwhile, as in an evaluation; pause and stop are heard all the same."""
        before, self.attended = self.attended, False
        try:
            yield
        finally:
            self.attended = before

    def close(self) -> None:
        """Free what the environment inside holds, and let go of the devices."""
        for human in self._humans.values():
            human.close()
        self.env.close()

    def _view(self, row: int, policy: torch.Tensor) -> View:
        assert self._obs is not None
        reading = getattr(self.env, "reading", {})
        here = {name: value[row : row + 1] for name, value in reading.items()}
        expert = getattr(self.env, "expert_action", None)
        progress = getattr(self.env, "progress", None)
        return View(
            obs={key: value[row] for key, value in self._obs.items()},
            reading=here,
            policy_action=policy[row].cpu(),
            step=int(self._steps[row]),
            control_dt=self.control_dt,
            neutral=self._map.neutral(here),
            expert=None if expert is None else lambda: expert()[row].cpu(),
            progress=None if progress is None else lambda: float(progress()[row]),
        )

    def _read(self, row: int, policy: torch.Tensor) -> HumanInput | None:
        if row in self._pending:
            return self._pending.pop(row)
        human = self._humans[row]
        said = human.read(self._view(row, policy))
        if said is None and row not in self._lost:
            self._lost.add(row)
            self._tell(f"{human.device}: lost; hands off until it is back")
        elif said is not None and row in self._lost:
            self._lost.discard(row)
            self._tell(f"{human.device}: back")
        return said

    def _hear_requests(self, said: Any) -> bool:
        """Follow what is asked of the loop; whether it is to wait."""
        for each in said:
            request = None if each is None else each.request
            if request == "stop":
                self.stop_requested, self.paused = True, False
            elif request is not None and self.paused != (request == "pause"):
                self.paused = request == "pause"  # Who resets the episode wants to go on.
                self._tell("paused; resume, or stop, at the device" if self.paused else "resumed")
        if self._should_stop():
            self.paused = False
        return self.paused

    def _hear_vetoes(self, step: Step, said: dict[int, HumanInput | None], policy: torch.Tensor) -> None:
        """Wait a moment for a verdict where a classifier has just seen a success; the verdict joins ``said``."""
        if "success_classified" not in step.info:
            return
        claimed = step.info["success_classified"].tolist()
        asked = {
            row for row, human in self._humans.items()
            if claimed[row] and human.device != "simulated" and getattr(said[row], "label", None) is None
        }  # fmt: skip
        until = time.monotonic() + self._veto
        while asked and time.monotonic() < until and not self._should_stop():
            for row in sorted(asked):
                heard = self._read(row, policy)
                if heard is not None and heard.label is not None:
                    said[row] = _with_verdict(said[row], heard)
                    asked.discard(row)
                elif heard is not None and heard.request == "stop":
                    self.stop_requested = True
                    asked.clear()
            if asked:
                time.sleep(_POLL)

    def _keep_pace(self) -> None:
        if not self._paced:
            return
        now = time.monotonic()
        self._due = max(self._due + self.control_dt, now) if self._due else now + self.control_dt
        time.sleep(max(0.0, self._due - now))

    def _provenance(
        self, policy: torch.Tensor, decisions: Mapping[int, Decision], said: Mapping[int, HumanInput | None]
    ) -> Provenance:
        count, device = self.num_envs, self.device
        told = Provenance(
            policy_action=policy.clone(),
            human_action=torch.zeros_like(policy),
            authority=torch.zeros(count, dtype=torch.uint8, device=device),
            active=torch.zeros(count, dtype=torch.bool, device=device),
            segment=torch.full((count,), -1, device=device),
            onset=torch.zeros(count, dtype=torch.bool, device=device),
            offset=torch.zeros(count, dtype=torch.bool, device=device),
            device=torch.full((count,), DEVICES.index("none"), dtype=torch.uint8, device=device),
            latency=torch.zeros(count, device=device),
            label=torch.zeros(count, dtype=torch.uint8, device=device),
        )
        for row, decision in decisions.items():
            told.human_action[row] = decision.human_action.to(policy)
            for name in ("authority", "active", "segment", "onset", "offset", "device", "latency"):
                getattr(told, name)[row] = getattr(decision, name)
            heard = said[row]
            told.label[row] = LABELS.index(heard.label or "none") if heard is not None else 0
        return told

    def _judged(self, step: Step, said: Mapping[int, HumanInput | None], told: Provenance) -> Step:
        """The step with the people's verdicts in it."""
        step = replace(step, info={**step.info, **told.to_info()})
        judged = {
            row: each for row, each in said.items() if each is not None and (each.label or each.request == "reset")
        }
        if not judged:
            return step
        reward, success = step.reward.clone(), step.info["success"].clone()
        claimed = step.info.get("success_classified", success).clone()
        terminated, truncated = step.terminated.clone(), step.truncated.clone()
        for row, each in judged.items():
            was = bool(claimed[row])  # what the step was rewarded for
            if each.label == "success":
                reward[row] += float(not was)
                success[row], claimed[row], terminated[row], truncated[row] = True, True, True, False
                continue
            if each.label == "failure":
                success[row] = False
            if each.label == "failure" and was:  # The task, or a classifier, took for a success what is none.
                reward[row] -= 1.0
                claimed[row] = terminated[row] = False
            truncated[row] = not bool(terminated[row])
        verdicts = {"success": success}
        if "success_classified" in step.info:
            verdicts["success_classified"] = claimed
        return Step(step.obs, reward, terminated, truncated, {**step.info, **verdicts})


def _with_verdict(said: HumanInput | None, before: HumanInput | None) -> HumanInput | None:
    """What is said now, with the verdict that was given before, while the loop waited."""
    if before is None or before.label is None:
        return said
    said = said or HumanInput(device=before.device)
    return replace(said, label=said.label or before.label)
