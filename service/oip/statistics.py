"""What this process has inferred, a model version at a time, as the protocol's statistics have it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

COMPUTE = ("compute_input", "compute_infer", "compute_output")
STAGES = ("queue", *COMPUTE)
OUTCOMES = ("success", "fail", *STAGES)


class Laps:
    """
    The times of one request, stage by stage.

    Attributes:
        rows: Rows that it has, once they are read.
        ns: Nanoseconds that each stage took.
    """

    def __init__(self) -> None:
        self.rows = 0
        self.ns = dict.fromkeys(STAGES, 0)
        self._started = self._last = time.perf_counter_ns()

    def lap(self, stage: str) -> None:
        """Count the time since the last lap to a stage."""
        now = time.perf_counter_ns()
        self.ns[stage] += now - self._last
        self._last = now

    @property
    def total_ns(self) -> int:
        """Nanoseconds since the start."""
        return time.perf_counter_ns() - self._started


@dataclass(slots=True)
class _Duration:
    count: int = 0
    ns: int = 0

    def add(self, ns: int) -> None:
        self.count += 1
        self.ns += ns

    def view(self) -> dict[str, int]:
        return {"count": self.count, "ns": self.ns}


def _durations(names: tuple[str, ...]) -> dict[str, _Duration]:
    return {name: _Duration() for name in names}


@dataclass(slots=True)
class _Tally:
    """The counts of one model version; `by_rows` goes from a request's rows to its stages."""

    last_ms: int = 0
    rows: int = 0
    stages: dict[str, _Duration] = field(default_factory=lambda: _durations(OUTCOMES))
    by_rows: dict[int, dict[str, _Duration]] = field(default_factory=dict)

    def succeed(self, laps: Laps) -> None:
        self.last_ms = time.time_ns() // 1_000_000
        self.rows += laps.rows
        self.stages["success"].add(laps.total_ns)
        batch = self.by_rows.setdefault(laps.rows, _durations(COMPUTE))
        for stage, ns in laps.ns.items():
            self.stages[stage].add(ns)
            if stage in batch:
                batch[stage].add(ns)


class Statistics:
    """
    The inferences of one process, counted. Thread-safe.

    A request's rows run together and with no one else's, so each request that succeeds is one execution, and its batch
    size is its rows. What fails counts as failed, with its time, and nowhere else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, int], _Tally] = {}

    @contextmanager
    def watch(self, name: str, version: int) -> Iterator[Laps]:
        """Count what happens inside: as failed if it raises, else with the laps that it noted."""
        laps = Laps()
        try:
            yield laps
        except BaseException:
            with self._lock:
                self._tally(name, version).stages["fail"].add(laps.total_ns)
            raise
        with self._lock:
            self._tally(name, version).succeed(laps)

    def of(self, name: str, version: int) -> dict[str, Any]:
        """The statistics of a model version; zeros where nothing was asked of it yet."""
        with self._lock:
            tally = self._tally(name, version)
            return {
                "name": name,
                "version": str(version),
                "last_inference": tally.last_ms,
                "inference_count": tally.rows,
                "execution_count": tally.stages["success"].count,
                "inference_stats": {stage: duration.view() for stage, duration in tally.stages.items()},
                "batch_stats": [
                    {"batch_size": rows} | {stage: duration.view() for stage, duration in stages.items()}
                    for rows, stages in sorted(tally.by_rows.items())
                ],
            }

    def _tally(self, name: str, version: int) -> _Tally:
        return self._tallies.setdefault((name, version), _Tally())
