"""How the threads of a process take turns, as requests come together or alone."""

import os
import threading
from collections.abc import Iterator

import pytest

from service.turns import Turns

pytestmark = pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="only Linux has it")


@pytest.fixture
def other() -> Iterator[int]:
    """The id of another thread of this process; afterwards this one is as it was."""
    end = threading.Event()
    thread = threading.Thread(target=end.wait)
    thread.start()
    yield thread.native_id or 0
    end.set()
    thread.join()
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def test_no_thread_interrupts_another_while_requests_come_together(other: int) -> None:
    turns = Turns()

    turns.heed(requests=40, runs=10)

    assert {os.sched_getscheduler(thread) for thread in (0, other)} == {os.SCHED_BATCH}


@pytest.mark.parametrize(("requests", "runs"), [(50, 20), (40, 10)], ids=["one by one", "nobody"])
def test_requests_that_come_alone_may_interrupt_again(requests: int, runs: int, other: int) -> None:
    turns = Turns()
    turns.heed(requests=40, runs=10)

    turns.heed(requests, runs)

    assert {os.sched_getscheduler(thread) for thread in (0, other)} == {os.SCHED_OTHER}


def test_a_little_fewer_together_change_nothing(other: int) -> None:
    turns = Turns()
    turns.heed(requests=40, runs=10)

    turns.heed(requests=40 + 17, runs=10 + 10)

    assert os.sched_getscheduler(other) == os.SCHED_BATCH


def test_requests_that_come_alone_change_nothing(other: int) -> None:
    turns = Turns()

    turns.heed(requests=19, runs=10)

    assert os.sched_getscheduler(other) == os.SCHED_OTHER
