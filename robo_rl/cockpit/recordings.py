"""The recorded episodes that the page lists and replays."""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path
from typing import Any

from robo_rl.contracts.human import AUTHORITIES, LABELS
from robo_rl.training.durable import StorageError, write_json

_PATTERN = "episode_*.safetensors"
_NAME = re.compile(r"episode_\d+")
_TRACKS = "tracks"  # folder, beside the episodes, of how the arm moved in each


class Recordings:
    """A folder of episodes.

    An episode holds what a policy observes, which need not tell where the links of the arm are. So the states that the
    page was shown are kept beside it, as a track, and replayed with it.

    Args:
        folder: of the episodes, which need not be there yet.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, dict[str, Any]] = {}
        self._tracks: list[list[dict[str, Any]]] = []  # of episodes whose files are not there yet, oldest first
        self._unwritten: dict[str, list[dict[str, Any]]] = {}  # tracks by the name of the episode
        self._under_way: list[dict[str, Any]] = []
        self._first = set(self._files())

    def track(self, state: dict[str, Any]) -> None:
        """Take up a state of the episode under way; one with ``over`` ends it, ``kept`` says whether it is stored."""
        if state.get("waiting") or "joint_pos" not in state:
            return
        names = ("joint_pos", "gripper_width", "target_pos", "target_rot", "tcp_pos", "objects", "step", "authority")
        self._under_way.append({name: state[name] for name in names if name in state})
        if state.get("over"):
            if state.get("kept", True):
                self._tracks.append(self._under_way)
            self._under_way = []

    def refresh(self) -> list[dict[str, Any]] | None:
        """Look for new episodes; return the summaries of all, oldest first, if there are some, else None."""
        new = [name for name in self._files() if name not in self._known]
        for name in new:
            self._known[name] = self._summary(name)
            if name not in self._first and self._tracks:
                self._unwritten[name] = self._tracks.pop(0)
        with contextlib.suppress(StorageError):  # a full disk, of which the recorder tells; tried again next time
            for name, track in list(self._unwritten.items()):
                write_json(self._folder / _TRACKS / f"{name}.json", track)
                del self._unwritten[name]
        return [self._known[name] for name in sorted(self._known)] if new else None

    def replay(self, name: str) -> dict[str, Any]:
        """Return an episode for the page: actions, who acted, reward, and the track if there is one.

        Raises:
            UserError: if it cannot be read.
        """
        if not _NAME.fullmatch(name):
            return {"name": name, "trouble": "there is no such episode"}
        episode = self._load(name)
        said = episode.provenance
        track = self._folder / _TRACKS / f"{name}.json"
        return {
            "name": name,
            "reward": _listed(episode.reward),
            "executed": _listed(episode.executed_action),
            "policy": _listed(said["policy_action"]) if "policy_action" in said else None,
            "authority": [AUTHORITIES[code] for code in said["authority"].tolist()] if "authority" in said else None,
            "cameras": sorted(key for key in episode.obs if key.startswith("camera.")),
            "track": json.loads(track.read_text()) if track.is_file() else None,
        }

    def picture(self, name: str, camera: str, step: int) -> bytes | None:
        """Return a recorded picture as JPEG, None if there is none."""
        from robo_rl.cockpit.pictures import encode

        if not _NAME.fullmatch(name):
            return None
        rows = self._load(name).obs.get(camera)
        return None if rows is None or not 0 <= step < len(rows) else encode(rows[step].numpy())

    def _files(self) -> list[str]:
        return sorted(path.name.partition(".")[0] for path in self._folder.glob(_PATTERN))

    def _load(self, name: str) -> Any:
        from robo_rl.data.episodes import Episode  # torch, which takes seconds, is needed for nothing else here

        # Of a damaged one, what is left is shown.
        return Episode.load(self._folder / f"{name}.safetensors", lambda what, steps: None)

    def _summary(self, name: str) -> dict[str, Any]:
        from robo_rl.errors import UserError

        try:
            episode = self._load(name)
        except UserError as error:
            return {"name": name, "trouble": str(error)}
        said = episode.provenance
        human = said["authority"] > 0 if "authority" in said else None
        label = LABELS[int(said["label"][-1])] if "label" in said and len(episode) else "none"
        return {
            "name": name,
            "length": len(episode),
            "success": bool(episode.success[-1]) if len(episode) else False,
            "return": round(float(episode.reward.sum()), 3),
            "human": None if human is None else round(float(human.float().mean()), 3),
            "label": label,
        }


def _listed(values: Any) -> Any:
    return [[round(v, 3) for v in row] if isinstance(row, list) else round(row, 3) for row in values.tolist()]
