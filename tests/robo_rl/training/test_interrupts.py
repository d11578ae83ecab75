import os
import signal

import pytest

from robo_rl.training.interrupts import Interrupts


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_is_noted_and_the_second_ends(number, code):
    before = signal.getsignal(number)
    with Interrupts() as interrupts:
        assert not interrupts.requested
        assert interrupts.exit_code == 0
        os.kill(os.getpid(), number)
        assert interrupts.requested
        assert interrupts.exit_code == code
        assert signal.getsignal(number) == before  # so that another one does what it always does
    assert signal.getsignal(number) == before
    assert interrupts.exit_code == code
