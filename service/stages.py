"""The clock of one request: how long each of its stages took, and what it turned out to be about."""

import time
from collections.abc import Iterator
from typing import NamedTuple

STAGES = ("decode", "wait", "run", "encode")
"""Reading and checking a request, waiting for a turn, running the graph, writing the answer."""


class Served(NamedTuple):
    """The model that answered."""

    name: str
    version: int
    digest: str
    provider: str


class Stages:
    """
    The times of one request, from when this is made. Belongs to one request; costs nothing where nothing is noted.

    Attributes:
        started_ns: When it began, in nanoseconds of `time.perf_counter_ns`.
        rows: Rows that it has, once they are read; else 0.
        served: The model that answers it, once that is known.
    """

    __slots__ = ("_laps", "rows", "served", "started_ns")

    def __init__(self) -> None:
        self.started_ns = time.perf_counter_ns()
        self.rows = 0
        self.served: Served | None = None
        self._laps: list[tuple[str, int]] = []

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage, one of `STAGES`."""
        self._laps.append((stage, time.perf_counter_ns()))

    def skip(self) -> None:
        """Count the time since the last lap to no stage, as that in which a body came in."""
        self._laps.append(("", time.perf_counter_ns()))

    def ran(self, run_ns: int) -> None:
        """Count the time since the last lap: its last `run_ns` nanoseconds to the run, what was before to waiting."""
        now = time.perf_counter_ns()
        self._laps.append(("wait", max(now - run_ns, self._laps[-1][1] if self._laps else self.started_ns)))
        self._laps.append(("run", now))

    def spans(self) -> Iterator[tuple[str, int, int]]:
        """Each stage as it came, with the nanoseconds since the start at which it began and ended."""
        last = self.started_ns
        for stage, at in self._laps:
            if stage:
                yield stage, last - self.started_ns, at - self.started_ns
            last = at

    def totals_ns(self) -> dict[str, int]:
        """Nanoseconds of each stage that happened, in the order in which they began."""
        totals: dict[str, int] = {}
        last = self.started_ns
        for stage, at in self._laps:
            if stage:
                totals[stage] = totals.get(stage, 0) + at - last
            last = at
        return totals

    @property
    def total_ns(self) -> int:
        """Nanoseconds since the start."""
        return time.perf_counter_ns() - self.started_ns


def server_timing(stages: Stages) -> str:
    """
    The stages as the value of a `Server-Timing` header (W3C), durations in milliseconds; '' where there were none.

    As in ``decode;dur=0.012, wait;dur=0.300, run;dur=0.200, encode;dur=0.010``.
    """
    return ", ".join([f"{stage};dur={ns / 1e6:.3f}" for stage, ns in stages.totals_ns().items()])
