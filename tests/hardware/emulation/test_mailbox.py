from __future__ import annotations

import threading

import pytest

from hardware.emulation.mailbox import Inbox, Outbox


def test_the_newest_value_is_read_with_its_index_and_stamp(tmp_path):
    outbox = Outbox(tmp_path / "box", 4, "a label")
    inbox = Inbox(tmp_path / "box")
    assert inbox.label == "a label"
    assert inbox.newest() is None
    for number in range(1, 11):
        outbox.put(10 * number, float(number), bytes([number]) * 4)
        letter = inbox.newest()
        assert (letter.index, letter.stamp, letter.body) == (10 * number, float(number), bytes([number]) * 4)


def test_a_damaged_value_is_passed_over(tmp_path):
    outbox = Outbox(tmp_path / "box", 1, "")
    outbox.put(1, 0.0, b"a")
    outbox.put(2, 0.0, b"b", damaged=True)
    assert Inbox(tmp_path / "box").newest().body == b"a"


def test_a_fast_writer_never_gives_torn_values(tmp_path):
    size = 200_000
    outbox, done = Outbox(tmp_path / "box", size, ""), threading.Event()
    outbox.put(0, 0.0, bytes(size))

    def write():
        number = 0
        while not done.is_set():
            number += 1
            outbox.put(number, float(number), bytes([number % 256]) * size)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        inbox = Inbox(tmp_path / "box")
        letters = [letter for letter in (inbox.newest() for _ in range(200)) if letter is not None]
    finally:
        done.set()
        writer.join()
    assert letters
    assert all(letter.body == bytes([letter.index % 256]) * size for letter in letters)


def test_a_new_writer_is_noticed_and_a_closed_one_leaves_nothing(tmp_path):
    first = Outbox(tmp_path / "box", 1, "")
    inbox = Inbox(tmp_path / "box")
    assert not inbox.replaced()
    second = Outbox(tmp_path / "box", 1, "")
    assert inbox.replaced()
    first.note("old")
    second.note("unplugged")
    assert Inbox(tmp_path / "box").trouble() == "unplugged"
    second.close()
    with pytest.raises(FileNotFoundError):
        Inbox(tmp_path / "box")


def test_what_is_no_mailbox_is_refused(tmp_path):
    (tmp_path / "box").write_bytes(b"x" * 1000)
    with pytest.raises(ValueError, match="no mailbox"):
        Inbox(tmp_path / "box")
    with pytest.raises(ValueError, match="4"):
        Outbox(tmp_path / "other", 4, "").put(1, 0.0, b"abc")
