"""
Kill parts of a real installation at random while jobs are sent, then hold all that was seen against the invariants.

    make chaos                                  ten minutes
    make chaos ARGS="--seconds 60 --seed 7"

Every job that was answered 202 ends; each of its rows is answered once and in order, with the very bits that the
forecaster gives; its counts add up and no state goes back; the same Idempotency-Key gives one job; nothing is left in
Redis or on disk. Valkey, service and workers are started again as a supervisor would. A seed repeats what is sent and
who is killed when, though not how the processes interleave.
"""

import re
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from bench.installation import Installation, installed
from bench.processes import ROOT
from models.repository import Repository
from tests.faults import chaos_leftovers
from tests.faults.chaos_callers import Caller, Scene, Watcher
from tests.faults.chaos_history import History, Violation, violations
from tests.faults.chaos_kills import Hand
from tests.faults.chaos_work import KINDS, RESULTS, Pool

CALLERS, WORKERS = 3, 2
LEASE_S = 1.0
BETWEEN_KILLS_S = 1.2
MIDST = 0.3
"""Share of kills that come before what was struck has recovered; the others leave some time in which work is done."""
MOST_BETWEEN_S = 15.0
SETTLE_S = 180.0
"""Seconds that everything has to come to rest once nothing is killed any more."""
LATE_S = 60.0
"""Seconds that are left then for the jobs whose senders got no answer."""
LOOK_S = 0.02
SETTINGS = {
    "lease_s": str(LEASE_S),
    "sweep_s": "0.25",
    "resend_s": "1",
    "chunk_rows": "500",
    "drain_s": "3",
    "drain_notice_s": "0",
    "worker_threads": "2",
    # A chunk whose workers die five times would have its rows become errors, and here workers die all the time.
    "max_attempts": "100000",
}


@dataclass
class Outcome:
    """What a run came to: its history, the invariants that did not hold, and seconds until the last job had ended."""

    scene: Scene
    broken: list[Violation]
    settled_s: float
    doubles: Counter[str]


def run(seconds: float, seed: int, folder: Path) -> Outcome:
    """Kill for some seconds, let all come to rest, and judge."""
    pool = Pool(Repository(ROOT / "models" / "store", device="cpu").get("lstm"), seed)
    history = History(folder / "history.ndjson")
    with installed(folder, workers=WORKERS, **SETTINGS) as running:
        url = f"http://127.0.0.1:{running.port}"
        scene = Scene(url, pool, history, list(KINDS), list(RESULTS))
        hand = Hand(running, np.random.default_rng([seed, 0]), history, LEASE_S)
        with closing(Watcher(scene, seed)) as watcher:
            with _threads(scene, watcher, seed):
                _kill(hand, seconds)
                scene.stop.set()
                settled_s = _settle(hand, scene)
            broken = _judge(running, scene, watcher, seed)
    history.close()
    return Outcome(scene, broken, settled_s, _doubles(running))


