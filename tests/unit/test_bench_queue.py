"""The model of the queue, where its answer can be told by hand."""

import pytest

from bench.queue_model import Queue, bound, simulated


@pytest.mark.parametrize(
    ("workers", "rate"),
    [(1, 1 / 0.11), (4, 4 / 0.11), (1000, 1 / 0.004)],
    ids=["one never waits", "a few hardly wait", "many wait for Redis alone"],
)
def test_what_can_be_told_by_hand_is_told(workers: int, rate: float) -> None:
    queue = Queue(workers=workers, work_s=0.1, redis_s=0.004, caller_s=0.006)

    assert simulated(queue) == pytest.approx(rate, rel=0.03)
    assert bound(queue) == pytest.approx(rate, rel=1e-9)


def test_between_the_two_some_wait_and_none_gets_more_than_the_bound() -> None:
    queue = Queue(workers=25, work_s=0.1, redis_s=0.004, caller_s=0.0)

    assert 0.75 * bound(queue) < simulated(queue) <= 1.01 * bound(queue)
