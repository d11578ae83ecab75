import errno
import json
import os

import pytest
import torch

from robo_rl.errors import UserError
from robo_rl.training.checkpoint import load_checkpoint, save_checkpoint
from robo_rl.training.durable import JsonLines, StorageError, read_json_lines, remove_unfinished, write_json, write_text


def test_a_failed_write_leaves_the_old_file(tmp_path):
    file = tmp_path / "summary.json"
    write_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_json(file, {"a": object()})
    assert json.loads(file.read_text()) == {"a": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["summary.json"]


def test_numbers_that_json_lacks_become_null(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [float("inf"), 1.0]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [None, 1.0]}


def test_lines_survive_a_torn_end(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = JsonLines(file)
    lines.append({"env_steps": 1})
    lines.append({"env_steps": 2})
    with file.open("ab") as torn:
        torn.write(b'{"env_steps": 3, "retu')
    assert [row["env_steps"] for row in read_json_lines(file)] == [1, 2]
    again = JsonLines(file)
    again.append({"env_steps": 4})
    again.close()
    assert [json.loads(line)["env_steps"] for line in file.read_text().splitlines()] == [1, 2, 4]


def test_a_broken_line_in_the_middle_is_named(tmp_path):
    (tmp_path / "m.jsonl").write_text('{"a": 1}\nnonsense\n{"a": 2}\n')
    with pytest.raises(UserError, match="line 2 cannot be read"):
        read_json_lines(tmp_path / "m.jsonl")


def test_a_line_that_does_not_fit_is_taken_back(tmp_path, monkeypatch):
    """The disk fills up in the middle of a line: what was before stays, and nothing torn is left."""
    lines = JsonLines(tmp_path / "m.jsonl")
    lines.append({"a": 1})

    class FullDisk:
        def __init__(self, file):
            self.file = file

        def write(self, data):
            return self.file.write(data[:5])

        def __getattr__(self, name):
            return getattr(self.file, name)

    monkeypatch.setattr(lines, "_file", FullDisk(lines._file))
    with pytest.raises(StorageError, match=r"the disk is full: could not write .*m\.jsonl"):
        lines.append({"a": 2})
    assert (tmp_path / "m.jsonl").read_text() == '{"a": 1}\n'


def test_full_disk(small_disk):
    """On a real full file system: one line, and every finished file as it was."""
    disk = small_disk(400)
    write_text(disk / "kept.txt", "kept")
    save_checkpoint(disk, "latest", {"agent": {"w": torch.arange(1000.0)}}, {"env_steps": 10})
    with pytest.raises(StorageError, match="the disk is full"):
        save_checkpoint(disk, "latest", {"agent": {"w": torch.zeros(300_000)}}, {"env_steps": 20})
    with pytest.raises(StorageError, match="the disk is full"):
        write_text(disk / "kept.txt", "x" * 1_000_000)
    assert (disk / "kept.txt").read_text() == "kept"
    checkpoint = load_checkpoint(disk, "latest")
    assert checkpoint.env_steps == 10
    assert torch.equal(checkpoint.tensors("agent")["w"], torch.arange(1000.0))
    assert sorted(p.name for p in disk.iterdir()) == ["kept.txt", "latest-0000000010"]


def test_checkpoints_replace_only_their_own_kind(tmp_path):
    for step in (1, 2):
        for kind in ("latest", "best"):
            save_checkpoint(tmp_path, kind, {"policy": {"w": torch.full((2,), float(step))}}, {"env_steps": step})
    save_checkpoint(tmp_path, "latest", {"policy": {"w": torch.full((2,), 3.0)}}, {"env_steps": 2, "again": True})
    assert len(list(tmp_path.iterdir())) == 2
    assert load_checkpoint(tmp_path, "latest").state["again"]
    assert load_checkpoint(tmp_path, "latest").tensors("policy")["w"].tolist() == [3.0, 3.0]
    assert load_checkpoint(tmp_path).path.name.startswith("best")
    assert load_checkpoint(tmp_path / "none") is None


def test_an_unreadable_checkpoint_is_named(tmp_path):
    checkpoint = save_checkpoint(tmp_path, "latest", {"agent": {"w": torch.zeros(100)}}, {"env_steps": 1})
    file = checkpoint.path / "agent.safetensors"
    file.write_bytes(file.read_bytes()[:-50])
    with pytest.raises(UserError, match=r"agent\.safetensors cannot be read"):
        checkpoint.tensors("agent")
    with pytest.raises(UserError, match="holds no replay"):
        checkpoint.tensors("replay")


def test_what_a_killed_process_left_is_swept(tmp_path):
    (tmp_path / ".unfinished-abc").mkdir()
    (tmp_path / ".unfinished-abc" / "agent.safetensors").write_bytes(b"x")
    (tmp_path / ".unfinished-x.json").write_text("{")
    (tmp_path / "finished").write_text("y")
    assert load_checkpoint(tmp_path, "latest") is None
    remove_unfinished(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["finished"]


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=f"could not write .*{os.strerror(errno.ENOTDIR)}"):
        write_text(tmp_path / "file" / "below" / "deeper", "x")
