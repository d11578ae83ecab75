"""The environment in which the person at the page sees what happens."""

from __future__ import annotations

import time
from collections import deque
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol

import torch

from robo_rl.cockpit.cockpit import Cockpit
from robo_rl.cockpit.scene import describe_reading, describe_scene
from robo_rl.contracts.human import AUTHORITIES, LABELS
from robo_rl.human.intervention import InterventionEnv

if TYPE_CHECKING:
    from robo_rl.contracts.human import View
    from robo_rl.contracts.learning import Obs, Step

_RECENT = 20  # episodes that the success is taken over


class Pictures(Protocol):
    """Draws what the cameras of an environment see, beside the loop."""

    def take(self) -> None:
        """Draw how everything is now; does not wait for it."""
        ...

    def close(self) -> None:
        """End it. Once more is no error."""
        ...


class WatchedEnv(InterventionEnv):
    """An :class:`InterventionEnv` of which the page shows environment 0.

    Args:
        env: to act in.
        humans: by the number of the environment that they look after.
        settings: when a person is in control.
        cockpit: where it is shown.
        pictures: draws what simulated cameras see, beside the loop; None where nothing is to be drawn.
        figures: whether the page's curves are made of the episodes here; a run has figures of its own.
        more: passed on.
    """

    def __init__(
        self,
        env: Any,
        humans: Any,
        settings: Any = None,
        *,
        cockpit: Cockpit,
        pictures: Pictures | None = None,
        figures: bool = True,
        **more: Any,
    ) -> None:
        super().__init__(env, humans, settings, **more)
        self._cockpit, self._pictures, self._figures = cockpit, pictures, figures
        self._objects: list[str] = []
        self._describe()
        self._last: dict[str, Any] = {}
        self._began = 0.0
        self._return, self._length, self._helped, self._taken = 0.0, 0, 0, 0
        self._recent: deque[float] = deque(maxlen=_RECENT)

    def reset(self, mask: torch.Tensor | None = None, *, start: Any = None) -> Obs:
        """Begin new episodes; see :meth:`InterventionEnv.reset`."""
        obs = super().reset(mask, start=start)
        if mask is None or bool(mask[0]):
            self._return, self._length, self._helped = 0.0, 0, 0
            self._began = 0.0
            self._last = {"step": 0, "authority": "policy", "return": 0.0}
            self._publish(waiting=True)
        return obs

    def step(self, action: torch.Tensor) -> Step:
        """Take one step and show what came of it; see :meth:`InterventionEnv.step`."""
        step = super().step(action)
        now = time.monotonic()
        reward, over = float(step.reward[0]), bool(step.done[0])
        self._return += reward
        self._length += 1
        self._taken += self.num_envs
        info = step.info
        authority = AUTHORITIES[int(info["authority"][0])] if "authority" in info else "policy"
        label = LABELS[int(info["label"][0])] if "label" in info else "none"
        self._helped += authority != "policy"
        self._last = {
            "step": self._length,
            "authority": authority,
            "reward": round(reward, 4),
            "return": round(self._return, 4),
            "success": bool(info["success"][0]),
            "label": label,
            "over": over,
            "kept": label != "discard",
            "executed": _listed(info["executed_action"]),
            "policy": _listed(info["policy_action"]) if "policy_action" in info else _listed(action),
            "latency": round(float(info["latency"][0]), 4) if "latency" in info else 0.0,
            "period": round(now - self._began, 5) if self._began else None,
        }
        self._began = now
        self._publish()
        if over:
            self._recent.append(float(info["success"][0]))
            if self._figures:
                self._cockpit.add_row(
                    {"kind": "episode", "env_steps": self._taken, "return": self._return,
                     "intervention_rate": self._helped / self._length, "success_recent": fmean(self._recent)}
                )  # fmt: skip
        return step

    def close(self) -> None:
        """Free what the environment inside holds, and end drawing it."""
        if self._pictures is not None:
            self._pictures.close()
        super().close()

    def show(self, view: View) -> None:
        """Show what a person is asked about; while the loop waits for them, nothing else does."""
        if self.paused or self._length == 0:
            self._publish(waiting=True)

    def _publish(self, *, waiting: bool = False) -> None:
        reading = getattr(self.env, "reading", None)
        seen = {} if reading is None else describe_reading(reading, self._objects)
        page = self._cockpit.page
        more = {"waiting": waiting, "over": False} if waiting else {}
        self._cockpit.show_state(
            {"t": "state", **self._last, **seen, **more, "paused": self.paused, "stopped": page.stopped,
             "control_dt": self.control_dt, "horizon": self.horizon, "attended": self.attended}
        )  # fmt: skip
        if self._pictures is not None:
            self._pictures.take()
        elif reading is not None:
            for name in reading:
                if name.startswith("camera."):
                    self._cockpit.show_picture(name.split(".")[1], reading[name][0].cpu().numpy())

    def _describe(self) -> None:
        task = getattr(self.env, "task", None)
        delta = getattr(task, "tool_delta", None)
        if task is None or delta is None:
            return
        scene = task.scene()
        self._objects = [item.name for item in scene.objects]
        self._cockpit.about(
            scene=describe_scene(task.robot, scene, delta.translation),
            gripper=delta.gripper,
            rotations=list(delta.rotation_axes),
        )


def _listed(values: torch.Tensor) -> list[float]:
    return [round(value, 3) for value in values[0].tolist()]
