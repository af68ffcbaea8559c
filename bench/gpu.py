"""
The graph on a GPU beside a thread of the CPU, with a machine that has one: milliseconds a run and microseconds a row.

    python -m bench.gpu
"""

import statistics
import threading
import time
from collections.abc import Callable

import click
import numpy as np

from models.bundle import folder_of, read_bundle
from models.execution import Session, open_session
from models.ragged import Floats, Ints
from models.settings import ModelSettings

DAYS, ROWS = (2, 20, 60, 250, 1000), (1, 8, 64, 256, 1024, 2048, 4096, 8192)
MOST_DAYS = 2**21
"""Of one run; what it computes on the way is some 150 times as many bytes."""
ON_CPU_ROWS = {2: 128, 20: 128, 60: 64, 250: 16, 1000: 4}
"""The cheapest runs on the CPU, by days."""
THREADS = (1, 2, 4)


@click.command()
@click.option("--model", default="lstm", show_default=True, help="Whose newest version is run.")
@click.option("--device-id", default=0, show_default=True)
@click.option("--repeats", default=9, show_default=True, help="Runs of each kind, of which the median counts.")
def main(model: str, device_id: int, repeats: int) -> None:
    """Print both as tables."""
    folder = folder_of(ModelSettings().store, model)
    graph = read_bundle(folder).model
    gpu, cpu = (open_session(graph, device=each, device_id=device_id) for each in ("cuda", "cpu"))
    click.echo(f"{model} version {folder.name}: medians of {repeats} runs, in ms and (us a row)")
    click.echo("days | a row on the CPU | " + " | ".join(f"{rows:>14}" for rows in ROWS))
    for days in DAYS:
        alone, many = (_seconds(cpu, rows, days, repeats) / rows for rows in (1, ON_CPU_ROWS[days]))
        cells = [f"{alone * 1e6:8.1f}, {many * 1e6:7.2f}"]
        for rows in ROWS:
            if rows * days <= MOST_DAYS:
                took_s = _seconds(gpu, rows, days, repeats)
                cells.append(f"{took_s * 1e3:6.2f} ({took_s / rows * 1e6:6.2f})")
        click.echo(f"{days:4} | " + " | ".join(cells))
    for rows, days in ((64, 60), (4096, 60), (1024, 250)):
        rates = [f"{threads}: {_rate(gpu, rows, days, threads):,.0f}" for threads in THREADS]
        click.echo(f"rows a second, {rows} rows of {days} closes a run, by threads: " + "  ".join(rates))


def _closes(rows: int, days: int) -> dict[str, Floats | Ints]:
    walks = np.exp(np.random.default_rng(0).normal(0, 0.01, (rows, days)).cumsum(1))
    return {"closes": (100 * walks).astype(np.float32), "lengths": np.full(rows, days)}


def _seconds(session: Session, rows: int, days: int, repeats: int) -> float:
    """The median time of a run, after two that warm up."""
    given = _closes(rows, days)
    moments = [_now(lambda: session.run(["quantiles"], given)) for _ in range(repeats + 2)]
    return statistics.median(moments[2:])


def _now(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _rate(session: Session, rows: int, days: int, threads: int) -> float:
    """Rows a second of threads that share a session, over some seconds."""
    given, enough = _closes(rows, days), threading.Event()
    runs = [0] * threads

    def work(place: int) -> None:
        while not enough.is_set():
            session.run(["quantiles"], given)
            runs[place] += 1

    workers = [threading.Thread(target=work, args=(place,)) for place in range(threads)]
    session.run(["quantiles"], given)
    for each in workers:
        each.start()
    began, before = time.perf_counter(), sum(runs)
    time.sleep(1.5)
    counted, took_s = sum(runs) - before, time.perf_counter() - began
    enough.set()
    for each in workers:
        each.join()
    return counted * rows / took_s


if __name__ == "__main__":
    main()
