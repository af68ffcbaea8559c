"""Processes that count in one folder, for tests that kill some of them."""

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from service.metrics import Metrics

ROUTE = "/v1/forecasts"


@contextmanager
def counting(folder: Path, *, processes: int, requests: int) -> Iterator[list[BaseProcess]]:
    """Processes that have counted their requests, all at once, have one more in flight, and live on."""
    context = multiprocessing.get_context("spawn")
    started = []
    for _ in range(processes):
        ours, theirs = context.Pipe()
        process = context.Process(target=count, args=(folder, requests, theirs), daemon=True)
        process.start()
        started.append((process, ours))
    try:
        for _, pipe in started:
            pipe.recv()
        for _, pipe in started:
            pipe.send("go")
        for _, pipe in started:
            pipe.recv()
        yield [process for process, _ in started]
    finally:
        for process, pipe in started:
            pipe.close()
            process.join()


def count(folder: Path, requests: int, pipe: Connection) -> None:
    """Count, and stay until nobody is at the other end of the pipe."""
    metrics = Metrics(folder)
    pipe.send("ready")
    pipe.recv()
    for number in range(requests):
        metrics.request(ROUTE, "POST", 200 if number % 2 else 422, 0.001)
    metrics.began()
    pipe.send("done")
    try:
        pipe.recv()
    except EOFError:
        return
