"""Real-time priority for control loops, where the machine allows it: as Franka asks of a robot's computer."""

from __future__ import annotations

import gc
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

logger = logging.getLogger(__name__)


@contextmanager
def hand_over_soon() -> Iterator[None]:
    """Have threads of this process give up the interpreter within half a millisecond if another one wants it."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)
    try:
        yield
    finally:
        sys.setswitchinterval(interval)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Let no thread keep the control thread of its process waiting: :func:`hand_over_soon`, no garbage collection."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        with hand_over_soon():
            yield
    finally:
        gc.enable()
        gc.unfreeze()


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
