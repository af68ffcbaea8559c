"""What is asked besides speed: small jobs, two workers beside one, a million series and small jobs among them."""

import statistics
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from bench.bulk_data import Series
from bench.bulk_goals import FLAT_MIB, FLAT_SHARE, LANES, SMALL_ROWS, Lane
from bench.bulk_http import Caller, NotOffered, whole_job
from bench.bulk_watch import Sample, Watch, redis_kib
from bench.installation import Installation, installed

SMALL = Series(SMALL_ROWS, 60)
SETTINGS = {"max_job_bytes": str(4 << 30), "input_prefixes": "file:///"}
"""As large as it takes; anything may be referred to on this machine."""
MOST_TOLD = 160
"""Characters of a refusal."""


def offered(running: Installation, lanes: tuple[Lane, ...], folder: Path) -> tuple[list[Lane], dict[str, str]]:
    """The lanes that a small job can take, and what the service says to the others."""
    found, refused = [], {}
    for lane in lanes:
        try:
            travel(Caller(running.port), lane, SMALL, folder)
            found.append(lane)
        except NotOffered as refusal:
            refused[lane.name] = str(refusal)[:MOST_TOLD]
    return found, refused


def travel(caller: Caller, lane: Lane, series: Series, folder: Path) -> Any:
    """A whole job by a lane; its results are in the folder's file `results`."""
    return whole_job(
        caller,
        series.file(lane.given),
        given=lane.given,
        taken=lane.taken,
        by_reference=lane.by_reference,
        into=folder / "results",
    )


def small_jobs(running: Installation, count: int, folder: Path) -> list[float]:
    """Seconds that jobs of a few rows take, one after the other, from the upload to their results."""
    caller = Caller(running.port)
    ndjson = next(lane for lane in LANES if lane.given == "ndjson")
    return [travel(caller, ndjson, SMALL, folder).seconds for _ in range(count)]


def workers(series: Series, lane: Lane, rounds: int, folder: Path) -> Iterator[dict[str, Any]]:
    """The same job by one worker and by two, of one thread each, in turns."""
    for number in range(1, rounds + 1):
        for count in (1, 2):
            where = folder / f"workers-{number}-{count}"
            with installed(where, workers=count, worker_threads="1", **SETTINGS) as running:
                travel(Caller(running.port), lane, series, folder)
                timed = travel(Caller(running.port), lane, series, folder)
            yield {"round": number, "workers": count, **asdict(timed), "seconds": timed.seconds}


def million(series: Series, lane: Lane, running: Installation, folder: Path) -> dict[str, Any]:
    """A very large job, watched, with small ones sent into it while it is scored."""
    series.file(lane.given)  # made before anything is measured
    with redis.Redis.from_url(running.redis_url) as connection, Watch(running) as watch:
        before_kib = redis_kib(connection)
        small: list[float] = []
        among = threading.Thread(target=_small_among, args=(running, folder, small))
        among.start()
        timed = travel(Caller(running.port), lane, series, folder)
        among.join()
        after_kib = redis_kib(connection)
    scoring = [each for each in watch.samples if timed.intake_s <= each.at_s <= timed.intake_s + timed.scoring_s]
    return {
        **asdict(timed),
        "seconds": timed.seconds,
        "lane": lane.name,
        "small_s": small,
        "redis_before_kib": before_kib,
        "redis_peak_kib": max(each.redis_kib for each in watch.samples),
        "redis_after_kib": after_kib,
        "grown": grown(scoring),
        **{
            f"most_{name}": max(getattr(each, name) for each in watch.samples)
            for name in ("worker_mib", "worker_own_mib", "service_mib", "service_all_mib")
        },
        "samples": [asdict(each) for each in watch.samples],
    }


def _small_among(running: Installation, folder: Path, took_s: list[float]) -> None:
    """Small jobs while a large one is between a tenth and nine tenths done."""
    caller, ours = Caller(running.port), folder / "small"
    ours.mkdir(exist_ok=True)
    while not (large := caller.get("/v1/jobs?limit=1&status=in_progress")["jobs"]):
        time.sleep(0.1)
    path = f"/v1/jobs/{large[0]['id']}"
    while (progress := caller.get(path)["progress"]) < 0.9:
        if progress > 0.1 and len(took_s) < 10:
            took_s.extend(small_jobs(running, 1, ours))
        time.sleep(0.2)


def grown(samples: list[Sample]) -> dict[str, float]:
    """MiB by which each kind of process has grown from the middle third to the last, beyond what is let pass."""
    third = len(samples) // 3
    if not third:
        return {}
    found = {}
    for name in ("worker_own_mib", "service_all_mib"):
        middle, last = (
            statistics.median(getattr(each, name) for each in part)
            for part in (samples[third : 2 * third], samples[-third:])
        )
        found[name] = max(0.0, last - middle - FLAT_SHARE * middle - FLAT_MIB)
    return found
