"""The limit of bulk scoring: bare processes of one thread each that run the graph over the same rows."""

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.bulk_data import Series
from bench.processes import APPS

SUB_BATCHES = (16, 32, 64)
"""Rows of a run that are tried; the best counts."""
TRIES = 4
"""Of each."""


@dataclass(frozen=True)
class Scored:
    """
    What scoring all rows once took.

    Attributes:
        seconds: Until the last process was done.
        cpu_s: Processor time of all processes together.
    """

    seconds: float
    cpu_s: float


class Limit:
    """Processes that wait, warm, to score their share of the rows."""

    def __init__(self, series: Series, children: "list[subprocess.Popen[str]]", sub_batch: int) -> None:
        self.series = series
        self.sub_batch = sub_batch
        self._children = children

    def score(self) -> Scored:
        """Score all rows once, in all processes at the same time."""
        for child in self._children:
            child.stdin.write("go\n")
            child.stdin.flush()
        told = [[float(word) for word in child.stdout.readline().split()] for child in self._children]
        return Scored(max(seconds for seconds, _ in told), sum(cpu_s for _, cpu_s in told))


@contextmanager
def limit_of(series: Series, model: Path, processes: int) -> Iterator[Limit]:
    """The limit for some series, with the best of `SUB_BATCHES`, which is found first."""
    with ExitStack() as opened:
        tried = [opened.enter_context(_with_sub_batch(series, model, processes, each)) for each in SUB_BATCHES]
        took = {limit: [] for limit in tried}
        for limit in TRIES * tried:  # in turns, since the machine is not equally fast from one second to the next
            took[limit].append(limit.score().seconds)
        yield min(tried, key=lambda limit: min(took[limit]))


@contextmanager
def _with_sub_batch(series: Series, model: Path, processes: int, sub_batch: int) -> Iterator[Limit]:
    env = {**os.environ, "BENCH_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    cuts = [series.rows * share // processes for share in range(processes + 1)]
    pipe = subprocess.PIPE
    with ExitStack() as opened:
        children = []
        for first, stop in itertools.pairwise(cuts):
            asked = [str(series.file("npy")), str(first), str(stop), str(sub_batch)]
            command = [sys.executable, str(APPS / "rows_app.py"), *asked]
            child = subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True)
            children.append(opened.enter_context(child))  # its stdin is closed on the way out, and so it ends
        yield Limit(series, children, sub_batch)
