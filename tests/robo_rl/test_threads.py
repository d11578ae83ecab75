import os
import subprocess
import sys

import pytest

REPORT = (
    "import os, sys; from robo_rl import threads; assert 'torch' not in sys.modules; threads.configure(THREADS);"
    "import torch; print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
)


def report(threads: int | None, **environment: str) -> list[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "GOMP", "MKL"))} | environment
    code = REPORT.replace("THREADS", str(threads))
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_fresh_process_gets_sleeping_threads_of_the_wanted_number() -> None:
    assert report(1) == ["1", "PASSIVE", "0"]


def test_what_the_environment_says_is_left_alone() -> None:
    assert report(None, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE") == ["1", "ACTIVE", "0"]


def test_the_number_can_be_changed_after_torch_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from robo_rl import threads

    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, os.environ.get(name, "1"))
    before = torch.get_num_threads()
    try:
        threads.configure(before + 1)
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)
