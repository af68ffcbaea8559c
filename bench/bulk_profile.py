"""Where a worker's processor time goes that is not onnxruntime's, by py-spy, which looks at it from outside."""

import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from bench.report import table

RATE_HZ = 250
OURS = ("worker/", "models/", "celery/", "kombu/", "redis/")
WAITS = ("threading.py", "queue.py", "concurrent/futures/thread.py", "kombu/utils/eventio.py", "_parsers/socket.py")
"""Where a thread that has nothing to do stands, which py-spy cannot tell everywhere."""
SHOWN = 18


def program() -> str:
    """Where py-spy is."""
    found = shutil.which("py-spy") or shutil.which("py-spy", path=str(Path(sys.executable).parent))
    if not found:
        raise click.ClickException("--profile needs py-spy: pip install py-spy")
    return found


@contextmanager
def profiled(pid: int, file: Path) -> Iterator[None]:
    """Write the stacks of a process's running threads into a file, as long as the block runs."""
    command = [program(), "record", "--pid", str(pid), "--rate", str(RATE_HZ), "--duration", "3600"]
    with subprocess.Popen(
        [*command, "--format", "raw", "--output", str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as looking:
        yield
        looking.send_signal(signal.SIGINT)
        _, said = looking.communicate()
    if not file.exists():
        raise click.ClickException(f"py-spy gave nothing: {said.decode()[-300:]}")


def shares(stacks: str) -> tuple[float, list[tuple[str, float]]]:
    """
    What of the time runs the graph, and where the rest is, the most first; shares of the samples that wait for nothing.

    >>> stacks = "a (worker/x.py:3);run (onnxruntime/capi/x.py:9) 3\\na (worker/x.py:3);dumps (y.py:1) 1"
    >>> shares(stacks + "\\nwait (threading.py:1) 9")
    (0.75, [('a (worker/x.py:3)', 0.25)])
    """
    inside, elsewhere = 0, Counter[str]()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if any(each in frames[-1] for each in WAITS):
            continue
        if any("onnxruntime/capi" in frame for frame in frames):
            inside += int(count)
        else:
            elsewhere[_place(frames)] += int(count)
    total = (inside + elsewhere.total()) or 1
    return inside / total, [(place, count / total) for place, count in elsewhere.most_common()]


def _place(frames: list[str]) -> str:
    """The deepest frame that is ours or a neighbour's, which says more than the library call below it."""
    mine = (frame for frame in reversed(frames) if any(part in frame for part in OURS))
    return next(mine, frames[-1])


def page(stacks: str) -> str:
    """Both as a table."""
    inside, places = shares(stacks)
    rows = [["onnxruntime", f"{inside:.1%}"], *([place, f"{share:.1%}"] for place, share in places[:SHOWN])]
    return table(["the worker's time", "share"], rows)
