"""What this process has inferred, a model version at a time, as the protocol's statistics have it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from service.stages import Stages

NAMES = {"wait": "queue", "decode": "compute_input", "run": "compute_infer", "encode": "compute_output"}
"""Our stages, as the protocol calls them."""
COMPUTE = ("compute_input", "compute_infer", "compute_output")
OUTCOMES = ("success", "fail", "queue", *COMPUTE)


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

    def succeed(self, stages: Stages, took_ns: int) -> None:
        self.last_ms = time.time_ns() // 1_000_000
        self.rows += stages.rows
        self.stages["success"].add(took_ns)
        batch = self.by_rows.setdefault(stages.rows, _durations(COMPUTE))
        totals_ns = stages.totals_ns()
        for ours, theirs in NAMES.items():
            self.stages[theirs].add(totals_ns.get(ours, 0))
            if theirs in batch:
                batch[theirs].add(totals_ns.get(ours, 0))


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
    def watch(self, name: str, version: int, stages: Stages) -> Iterator[None]:
        """Count what happens inside: as failed if it raises, else with the stages that were noted."""
        began_ns = time.perf_counter_ns()
        try:
            yield
        except BaseException:
            with self._lock:
                self._tally(name, version).stages["fail"].add(time.perf_counter_ns() - began_ns)
            raise
        with self._lock:
            self._tally(name, version).succeed(stages, time.perf_counter_ns() - began_ns)

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
