"""Requests that wait for a run on an event loop: who shares it, who waits for nobody, and what each is told."""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import Any

import numpy as np
import pytest

from models.execution import CPU, CUDA
from models.ragged import Floats, Ragged
from service.gather import MOST_DAYS, MOST_ROWS, SHORT_DAYS, SHORT_ROWS, Gathering, Ran

Seen = list[tuple[str, int]]


class Doubling:
    """Stands for a forecaster: twice each row's first close, refuses 13, and remembers its runs and their threads."""

    def __init__(self, provider: str = CPU) -> None:
        self.provider = provider
        self.runs: list[list[float]] = []
        self.threads: list[str] = []
        self.go_on = threading.Event()
        self.go_on.set()

    def run(self, rows: Ragged) -> Floats:
        self.go_on.wait(30)
        firsts = rows.values[rows.offsets[:-1]]
        self.runs.append(firsts.tolist())
        self.threads.append(threading.current_thread().name)
        if 13 in firsts:
            raise ValueError("13 brings bad luck")
        return (2 * firsts[:, None]).astype(np.float32)


def rows_of(*values: float, days: int = 3) -> Ragged:
    return Ragged.of([[value] * days for value in values])


def on_a_loop(
    test: Callable[[Gathering], Coroutine[Any, Any, None]], seen: Callable[..., None] = lambda *_: None
) -> None:
    async def main() -> None:
        with ThreadPoolExecutor(2, "long") as threads:
            await test(Gathering(asyncio.get_running_loop(), threads, seen=seen))

    asyncio.run(main())


def test_requests_of_one_turn_share_a_run_and_each_gets_its_own_rows() -> None:
    model, seen = Doubling(), []

    async def test(gather: Gathering) -> None:
        answers = await asyncio.gather(*(gather(model, rows_of(*each)) for each in [(1, 2), (3,), (4, 5)]))
        assert [ran.quantiles.ravel().tolist() for ran in answers] == [[2, 4], [6], [8, 10]]
        assert [ran.batch_rows for ran in answers] == [5, 5, 5]

    on_a_loop(test, lambda forecaster, rows, run_ns: seen.append((forecaster, rows, run_ns > 0)))

    assert model.runs == [[1, 2, 3, 4, 5]]
    assert model.threads == ["MainThread"]
    assert seen == [(model, 5, True)]


def test_models_do_not_share_runs() -> None:
    one, other = Doubling(), Doubling()

    async def test(gather: Gathering) -> None:
        await asyncio.gather(gather(one, rows_of(1)), gather(other, rows_of(2)), gather(one, rows_of(3)))

    on_a_loop(test)

    assert (one.runs, other.runs) == ([[1, 3]], [[2]])


def test_a_request_whose_rows_fail_fails_alone() -> None:
    model = Doubling()

    async def test(gather: Gathering) -> None:
        asked = [gather(model, rows_of(value)) for value in (1, 13, 2)]
        first, second, third = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(first, Ran)
        assert isinstance(third, Ran)
        assert str(second) == "13 brings bad luck"
        assert [first.quantiles.item(), third.quantiles.item()] == [2, 4]

    on_a_loop(test)


def test_more_than_a_run_takes_becomes_several_in_the_order_of_arrival() -> None:
    model = Doubling()

    async def test(gather: Gathering) -> None:
        await asyncio.gather(*(gather(model, rows_of(100 + turn)) for turn in range(2 * MOST_ROWS + 5)))

    on_a_loop(test)

    assert [len(run) for run in model.runs] == [MOST_ROWS, MOST_ROWS, 5]
    assert list(chain(*model.runs)) == [100 + turn for turn in range(2 * MOST_ROWS + 5)]


@pytest.mark.parametrize("rows", [rows_of(*range(100, MOST_ROWS + 101)), rows_of(1, days=MOST_DAYS + 1)])
def test_the_longest_requests_run_in_a_thread_and_nobody_waits_for_them(rows: Ragged) -> None:
    model = Doubling()

    async def test(gather: Gathering) -> None:
        model.go_on.clear()
        long = gather(model, rows)
        other = Doubling()
        assert (await gather(other, rows_of(7))).quantiles.item() == 14
        assert not long.done()
        model.go_on.set()
        assert (await long).batch_rows == len(rows)

    on_a_loop(test)

    assert model.threads[0].startswith("long")


@pytest.mark.parametrize("rows", [rows_of(*range(100, SHORT_ROWS + 101)), rows_of(1, days=SHORT_DAYS + 1)])
def test_a_long_request_runs_on_the_loop_unless_short_ones_have_come_lately(rows: Ragged) -> None:
    model = Doubling()

    async def test(gather: Gathering) -> None:
        await gather(model, rows)
        await gather(model, rows_of(7))
        await gather(model, rows)

    on_a_loop(test)

    assert [thread.partition("_")[0] for thread in model.threads] == ["MainThread", "MainThread", "long"]


def test_while_a_gpu_runs_the_next_run_gathers() -> None:
    model = Doubling(CUDA)

    async def test(gather: Gathering) -> None:
        model.go_on.clear()
        first = gather(model, rows_of(1))
        await asyncio.sleep(0.01)  # its run begins
        others = [gather(model, rows_of(value)) for value in (2, 3)]
        await asyncio.sleep(0.01)
        model.go_on.set()
        await asyncio.gather(first, *others)

    on_a_loop(test)

    assert model.runs == [[1], [2, 3]]
    assert all(name.startswith("long") for name in model.threads)


def test_on_a_gpu_as_many_share_a_run_as_one_run_takes() -> None:
    model, requests = Doubling(CUDA), 2 * MOST_ROWS + 5

    async def test(gather: Gathering) -> None:
        await asyncio.gather(*(gather(model, rows_of(100 + turn)) for turn in range(requests)))

    on_a_loop(test)

    assert [len(run) for run in model.runs] == [requests]


def test_whoever_has_gone_is_not_run_for() -> None:
    model = Doubling()

    async def test(gather: Gathering) -> None:
        gone, there = gather(model, rows_of(1)), gather(model, rows_of(2))
        gone.cancel()
        assert (await there).quantiles.item() == 4

    on_a_loop(test)

    assert model.runs == [[2]]


def test_the_next_turn_starts_a_run_of_its_own() -> None:
    model = Doubling()

    async def test(gather: Gathering) -> None:
        await gather(model, rows_of(1))
        ran = await gather(model, rows_of(2))
        assert 0 < ran.run_ns < 1e9

    on_a_loop(test)

    assert model.runs == [[1], [2]]
