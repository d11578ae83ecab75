"""Settings of the process that make small matrix products fast on a shared CPU. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
import platform
import sys

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameter numbers of glibc's mallopt(3)


def configure(threads: int | None = None) -> None:
    """Set up the threads and the memory allocator of this process; call it before torch is first imported.

    What the environment already says is left alone. OpenMP reads it once, when torch is loaded; afterwards only the
    number of threads can still be changed, and is.

    Args:
        threads: that torch computes with; None leaves it to ``OMP_NUM_THREADS``, or else to torch.
    """
    # A thread that waits for work sleeps at once. By default it spins, and where simulator, learner and cameras share
    # the cores, two spinning threads made one update 27 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
    _keep_freed_memory()


def _keep_freed_memory() -> None:
    """Let glibc keep freed memory in its heap.

    By default each activation of some megabytes is mapped from the kernel, page by page, and given back at once;
    keeping them made updates 1.15 to 1.25 times faster.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    mallopt = ctypes.CDLL(None).mallopt
    mallopt(_M_TRIM_THRESHOLD, 1 << 30)
    if not mallopt(_M_MMAP_THRESHOLD, 1 << 30):
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # the most that older versions take
