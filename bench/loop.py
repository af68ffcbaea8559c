"""The limit: processes that run the graph in a loop, and nothing else."""

import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from bench.processes import APPS


def rows_per_second(model: Path, *, rows: int, days: int, seconds: float, processes: int) -> float:
    """
    Rows that some processes of one thread each score in a second, all at the same time.

    Args:
        model: The graph.
        rows: Of a run.
        days: Closes of a row.
        seconds: How long.
        processes: How many.
    """
    command = [sys.executable, str(APPS / "loop_app.py"), str(rows), str(days), str(seconds)]
    env = {**os.environ, "BENCH_MODEL": str(model), "OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with ExitStack() as stack:
        children = [
            stack.enter_context(subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True))
            for _ in range(processes)
        ]
        for child in children:
            child.stdout.readline()  # it is warm
        for child in children:
            child.stdin.write("go\n")
            child.stdin.flush()
        return sum(float(child.stdout.readline()) for child in children)
