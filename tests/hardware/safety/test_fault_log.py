from __future__ import annotations

import errno
import json

import numpy as np

from hardware.safety.fault_log import SECONDS, FaultLog

FIELDS = {"stamp": (), "pos": (3,), "rot": (3, 3)}


def filled(folder, cycles, rate=20.0):
    log = FaultLog(folder, FIELDS, rate)
    for i in range(cycles):
        log.add((float(i),), np.full(3, i), np.eye(3).ravel() * i)
    return log


def test_the_last_seconds_are_written_oldest_first(tmp_path):
    log = filled(tmp_path / "faults", 250)
    log.write("contact_force", {"reason": "51 N"})
    log.add((250.0,), np.zeros(3), np.zeros(9))  # what comes later is not in it
    log.close()
    (path,) = (tmp_path / "faults").glob("*_contact_force.npz")
    with np.load(path, allow_pickle=False) as file:
        length = int(SECONDS * 20)
        np.testing.assert_array_equal(file["stamp"], np.arange(250 - length, 250))
        np.testing.assert_array_equal(file["rot"][-1], 249.0 * np.eye(3))
        assert file["pos"].shape == (length, 3)
        assert json.loads(str(file["about"]))["reason"] == "51 N"


def test_a_ring_that_is_not_full_is_written_as_far_as_it_is(tmp_path):
    log = filled(tmp_path, 7)
    log.write("stopped", {})
    log.close()
    with np.load(next(tmp_path.glob("*.npz"))) as file:
        np.testing.assert_array_equal(file["stamp"], np.arange(7))


def test_each_fault_has_a_file_of_its_own(tmp_path):
    log = filled(tmp_path, 7)
    for _ in range(5):
        log.write("stopped", {})
    log.close()
    assert len(list(tmp_path.glob("*.npz"))) == 5


def test_a_disk_that_cannot_be_written_is_counted_and_stops_nothing(tmp_path):
    (tmp_path / "file").write_text("in the way")
    log = filled(tmp_path / "file", 7)
    log.write("stopped", {})
    log.write("stopped", {})
    log.close()
    assert log.errors == 2


def test_without_a_folder_nothing_is_kept_or_written(tmp_path):
    log = filled(None, 7)
    log.write("stopped", {})
    log.close()
    assert log.errors == 0
    assert not list(tmp_path.iterdir())


def test_what_a_full_disk_takes_in_part_does_not_stay_there(tmp_path, monkeypatch):
    real = np.savez_compressed

    def full(file, **fields):
        real(file, **fields)
        raise OSError(errno.ENOSPC, "No space left on device")

    log = filled(tmp_path, 7)
    monkeypatch.setattr(np, "savez_compressed", full)
    log.write("stopped", {})
    log.close()
    assert log.errors == 1
    assert not list(tmp_path.iterdir())
    monkeypatch.setattr(np, "savez_compressed", real)
    log.write("stopped", {})
    log.close()
    assert len(list(tmp_path.glob("*.npz"))) == 1
