"""LeRobotDataset v3, by what is published of it and, where LeRobot is installed, by its own loader.

``ROBO_RL_LEROBOT_PYTHON`` names the Python of an environment that has LeRobot; docs/data.md tells how to make one.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest

from robo_rl.data.conversion import write
from robo_rl.data.episodes import Episode
from robo_rl.data.formats.foreign import Assumptions
from robo_rl.data.formats.lerobot_read import read_lerobot
from robo_rl.data.formats.lerobot_statistics import statistics_of, together
from robo_rl.data.formats.lerobot_write import LeRobotOptions
from robo_rl.data.store import Damage
from robo_rl.errors import UserError
from tests.robo_rl.data.drawn import make_episode

KEYS = ("state", "front.rgb", "depth", "contact", "tracked.pose", "one", "count")
LENGTHS = (4, 1, 6)


@pytest.fixture(scope="module")
def episodes():
    return [make_episode(n, steps, KEYS, human=True) for n, steps in enumerate(LENGTHS)]


@pytest.fixture(params=["png", "mp4"])
def dataset(request, tmp_path, episodes):
    if request.param == "mp4":
        episodes = [make_episode(n, s, [k for k in KEYS if k != "depth"], human=True) for n, s in enumerate(LENGTHS)]
    write(tmp_path / "set", "lerobot", episodes, LeRobotOptions(request.param))
    return tmp_path / "set", episodes, request.param


def test_field_by_field(dataset):
    root, episodes, images = dataset
    info = json.loads((root / "meta" / "info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 11, 1)
    assert (info["fps"], info["robot_type"], info["splits"]) == (20, "panda", {"train": "0:3"})
    features = info["features"]
    assert features["observation.state"] == {"dtype": "float32", "shape": [3], "names": None}
    assert features["action"]["shape"] == [2]
    picture = features["observation.images.front.rgb"]
    assert picture["shape"] == [4, 6, 3]
    assert picture["dtype"] == ("video" if images == "mp4" else "image")
    assert {"timestamp", "frame_index", "episode_index", "index", "task_index", "next.reward", "next.done"} <= set(
        features
    )

    table = parquet.read_table(root / "data" / "chunk-000" / "file-000.parquet")
    assert set(table.column_names) == {name for name, it in features.items() if it["dtype"] != "video"}
    assert table["index"].to_pylist() == list(range(11))
    assert table["episode_index"].to_pylist() == [0] * 4 + [1] + [2] * 6
    assert table["frame_index"].to_pylist() == [0, 1, 2, 3, 0, 0, 1, 2, 3, 4, 5]
    assert np.allclose(table["timestamp"].to_numpy(), np.array(table["frame_index"].to_pylist()) / 20)
    assert table["action"].to_pylist()[4] == episodes[1].executed_action[0].tolist()
    assert table["next.done"].to_pylist() == [False] * 3 + [True, True] + [False] * 5 + [True]

    about = parquet.read_table(root / "meta" / "episodes" / "chunk-000" / "file-000.parquet").to_pylist()
    assert [row["length"] for row in about] == list(LENGTHS)
    assert [(row["dataset_from_index"], row["dataset_to_index"]) for row in about] == [(0, 4), (4, 5), (5, 11)]
    assert all(row["tasks"] == ["reach"] and row["data/file_index"] == 0 for row in about)
    if images == "mp4":
        key = "videos/observation.images.front.rgb"
        assert [row[f"{key}/from_timestamp"] for row in about] == pytest.approx([0, 0.2, 0.25])
        assert about[2][f"{key}/to_timestamp"] == pytest.approx(0.55)
        assert (root / key / "chunk-000" / "file-000.mp4").is_file()
    stats = json.loads((root / "meta" / "stats.json").read_text())
    executed = np.concatenate([episode.executed_action.numpy() for episode in episodes]).astype(np.float64)
    assert stats["action"]["count"] == [11]
    assert np.allclose(stats["action"]["mean"], executed.mean(0))
    assert np.allclose(stats["action"]["std"], executed.std(0))
    assert np.shape(stats["observation.images.front.rgb"]["mean"]) == (3, 1, 1)


def test_statistics_of_parts_are_those_of_the_whole():
    rng = np.random.default_rng(0)
    parts = [rng.normal(3, 2, (n, 2)) for n in (1, 5, 40)]
    whole, found = statistics_of(np.concatenate(parts)), together([statistics_of(part) for part in parts])
    for name in ("min", "max", "mean", "std", "count"):
        assert np.allclose(found[name], whole[name]), name


def test_an_older_version_is_refused_with_the_remedy(tmp_path, episodes):
    write(tmp_path / "set", "lerobot", episodes)
    info = tmp_path / "set" / "meta" / "info.json"
    info.write_text(info.read_text().replace("v3.0", "v2.1"))
    with pytest.raises(UserError, match="convert_dataset_v21_to_v30"):
        list(read_lerobot(tmp_path / "set", Assumptions()))


def test_a_data_file_that_is_damaged_costs_its_episodes_only(tmp_path, episodes):
    root = tmp_path / "set"
    write(root, "lerobot", episodes, LeRobotOptions(data_mb=0))
    path = root / "data" / "chunk-000" / "file-001.parquet"
    path.write_bytes(path.read_bytes()[:-10])
    first, damage, last = read_lerobot(root, Assumptions())
    assert isinstance(first, Episode)
    assert isinstance(last, Episode)
    assert isinstance(damage, Damage)
    assert damage.steps == 1
    assert "episode 1" in damage.where
    (root / "meta" / "info.json").write_text("{")
    (damage,) = read_lerobot(root, Assumptions())
    assert "cannot be opened" in str(damage)


def test_a_video_that_is_damaged(tmp_path):
    root = tmp_path / "set"
    write(root, "lerobot", [make_episode(n, 5, ("front.rgb",)) for n in range(2)], LeRobotOptions("mp4"))
    (video,) = root.glob("videos/*/*/*.mp4")
    video.write_bytes(video.read_bytes()[:40])
    found = list(read_lerobot(root, Assumptions()))
    assert [type(each) for each in found] == [Damage, Damage]


def lerobot_python():
    python = os.environ.get("ROBO_RL_LEROBOT_PYTHON")
    if not python or not Path(python).exists():
        pytest.skip("no environment with LeRobot: name its Python in ROBO_RL_LEROBOT_PYTHON, see docs/data.md")
    return python


@pytest.mark.slow
def test_lerobots_own_loader_reads_the_same(dataset, tmp_path):
    root, episodes, images = dataset
    script = Path(__file__).with_name("lerobot_loader.py")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [lerobot_python(), str(script), "read", str(root), str(tmp_path / "read.npz")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    read = np.load(tmp_path / "read.npz")
    assert int(read["about/episodes"]) == 3
    assert int(read["about/fps"]) == 20
    assert set(read["task"]) == {"reach"}

    def rows(pick):
        return np.concatenate([np.asarray(pick(episode)) for episode in episodes])

    for column, wanted in {
        "action": rows(lambda e: e.executed_action),
        "requested_action": rows(lambda e: e.action),
        "next.reward": rows(lambda e: e.reward),
        "next.success": rows(lambda e: e.success),
        "observation.state": rows(lambda e: e.obs["state"][:-1]),
        "observation.contact": rows(lambda e: e.obs["contact"][:-1]),
        "observation.one": rows(lambda e: e.obs["one"][:-1, 0]),
        "observation.count": rows(lambda e: e.obs["count"][:-1]),
        "observation.tracked.pose": rows(lambda e: e.obs["tracked.pose"][:-1]).astype(np.float32),
        "human.segment": rows(lambda e: e.provenance["segment"]),
        "human.policy_action": rows(lambda e: e.provenance["policy_action"]),
    }.items():
        assert np.array_equal(read[column], wanted), column
    seen = (read["observation.images.front.rgb"] * 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    pictures = rows(lambda e: e.obs["front.rgb"][:-1])
    if images == "png":
        assert np.array_equal(seen, pictures)
    else:
        stored = [each.obs["front.rgb"][:-1] for each in read_lerobot(root, Assumptions())]
        assert seen.shape == pictures.shape
        assert np.array_equal(seen, np.concatenate(stored))
    action = rows(lambda e: e.executed_action)
    assert np.array_equal(read["ahead"][0], action[:2])
    assert np.array_equal(read["ahead"][3], action[[3, 3]])  # the end of an episode: LeRobot repeats it
    assert np.allclose(read["stats/action/mean"], action.mean(0), rtol=1e-4)


@pytest.mark.slow
def test_what_lerobot_writes_is_read(tmp_path):
    script = Path(__file__).with_name("lerobot_loader.py")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    environment |= {"HF_HOME": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1"}
    command = [lerobot_python(), str(script), "write", str(tmp_path / "set"), str(tmp_path / "written.npz")]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr[-2000:]
    written = np.load(tmp_path / "written.npz")
    (unknown, _) = read_lerobot(tmp_path / "set", Assumptions())
    assert isinstance(unknown, Damage)
    assert "--demonstrations" in str(unknown)
    first, second = read_lerobot(tmp_path / "set", Assumptions(demonstrations=True))
    assert (len(first), len(second)) == (5, 5)
    assert np.array_equal(first.obs["state"][:5], written["state"][:5])
    assert np.array_equal(second.obs["front"][:5], written["front"][5:])
    assert np.array_equal(second.executed_action, written["action"][5:])
    assert bool(second.success[-1])
    assert second.metadata["task"] == "put it there"
    assert second.metadata["control_dt"] == pytest.approx(0.1)
