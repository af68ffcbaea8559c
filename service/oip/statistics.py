"""What this process has inferred, a model version at a time, as the protocol's statistics have it."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from models.bundle import Card
from service.stages import Stages

COMPUTE = ("compute_input", "compute_infer", "compute_output")
STAGES = {"queue": "wait", "compute_input": "decode", "compute_infer": "run", "compute_output": "encode"}
"""The protocol's stages, and what `service.stages` calls them."""
OUTCOMES = ("success", "fail", *STAGES)


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
    """The counts of one model version; `by_rows` goes from a run's rows to its stages."""

    last_ms: int = 0
    rows: int = 0
    executions: int = 0
    stages: dict[str, _Duration] = field(default_factory=lambda: _durations(OUTCOMES))
    by_rows: dict[int, dict[str, _Duration]] = field(default_factory=dict)

    def batch(self, rows: int) -> dict[str, _Duration]:
        if rows not in self.by_rows:
            self.by_rows[rows] = _durations(COMPUTE)
        return self.by_rows[rows]


class Statistics:
    """
    The inferences of one process, counted, by whichever route they were asked for. Thread-safe.

    A run is one execution, and its batch size is its rows, which may be those of several requests. What fails counts as
    failed, with its time, and nowhere else.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._tallies: dict[tuple[str, int], _Tally] = {}

    def ran(self, card: Card, rows: int, run_ns: int) -> None:
        """Count a run of so many rows."""
        with self._lock:
            tally = self._tally(card.name, card.version)
            tally.executions += 1
            tally.batch(rows)["compute_infer"].add(run_ns)
            for stage in ("compute_input", "compute_output"):  # the times come with the requests
                tally.batch(rows)[stage].count += 1

    def succeeded(self, card: Card, stages: Stages, batch_rows: int) -> None:
        """
        Count a request that was answered.

        Args:
            card: Of the model.
            stages: Its clock.
            batch_rows: Of the run that it shared.
        """
        totals_ns = stages.totals_ns
        with self._lock:
            tally = self._tally(card.name, card.version)
            tally.last_ms = time.time_ns() // 1_000_000
            tally.rows += stages.rows
            tally.stages["success"].add(stages.total_ns)
            for stage, ours in STAGES.items():
                tally.stages[stage].add(totals_ns.get(ours, 0))
            batch = tally.batch(batch_rows)
            batch["compute_input"].ns += totals_ns.get("decode", 0)
            batch["compute_output"].ns += totals_ns.get("encode", 0)

    @contextmanager
    def failing(self, card: Card) -> Iterator[None]:
        """Count what happens inside as failed, if it raises."""
        started_ns = time.perf_counter_ns()
        try:
            yield
        except Exception:
            with self._lock:
                self._tally(card.name, card.version).stages["fail"].add(time.perf_counter_ns() - started_ns)
            raise

    def of(self, name: str, version: int) -> dict[str, Any]:
        """The statistics of a model version; zeros where nothing was asked of it yet."""
        with self._lock:
            tally = self._tally(name, version)
            return {
                "name": name,
                "version": str(version),
                "last_inference": tally.last_ms,
                "inference_count": tally.rows,
                "execution_count": tally.executions,
                "inference_stats": {stage: duration.view() for stage, duration in tally.stages.items()},
                "batch_stats": [
                    {"batch_size": rows} | {stage: duration.view() for stage, duration in stages.items()}
                    for rows, stages in sorted(tally.by_rows.items())
                ],
            }

    def _tally(self, name: str, version: int) -> _Tally:
        if (name, version) not in self._tallies:
            self._tallies[name, version] = _Tally()
        return self._tallies[name, version]
