"""
Runs that wait together run together: one run for the rows of several callers, as onnxruntime likes it best.

A caller that finds nobody running runs at once and alone, so that a single caller waits for nothing and no timer ticks.
Callers that come meanwhile queue; when the run ends, the first of them runs for all. A row's answer is the one that it
gets alone, since `models.forecaster.Forecaster.run` keeps rows apart.
"""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from models.ragged import Floats, Ragged

MOST_ROWS = 64
"""Rows of a shared run: two of the largest runs that pay. A caller with more runs by itself."""


@dataclass(slots=True, eq=False)
class _Waiting:
    """A caller that waits: what it brought, what it got, and those that it is to run for."""

    rows: Ragged
    woken: threading.Lock = field(default_factory=threading.Lock)
    leads: "list[_Waiting] | None" = None
    answer: Floats | None = None
    error: Exception | None = None

    def __post_init__(self) -> None:
        self.woken.acquire()


class Together:
    """One run at a time, for all that wait. Thread-safe."""

    def __init__(self, run: Callable[[Ragged], Floats]) -> None:
        """
        Share a run.

        Args:
            run: Answers rows, B of them, with shape ``(B, Q)``, each row for itself.
        """
        self._run = run
        self._lock = threading.Lock()
        self._busy = False
        self._queue: deque[_Waiting] = deque()

    def __call__(self, rows: Ragged) -> Floats:
        """
        What the run answers to these rows; raises what it raises for these rows alone.

        A caller whose rows fail alone leaves those that it ran with untouched.
        """
        if len(rows) > MOST_ROWS:
            return self._run(rows)
        with self._lock:
            waiting = _Waiting(rows) if self._busy else None
            self._busy = True
            if waiting:
                self._queue.append(waiting)
        if waiting is None:
            try:
                return self._run(rows)
            finally:
                self._hand_on()
        waiting.woken.acquire()
        if waiting.leads:
            try:
                self._answer(waiting.leads)
            finally:
                self._hand_on()
        if waiting.error:
            raise waiting.error
        assert waiting.answer is not None  # noqa: S101 - one of the two is set by whoever ran
        return waiting.answer

    def _hand_on(self) -> None:
        """Wake the first that waits, to run for itself and those behind it, or let the next caller run at once."""
        with self._lock:
            batch: list[_Waiting] = []
            count = 0
            while self._queue and count + len(self._queue[0].rows) <= MOST_ROWS:
                batch.append(self._queue.popleft())
                count += len(batch[-1].rows)
            self._busy = bool(batch)
        if batch:
            batch[0].leads = batch
            batch[0].woken.release()

    def _answer(self, batch: list[_Waiting]) -> None:
        """Run for a batch, whose first is the caller; where that fails, for each alone; wake the others."""
        try:
            if len(batch) > 1:
                self._share(batch)
        except Exception:
            for each in batch:
                each.answer = None
        for each in batch:
            if each.answer is None:
                try:
                    each.answer = self._run(each.rows)
                except Exception as error:
                    each.error = error
        for each in batch[1:]:
            each.woken.release()

    def _share(self, batch: list[_Waiting]) -> None:
        lengths = np.concatenate([each.rows.lengths for each in batch])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        values = np.concatenate([each.rows.values[each.rows.offsets[0] : each.rows.offsets[-1]] for each in batch])
        answers = self._run(Ragged(values, offsets))
        first = 0
        for each in batch:
            each.answer = answers[first : first + len(each.rows)]
            first += len(each.rows)
