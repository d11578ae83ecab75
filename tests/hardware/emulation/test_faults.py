from __future__ import annotations

import numpy as np
import pytest

from hardware.emulation.faults import Fault, Faults


@pytest.fixture
def faults():
    return Faults(np.random.default_rng(0))


def test_a_fault_lasts_as_long_as_it_shall(faults):
    faults.add(Fault("freeze", "state", seconds=2.0), now=10.0)
    assert [faults.frozen("state", now) for now in (10.0, 11.9, 12.0, 13.0)] == [True, True, False, False]


def test_a_fault_of_one_thing_is_none_of_another(faults):
    faults.add(Fault("delay", "state", amount=0.3), now=0.0)
    assert (faults.delay("state", 0.5), faults.delay("command", 0.5)) == (0.3, 0.0)
    faults.add(Fault("unplug", "front"), now=0.0)
    assert faults.unplugged(0.5, "front")
    assert not faults.unplugged(0.5, "wrist")
    assert faults.unplugged(0.5)


def test_no_time_ends_it(faults):
    faults.add(Fault("unplug", "state", seconds=100.0), now=0.0)
    faults.add(Fault("unplug", "state", seconds=0.0), now=1.0)
    assert not faults.unplugged(1.0)


def test_the_amount_is_the_share_that_is_hit(faults):
    faults.add(Fault("drop", "state", seconds=10.0, amount=0.25), now=0.0)
    lost = sum(faults.drops("state", 1.0) for _ in range(4000))
    assert 0.2 < lost / 4000 < 0.3
    assert not any(faults.garbles("state", 1.0) for _ in range(100))


@pytest.mark.parametrize(
    "bad", [{"kind": "explode"}, {"kind": "drop", "seconds": -1.0}, {"kind": "delay", "amount": float("nan")}]
)
def test_what_is_no_fault_is_refused(bad):
    with pytest.raises(ValueError, match="fault"):
        Fault(**bad)
