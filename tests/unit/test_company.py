"""Threads beside one another, and one by itself."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from worker.company import Company

WAIT_S = 10


def test_many_are_in_together() -> None:
    company, both = Company(), threading.Barrier(2)

    def enter() -> bool:
        with company.among(alone=False):
            return both.wait(WAIT_S) >= 0

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: enter(), range(2))) == [True, True]


def test_one_that_is_alone_has_nobody_beside_it_whoever_comes_and_goes() -> None:
    company, inside, seen = Company(), [0], []
    lock = threading.Lock()

    def enter(number: int) -> None:
        alone = number % 5 == 0
        with company.among(alone=alone):
            with lock:
                inside[0] += 1
            for _ in range(100):
                if alone:
                    seen.append(inside[0])
            with lock:
                inside[0] -= 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(enter, range(400)))

    assert set(seen) == {1}
    assert len(seen) == 8000


def test_who_fails_inside_lets_the_next_one_in() -> None:
    company = Company()

    for alone in (True, False):
        with pytest.raises(ZeroDivisionError), company.among(alone=alone):
            1 / 0  # noqa: B018

    with company.among(alone=True):
        pass