@contextmanager
def _threads(scene: Scene, watcher: Watcher, seed: int) -> Iterator[None]:
    """Callers and the watcher, at work as long as the block runs."""
    callers = [Caller(scene, seed, number) for number in range(1, CALLERS + 1)]
    threads = [threading.Thread(target=each.run, daemon=True) for each in (*callers, watcher)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        scene.stop.set()
        scene.over.set()
        for thread in threads:
            thread.join(60)
        for caller in callers:
            caller.close()


def _kill(hand: Hand, seconds: float) -> None:
    began = now = time.monotonic()
    due, in_the_midst = now + hand.rng.exponential(BETWEEN_KILLS_S), False
    while now < began + seconds:
        hand.tend(now)
        if now >= due and (in_the_midst or hand.is_calm or now >= due + MOST_BETWEEN_S):
            hand.strike(now)
            due, in_the_midst = now + hand.rng.exponential(BETWEEN_KILLS_S), hand.rng.random() < MIDST
        time.sleep(LOOK_S)
        now = time.monotonic()


def _settle(hand: Hand, scene: Scene) -> float:
    """Seconds until everything runs and no job is unfinished; the bound where that does not come to pass."""
    began = now = time.monotonic()
    hand.release(now)
    while now < began + SETTLE_S and not (hand.is_calm and not scene.unfinished):
        hand.tend(now)
        time.sleep(LOOK_S)
        now = time.monotonic()
    return now - began


def _judge(running: Installation, scene: Scene, watcher: Watcher, seed: int) -> list[Violation]:
    """Ask once more for what nobody was answered, read what was not read, and look for all that is wrong."""
    deadline = time.monotonic() + LATE_S
    with closing(Caller(scene, seed, 0)) as late:
        for key, work in list(scene.unsure.items()):
            late.insist(work, key, lambda: time.monotonic() > deadline)
    while scene.unfinished and time.monotonic() < deadline:
        for job in scene.unfinished:
            watcher.look(job)
        time.sleep(LOOK_S)
    for job, known in scene.jobs.items():
        if not known.is_deleted:
            watcher.look(job)
        if known.has_ended and not known.is_deleted:
            watcher.read(job)
    broken = violations(scene.history.events)
    return [*broken, *chaos_leftovers.of_redis(running, scene), *chaos_leftovers.of_disk(running, scene)]


def _doubles(running: Installation) -> Counter[str]:
    """Messages and results that came twice and did not count, by what the workers say of them."""
    found: Counter[str] = Counter()
    for worker in running.workers:
        found.update(re.findall(r"chunk \d+: (counted|double|over|gone|stopped)", worker.log.read_text()))
    return found


def report(outcome: Outcome) -> Iterator[str]:
    """What happened, in lines."""
    history = outcome.scene.history
    kills = Counter(event["about"] for event in history.of("kill"))
    yield f"{sum(kills.values())} kills: " + "; ".join(f"{count} x {kind}" for kind, count in sorted(kills.items()))
    recovered = defaultdict(list)
    for event in history.of("recovered"):
        recovered[event["about"]].append(event["seconds"])
    for kind, took in sorted(recovered.items()):
        yield f"  {kind}: works again after {statistics.median(took):.2f} s, at most {max(took):.2f} s"
    jobs = outcome.scene.jobs.values()
    states = Counter(known.last["status"] if known.last else "unseen" for known in jobs)
    yield f"{len(jobs)} jobs: " + ", ".join(f"{count} {state}" for state, count in states.items())
    accepted, lost = len(history.of("accepted")), len(history.of("no answer"))
    refused = Counter(str(event["status"]) for event in history.of("refused"))
    yield f"{sum(known.work.rows for known in jobs):,} rows; {accepted} answers 202, {lost} requests without an answer"
    yield f"refused: {dict(refused)}; {accepted - len(jobs)} sendings gave a job that there was"
    yield f"{len(history.of('read'))} times results were read; {len(history.of('deleted'))} jobs deleted"
    yield f"chunks, by what the ledger said of them: {dict(outcome.doubles)}; `double` and `over` were masked"
    left = history.of("left on disk")[-1]
    yield f"left on disk for the daily sweep: {left['scratch']} halves of files, {left['folders']} folders"
    yield f"all at rest {outcome.settled_s:.1f} s after the last kill"


def told(outcome: Outcome) -> Iterator[str]:
    """The invariants that do not hold, each with the story of its job."""
    for broken in outcome.broken:
        yield f"BROKEN: {broken.about}: {broken.what}"
    for about in list(dict.fromkeys(broken.about for broken in outcome.broken))[:5]:
        yield f"the story of {about}:"
        yield from (f"  {event}" for event in outcome.scene.history.story(about))


@click.command()
@click.option("--seconds", default=600.0, show_default=True, help="How long parts are killed.")
@click.option("--seed", default=1, show_default=True, help="Of all that is drawn.")
@click.option("--keep", type=click.Path(file_okay=False, path_type=Path), help="Folder for history, logs and jobs.")
def main(seconds: float, seed: int, keep: Path | None) -> None:
    """Kill parts at random while jobs are sent."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by which all that was started is ended
    with tempfile.TemporaryDirectory(prefix="nextday-chaos-") as folder:
        if keep:
            keep.mkdir(parents=True, exist_ok=True)
        outcome = run(seconds, seed, keep or Path(folder))
    click.echo("\n".join([f"{seconds:g} s, seed {seed}", *report(outcome), *told(outcome)]))
    click.echo("FAIL" if outcome.broken else "PASS")
    sys.exit(1 if outcome.broken else 0)


if __name__ == "__main__":
    main()
