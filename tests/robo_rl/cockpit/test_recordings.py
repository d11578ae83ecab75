"""Episodes that the page lists, and how the arm moved in them."""

import gymnasium
import numpy as np
import torch

from robo_rl.cockpit.recordings import Recordings
from robo_rl.contracts import Step
from robo_rl.data.episode_writer import EpisodeWriter

SPACE = gymnasium.spaces.Dict({"state": gymnasium.spaces.Box(-1, 1, (1,), np.float32)})
ACTION = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)


def record(folder, recordings, moments):
    about = {"task": "reach", "robot": "panda", "seed": 0, "source": "human"}
    with EpisodeWriter(folder, SPACE, ACTION, **about) as writer:
        for t in moments:
            over = t == moments[-1]
            step = Step(
                {"state": torch.full((1, 1), t + 1.0)}, torch.zeros(1), torch.tensor([False]), torch.tensor([over]),
                {"success": torch.tensor([over]), "executed_action": torch.zeros(1, 1)},
            )  # fmt: skip
            writer.add({"state": torch.full((1, 1), float(t))}, torch.zeros(1, 1), step)
            recordings.track({"joint_pos": [float(t)], "step": t, "over": over})


def test_a_new_episode_is_listed_and_replayed_with_how_the_arm_moved(tmp_path):
    recordings = Recordings(tmp_path)
    assert recordings.refresh() is None
    record(tmp_path, recordings, range(3))
    (listed,) = recordings.refresh()
    assert (listed["name"], listed["length"], listed["success"]) == ("episode_000000", 3, True)
    assert recordings.refresh() is None
    assert [point["joint_pos"] for point in recordings.replay("episode_000000")["track"]] == [[0.0], [1.0], [2.0]]


def test_a_track_that_cannot_be_written_holds_nothing_up_and_is_written_later(tmp_path):
    recordings = Recordings(tmp_path)
    (tmp_path / "tracks").write_text("in the way, as a full disk would be")
    for _ in range(2):
        record(tmp_path, recordings, range(3))
        assert recordings.refresh()
    assert recordings.replay("episode_000001")["track"] is None
    (tmp_path / "tracks").unlink()
    assert recordings.refresh() is None
    for name in ("episode_000000", "episode_000001"):
        assert len(recordings.replay(name)["track"]) == 3
