from __future__ import annotations

import sys

import pytest

from benchmarks.peers import GymHil, PeerError, make_venv


def test_a_peer_that_cannot_be_installed_is_told_of_in_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(PeerError, match="venv") as failure:
        make_venv(tmp_path / "file" / "venv", ("one==1",))
    assert "\n" not in str(failure.value)


def test_what_is_installed_is_not_installed_again(tmp_path):
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    (tmp_path / ".installed").write_text("one==1\ntwo==2")
    assert make_venv(tmp_path, ("one==1", "two==2")) == python


def test_a_peer_that_does_not_start_is_told_of_in_one_line(tmp_path):
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    with pytest.raises(PeerError, match="gym_hil") as failure:
        GymHil(tmp_path / "bare" / "bin" / "python", pixels=False)
    assert "\n" not in str(failure.value)
