"""What is left in Redis and on disk once every job has ended, and should not be."""

import re
from collections.abc import Iterable, Iterator

import redis

from bench.installation import Installation
from tests.faults.chaos_callers import Scene
from tests.faults.chaos_history import Violation
from worker.app import KEY_PREFIX, QUEUE

EMPTY = ("leases:*", "again:*", "attempts:*", "failures:*", "turns:*", "owners", "due", "unfinished")
"""Keys that are there only while work is: Redis drops one that is empty."""
SCRATCH = re.compile(r"\.part-.*")


def of_redis(running: Installation, scene: Scene) -> Iterator[Violation]:
    """Leases and promises of jobs that have ended; jobs that nobody asked for."""
    with redis.Redis.from_url(running.redis_url, decode_responses=True) as connection:
        for pattern in EMPTY:
            for key in connection.scan_iter(match=KEY_PREFIX + pattern, count=1000):
                yield Violation(key, "is left in Redis although every job has ended")
        if waiting := connection.llen(KEY_PREFIX + QUEUE):
            yield Violation(QUEUE, f"{waiting} messages wait although every job has ended")
        made = set(connection.zrange(KEY_PREFIX + "jobs", 0, -1))
        unknown = made - set(scene.jobs)
        # Whoever sent without a key and got no answer may have made one.
        if len(unknown) > scene.without_key:
            yield Violation("jobs", f"{len(unknown)} jobs that nobody was told of: {sorted(unknown)[:5]} ...")
        for job in set(scene.jobs) - made:
            if not scene.jobs[job].is_deleted:
                yield Violation(job, "was accepted, and the ledger does not know it")


def of_disk(running: Installation, scene: Scene) -> Iterator[Violation]:
    """Folders without a job, and halves of files beyond those that a kill may leave until they are swept."""
    with redis.Redis.from_url(running.redis_url, decode_responses=True) as connection:
        made = set(connection.zrange(KEY_PREFIX + "jobs", 0, -1))
    killed = sum("SIGKILL" in event["about"] for event in scene.history.of("kill"))
    entries = list(running.jobs_folder.iterdir())
    scratch = [each for each in _files(running) if SCRATCH.fullmatch(each)]
    orphans = [each.name for each in entries if each.is_dir() and re.fullmatch("[0-9a-f]{32}", each.name)]
    orphans = [each for each in orphans if each not in made]
    # Each process that is killed leaves at most what its threads were writing.
    for what, found, most in (("halves of files", scratch, 4 * killed), ("folders without a job", orphans, 4 * killed)):
        if len(found) > most:
            yield Violation(str(running.jobs_folder), f"has {len(found)} {what}: {found[:5]} ...")
    scene.history.note("left on disk", scratch=len(scratch), folders=len(orphans))
    for job in made & {each.name for each in entries}:
        yield from _of_a_job(job, [each.name for each in (running.jobs_folder / job).iterdir()])


def _files(running: Installation) -> Iterable[str]:
    return [each.name for each in running.jobs_folder.rglob("*") if each.is_file()]


def _of_a_job(job: str, names: list[str]) -> Iterator[Violation]:
    """A chunk has one result: its bytes are the same, whoever scored it."""
    chunks = [match[1] for name in names if (match := re.fullmatch(r"result-(\d+)-.*", name))]
    if len(chunks) != len(set(chunks)):
        yield Violation(job, f"has two results of a chunk on disk: {sorted(names)[:10]}")
