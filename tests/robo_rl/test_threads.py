import os
import subprocess
import sys
import threading

import pytest

REPORT = (
    "import os, sys; from robo_rl import threads; assert 'torch' not in sys.modules;"
    "threads.configure(THREADS, spare=SPARE);"
    "import torch; print(torch.get_num_threads(), os.environ['OMP_WAIT_POLICY'], os.environ['GOMP_SPINCOUNT'])"
)


def report(threads: int | None, spare: int = 0, **environment: str) -> list[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith(("OMP", "GOMP", "MKL"))} | environment
    code = REPORT.replace("THREADS", str(threads)).replace("SPARE", str(spare))
    return subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    ).stdout.split()


def test_a_fresh_process_gets_sleeping_threads_of_the_wanted_number() -> None:
    assert report(1) == ["1", "PASSIVE", "0"]


def test_what_the_environment_says_is_left_alone() -> None:
    assert report(None, OMP_NUM_THREADS="1", OMP_WAIT_POLICY="ACTIVE") == ["1", "ACTIVE", "0"]


def test_cores_are_spared_where_nobody_says_how_many_to_use() -> None:
    from robo_rl.threads import cores

    assert report(None, spare=1)[0] == str(max(1, cores() - 1))
    assert report(None, spare=99)[0] == "1"
    assert report(2, spare=99)[0] == "2"
    assert report(None, spare=99, OMP_NUM_THREADS="2")[0] == "2"


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own here")
def test_a_thread_that_steps_back_is_nicer_than_the_others_only() -> None:
    from robo_rl import threads

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    found: list[int] = []

    def work() -> None:
        threads.step_back()
        found.append(niceness())

    before = niceness()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found[0] > before or before >= 10
    assert niceness() == before


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
