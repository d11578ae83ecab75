"""Settings of the process that make small matrix products fast on a shared CPU. Imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import threading

_NICE = 10
"""How much a thread that steps back is nicer than the others; 19 is the most."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # parameter numbers of glibc's mallopt(3)


def configure(threads: int | None = None, *, spare: int = 0) -> None:
    """Set up the threads and the memory allocator of this process; call it before torch is first imported.

    What the environment already says is left alone. OpenMP reads it once, when torch is loaded; afterwards only the
    number of threads can still be changed, and is.

    Args:
        threads: that torch computes with; None leaves it to ``OMP_NUM_THREADS``, or else to torch.
        spare: cores that torch leaves to others, where neither ``threads`` nor ``OMP_NUM_THREADS`` says how many.
    """
    # A thread that waits for work sleeps at once. By default it spins, and where simulator, learner and cameras share
    # the cores, two spinning threads made one update 27 times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "0")
    if threads is None and spare and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, cores() - spare)
    if threads is not None:
        os.environ["OMP_NUM_THREADS"] = str(threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(threads)
    _keep_freed_memory()


def cores() -> int:
    """Return the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def step_back() -> None:
    """Let the other threads of this process go before the calling one, and before those that it starts.

    A real-time priority that it has inherited is given up. Where threads have no priorities of their own (anywhere but
    on Linux) nothing happens.
    """
    if sys.platform == "linux":
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)


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
