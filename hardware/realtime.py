"""Real-time priority for control loops, where the machine allows it: as Franka asks of a robot's computer."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


def step_back() -> None:
    """Let the calling thread, and what it starts, have no real-time priority, whoever has started it."""
    if hasattr(os, "sched_setscheduler"):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no thread of this process keep its control thread waiting for the interpreter.

    Whoever has the interpreter gives it up soon, and no garbage is collected.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
        sys.setswitchinterval(interval)


def prioritise(priority: int = 10) -> bool:
    """Let the calling thread, and what it starts, go before everything that has no real-time priority.

    Only for loops that sleep most of the time. Needs root, or ``rtprio`` in ``/etc/security/limits.conf``.

    Args:
        priority: among real-time threads, 1 to 99.

    Returns:
        Whether it was granted; nothing has changed if not.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
    except (OSError, AttributeError) as error:
        logger.info("no real-time priority: %s", error)
        return False
    return True
