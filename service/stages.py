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
        totals_ns: Nanoseconds of each stage that happened, in the order in which they began.
    """

    __slots__ = ("_laps", "_last_ns", "rows", "served", "started_ns", "totals_ns")

    def __init__(self) -> None:
        self.started_ns = self._last_ns = time.perf_counter_ns()
        self.rows = 0
        self.served: Served | None = None
        self.totals_ns: dict[str, int] = {}
        self._laps: list[tuple[str, int, int]] = []

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage, one of `STAGES`."""
        self._until(time.perf_counter_ns(), stage)

    def skip(self) -> None:
        """Count the time since the last lap to no stage, as that in which a body came in."""
        self._last_ns = time.perf_counter_ns()

    def ran(self, run_ns: int) -> None:
        """Count the time since the last lap: its last `run_ns` nanoseconds to the run, what was before to waiting."""
        now = time.perf_counter_ns()
        self._until(max(now - run_ns, self._last_ns), "wait")
        self._until(now, "run")

    def _until(self, now: int, stage: str) -> None:
        last = self._last_ns
        self._laps.append((stage, last, now))
        self.totals_ns[stage] = self.totals_ns.get(stage, 0) + now - last
        self._last_ns = now

    def spans(self) -> Iterator[tuple[str, int, int]]:
        """Each stage as it came, with the nanoseconds since the start at which it began and ended."""
        for stage, began, ended in self._laps:
            yield stage, began - self.started_ns, ended - self.started_ns

    @property
    def total_ns(self) -> int:
        """Nanoseconds since the start."""
        return time.perf_counter_ns() - self.started_ns


def server_timing(stages: Stages) -> str:
    """
    The stages as the value of a `Server-Timing` header (W3C), durations in milliseconds; '' where there were none.

    As in ``decode;dur=0.012, wait;dur=0.300, run;dur=0.200, encode;dur=0.010``.
    """
    return ", ".join([f"{stage};dur={ns / 1e6:.3f}" for stage, ns in stages.totals_ns.items()])
