"""
Rows of requests that wait together run together, on the event loop of a process.

The first request of a turn of the loop asks for a run at the turn's end; whoever has come by then shares it. So one
alone waits for nobody, and no timer ticks. A short run is done on the loop itself, since a hop to a thread and back
costs more than it. A run on a GPU is done in a thread, and while it is on, the next one's requests gather. A request
that is long by itself is done in a thread, too, so that no short one waits for it; where none has come lately, only one
that is longer than any shared run.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

from models.execution import CPU
from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from models.runs import ON_GPU
from models.together import run_together

MOST_ROWS, MOST_DAYS = 256, 16 * 1024
"""
Rows and closes of a shared run, which takes ten milliseconds then; a request with more runs by itself. They are several
runs of the graph, since it and Python push each other out of the caches. On a GPU they are as many as one run takes.
"""
SHORT_ROWS, SHORT_DAYS = 64, 8 * 1024
"""Rows and closes of a short request, which takes some milliseconds at most."""
AMONG_SHORT_S = 1.0
"""Seconds since the last short request for which a long one makes way for those that may come."""

Timed = tuple[list[Floats | Exception], int]
"""Answers of a run, and the nanoseconds that it took."""
RunSeen = Callable[[Forecaster, int, int], None]


class Ran(NamedTuple):
    """
    What became of rows.

    Attributes:
        quantiles: Shape ``(B, Q)``.
        batch_rows: Rows of all that shared their run.
        run_ns: Nanoseconds that it took.
    """

    quantiles: Floats
    batch_rows: int
    run_ns: int


class _Waiting(NamedTuple):
    """A request that waits: what it brought, how many rows and days that is, and where its answer goes."""

    rows: Ragged
    own_rows: int
    days: int
    answer: asyncio.Future[Ran]


class Gathering:
    """
    The requests of one event loop that wait for a run, by model. Belongs to the thread of its loop.

    Attributes:
        requests: That have run.
        runs: That they had.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, threads: Executor, *, seen: RunSeen) -> None:
        """
        Gather on a loop.

        Args:
            loop: Where it is called.
            threads: For runs that are too long for the loop.
            seen: Told of each run: the model, its rows, and the nanoseconds it took.
        """
        self._loop = loop
        self._threads = threads
        self._seen = seen
        self.requests = self.runs = 0
        self._waiting: dict[Forecaster, list[_Waiting]] = {}
        self._busy: set[Forecaster] = set()
        self._makes_way_until = 0.0

    def __call__(self, forecaster: Forecaster, rows: Ragged) -> "asyncio.Future[Ran]":
        """What a model answers to rows that its `faults` has passed; raises what it raises for these rows alone."""
        one = _Waiting(rows, len(rows), len(rows.values), self._loop.create_future())
        if self._leaves_the_loop(forecaster, one):
            self._run_in_thread(forecaster, [one])
        elif queue := self._waiting.get(forecaster):
            queue.append(one)
        else:
            self._waiting[forecaster] = [one]
            if forecaster not in self._busy:
                self._loop.call_soon(self._start, forecaster)
        return one.answer

    def _leaves_the_loop(self, forecaster: Forecaster, one: _Waiting) -> bool:
        """Whether a request runs in a thread by itself; takes note of a short one, for which long ones make way."""
        now = self._loop.time()
        if one.own_rows <= SHORT_ROWS and one.days <= SHORT_DAYS:
            self._makes_way_until = now + AMONG_SHORT_S
            return False
        most_rows, most_days = _most(forecaster)
        return one.own_rows > most_rows or one.days > most_days or now < self._makes_way_until

    def _start(self, forecaster: Forecaster) -> None:
        """Run for those that wait: as many as share a run, and the others in the next turn."""
        batch = self._next(forecaster)
        if not batch:
            return
        if forecaster.provider != CPU:
            self._busy.add(forecaster)
            self._run_in_thread(forecaster, batch)
            return
        self._end(forecaster, batch, *_timed(forecaster, batch))
        if forecaster in self._waiting:
            self._loop.call_soon(self._start, forecaster)

    def _run_in_thread(self, forecaster: Forecaster, batch: list[_Waiting]) -> None:
        running = self._loop.run_in_executor(self._threads, _timed, forecaster, batch)
        running.add_done_callback(lambda ran: self._come_back(forecaster, batch, ran))

    def _next(self, forecaster: Forecaster) -> list[_Waiting]:
        """The first that wait, as many as share a run, without those that nobody waits for any more."""
        queue = [each for each in self._waiting.pop(forecaster, ()) if not each.answer.done()]
        most_rows, most_days = _most(forecaster)
        rows = days = taken = 0
        for each in queue:
            rows, days = rows + each.own_rows, days + each.days
            if rows > most_rows or days > most_days:
                break
            taken += 1
        if taken < len(queue):
            self._waiting[forecaster] = queue[taken:]
        return queue[:taken]

    def _come_back(self, forecaster: Forecaster, batch: list[_Waiting], ran: "asyncio.Future[Timed]") -> None:
        if error := ran.exception():
            for each in batch:
                _settle(each, error)
        else:
            self._end(forecaster, batch, *ran.result())
        if forecaster in self._busy:
            self._busy.discard(forecaster)
            self._start(forecaster)

    def _end(self, forecaster: Forecaster, batch: list[_Waiting], answers: list[Floats | Exception], ns: int) -> None:
        self.requests += len(batch)
        self.runs += 1
        rows = sum([each.own_rows for each in batch])
        for each, answer in zip(batch, answers, strict=True):
            _settle(each, answer if isinstance(answer, Exception) else Ran(answer, rows, ns))
        self._seen(forecaster, rows, ns)


def _most(forecaster: Forecaster) -> tuple[int, int]:
    """Rows and closes of a shared run."""
    return (MOST_ROWS, MOST_DAYS) if forecaster.provider == CPU else (ON_GPU.rows, ON_GPU.days)


def _timed(forecaster: Forecaster, batch: list[_Waiting]) -> Timed:
    began_ns = time.perf_counter_ns()
    answers = run_together(forecaster.run, [each.rows for each in batch])
    return answers, time.perf_counter_ns() - began_ns


def _settle(one: _Waiting, answer: Ran | BaseException) -> None:
    if one.answer.done():  # whoever asked has gone
        return
    if isinstance(answer, BaseException):
        one.answer.set_exception(answer)
    else:
        one.answer.set_result(answer)
