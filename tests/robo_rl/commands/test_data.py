"""``robo-rl data``, as from a terminal."""

import dataclasses
import json
import sys

import pytest
import torch

from robo_rl.cli import main
from robo_rl.data.episodes import episode_path, load_episodes
from robo_rl.data.store import write_dataset
from tests.robo_rl.data.drawn import assert_same, make_episode

EPISODES = [make_episode(n, 4 + n, ("proprio", "front.rgb"), human=True) for n in range(3)]


@pytest.fixture
def demos(tmp_path):
    write_dataset(tmp_path / "demos", EPISODES)
    return tmp_path / "demos"


@pytest.fixture
def data(capsys):
    def run(*words):
        capsys.readouterr()
        code = main(["data", *map(str, words)])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return code, json.loads(said.out) if said.out else None, said.err

    return run


def damage(folder, number=1):
    path = episode_path(folder, number)
    path.write_bytes(path.read_bytes()[:-1])


def test_ls(demos, data):
    code, told, err = data("ls", demos, "--limit", 2)
    assert (code, told["episodes"], told["steps"], told["successes"]) == (0, 3, 15, 3)
    assert "000001" in err
    assert "000002" not in err
    assert "1 more" in err
    damage(demos)
    code, told, err = data("ls", demos)
    assert (code, told["episodes"], len(told["damaged"])) == (1, 2, 1)
    code, told, _ = data("ls", demos.parent)
    assert [(each["dataset"], each["note"]) for each in told] == [(str(demos), "1 damaged")]


def test_show(demos, data, tmp_path):
    code, told, err = data("show", demos, "--episode", 2, "--steps", 2, "--video", tmp_path / "seen.mp4")
    assert (code, told["steps"], told["task"], told["control_dt"]) == (0, 6, "reach", 0.05)
    assert told["return"] == pytest.approx(float(EPISODES[2].reward.sum()))
    assert "..." in err
    assert "terminated success" in err
    assert (tmp_path / "seen.mp4").stat().st_size > 0
    assert told["interventions"] == int(EPISODES[2].provenance["segment"].max()) + 1


def test_check_says_what_was_left_out_and_saves_the_rest(demos, data, tmp_path):
    assert data("check", demos)[0] == 0
    damage(demos)
    code, told, err = data("check", demos, "--out", tmp_path / "rest")
    assert (code, told["episodes"], told["steps"]) == (1, 3, 14)
    assert "left out" in err
    assert "episode_000001" in err
    assert "steps 4 to 4 are left out" in err
    first, begun, last = load_episodes(tmp_path / "rest")
    assert_same([EPISODES[0], EPISODES[2]], [first, last])
    assert torch.equal(begun.action, EPISODES[1].action[:4])


@pytest.mark.parametrize("kind", ["lerobot", "robomimic", "minari"])
def test_convert_there_and_back(demos, data, tmp_path, kind):
    there = tmp_path / ("there.hdf5" if kind == "robomimic" else "there")
    assert data("convert", demos, "--to", kind, "--out", there)[0] == 0
    assert data("check", there)[1]["episodes"] == 3
    assert data("show", there, "--episode", 1)[1]["steps"] == 5
    assert {each["format"] for each in data("ls", tmp_path)[1]} == {"robo_rl", kind}
    assert data("convert", there, "--from", kind, "--out", tmp_path / "back", "--task", "push")[0] == 0
    back = load_episodes(tmp_path / "back")
    assert {each.metadata["task"] for each in back} == {"push"}
    renamed = [dataclasses.replace(each, metadata={**each.metadata, "task": "push"}) for each in EPISODES]
    assert_same(renamed, back)


def test_mp4_states_what_it_lost(demos, data, tmp_path):
    code, told, _ = data("convert", demos, "--to", "lerobot", "--images", "mp4", "--out", tmp_path / "v", "--fps", 10)
    assert code == 0
    assert 0 < told["psnr_db"]["front.rgb"] < 100
    assert json.loads((tmp_path / "v" / "meta" / "info.json").read_text())["fps"] == 10


def test_merge_and_crop(demos, data, tmp_path):
    code, told, _ = data("merge", demos, demos, "--out", tmp_path / "both")
    assert (code, told["episodes"]) == (0, 6)
    assert_same(EPISODES * 2, load_episodes(tmp_path / "both"))
    code, told, _ = data("crop", demos, "--out", tmp_path / "short", "--stop", 3, "--episodes", 0, 2)
    assert (code, told["episodes"], told["steps"]) == (0, 2, {"before": 10, "after": 6})
    short = load_episodes(tmp_path / "short")
    assert all(bool(each.truncated[-1]) and len(each) == 3 for each in short)
    still = dataclasses.replace(EPISODES[0], obs={k: torch.zeros_like(v) for k, v in EPISODES[0].obs.items()})
    write_dataset(tmp_path / "still", [still])
    assert data("crop", tmp_path / "still", "--out", tmp_path / "moved", "--idle", 0)[1]["steps"]["after"] == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["lst"], "did you mean"),
        (["ls", "NOTHING"], "there is nothing"),
        (["show", "DEMOS", "--episode", 9], "episode: "),
        (["check", "FOLDER"], "no dataset"),
        (["convert", "DEMOS", "--to", "lerobot", "--out", "DEMOS"], "out: "),
        (["convert", "DEMOS", "--to", "lerobot", "--out", "X", "--quality", 60], "quality: "),
        (["convert", "DEMOS", "--to", "hdf5", "--out", "X"], "hdf5"),
        (["merge", "--out", "X"], "datasets"),
        (["merge", "DEMOS", "OTHER", "--out", "X"], "task"),
        (["crop", "DEMOS", "--out", "X"], "give one of them"),
        (["crop", "DEMOS", "--out", "X", "--episodes", 7], "no episode 7"),
        (["crop", "DEMOS", "--out", "X", "--first", 50], "first, stop"),
    ],
)
def test_what_cannot_be_done_is_told_in_one_line_and_leaves_nothing(demos, capsys, tmp_path, words, said):
    write_dataset(tmp_path / "other", [make_episode(keys=("proprio", "front.rgb"), task="push")])
    places = {"NOTHING": tmp_path / "nothing", "DEMOS": demos, "FOLDER": tmp_path, "X": tmp_path / "x"}
    places["OTHER"] = tmp_path / "other"
    before = sorted(tmp_path.iterdir())
    assert main(["data", *(str(places.get(word, word)) for word in words)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_a_missing_library_is_named_with_its_extra(demos, data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    code, _, err = data("convert", demos, "--to", "robomimic", "--out", tmp_path / "a.hdf5")
    assert code == 2
    assert "robo-rl[data]" in err
