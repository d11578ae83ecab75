"""The newest value, across processes."""

import os
import subprocess
import sys
import threading

from hypothesis import given, settings
from hypothesis import strategies as st

from robo_rl.cockpit.mailbox import Mailbox


@settings(max_examples=50, deadline=None)
@given(st.lists(st.binary(max_size=32), max_size=8))
def test_the_newest_value_that_fits_is_read_once(values):
    box = Mailbox(24)
    reader = Mailbox(24, os.dup(box.descriptor))
    taken = [value for i, value in enumerate(values) if box.put(value, float(i))]
    assert taken == [value for value in values if len(value) <= 24]
    found = reader.newer_than(0)
    assert (None if found is None else found[2]) == (taken[-1] if taken else None)
    assert reader.newer_than(len(taken)) is None
    box.close()
    reader.close()


def test_another_process_reads_it():
    box = Mailbox(64)
    box.put(b"hello", 2.5)
    program = f"from robo_rl.cockpit.mailbox import Mailbox; print(Mailbox(64, {box.descriptor}).newer_than(0))"
    said = subprocess.run(
        [sys.executable, "-c", program], pass_fds=[box.descriptor], capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "(1, 2.5, b'hello')"
    box.close()


def test_what_is_read_is_whole_while_it_is_written():
    box = Mailbox(1 << 16)
    done = threading.Event()

    def write():
        for i in range(3000):
            box.put(bytes([i % 251]) * (1 << 16), 0.0)
        done.set()

    reader, count, seen = Mailbox(1 << 16, os.dup(box.descriptor)), 0, 0
    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        found = reader.newer_than(count)
        if found is not None:
            count, seen = found[0], seen + 1
            assert len(set(found[2])) == 1
            assert found[2][0] == (found[0] - 1) % 251
    thread.join()
    assert seen > 0
    assert reader.newer_than(0)[0] == 3000
