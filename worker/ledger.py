"""
The truth about jobs and their chunks, in Redis. Nothing else writes job state.

Celery on Redis loses messages in a window that no setting closes, and delivers some twice. So a message is only a
hint: what is promised, who works on it, and what is done stands here, and changes only by the Lua scripts in `lua/`,
each of which Redis runs as one step. Leases run by Redis's clock.

    submit ─► queued ─claim─► in_progress ─done (the last chunk)─► completed   (or failed: its input is lost)
                 │                 ├─cancel─► cancelling ─done, release, sweep (the last lease)─► cancelled
                 └─cancel─► cancelled          any ─retention─► expired ─► gone
"""

import math
from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any, Literal, cast

import msgspec
import redis

Claim = Literal["score", "set aside", "done", "taken", "over"]
Status = Literal["queued", "in_progress", "completed", "failed", "cancelling", "cancelled", "expired"]
ENDED: frozenset[Status] = frozenset({"completed", "failed", "cancelled", "expired"})
UNFINISHED: tuple[Status, ...] = ("queued", "in_progress", "cancelling")

SCRIPTS = ("submit", "claim", "renew", "done", "release", "cancel", "fail", "sweep", "expired", "forget")
SWEPT_AT_ONCE = 500


class Record(msgspec.Struct, frozen=True):
    """A job as the ledger knows it; times in milliseconds since 1970 by Redis's clock, lists as JSON."""

    id: str
    status: Status
    model: str
    version: int
    digest: str
    levels: str
    model_levels: str
    total: int
    chunks: int
    completed: int
    failed: int
    created_at: int
    expires_at: int
    started_at: int | None = None
    finished_at: int | None = None
    reason: str | None = None
    joined: str = "[]"


class Done(msgspec.Struct, frozen=True):
    """A chunk's counted result: rows that have a forecast, rows that have an error, sha256 of the file."""

    completed: int
    failed: int
    sha256: str


class Submission(msgspec.Struct, frozen=True):
    """
    What became of a submission: accepted, known (the same came before), conflict (the key did), or full.

    The times are an accepted job's, as in `Record`.
    """

    outcome: Literal["accepted", "known", "conflict", "full"]
    job_id: str = ""
    created_at: int = 0
    expires_at: int = 0


class Ledger:
    """The ledger's operations. Every method may raise `redis.RedisError`; none leaves anything half-done."""

    def __init__(self, connection: "redis.Redis", *, prefix: str = "nextday:") -> None:
        self._redis = connection
        self._prefix = prefix
        folder = files("worker") / "lua"
        self._scripts = {name: connection.register_script((folder / f"{name}.lua").read_text()) for name in SCRIPTS}

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def submit(
        self,
        job_id: str,
        record: Mapping[str, str | int],
        *,
        chunks: int,
        first_due_s: float,
        retention_s: float,
        max_jobs: int,
        idempotency_key: str = "",
        fingerprint: str = "",
    ) -> Submission:
        """
        Accept a job with all its chunks, or say why not.

        Args:
            job_id: A new, unguessable id.
            record: Model, version, digest, levels and total of the job.
            chunks: How many chunks; at least one.
            first_due_s: Seconds until a chunk that no worker has claimed may be sent again.
            retention_s: Seconds until the job expires.
            max_jobs: Unfinished jobs that are let in.
            idempotency_key: The caller's; '' for none.
            fingerprint: Of all that the caller sent; another one under the same key is a conflict.
        """
        fields = [part for pair in record.items() for part in pair]
        answer = self._run(
            "submit",
            job_id,
            chunks,
            _ms(first_due_s),
            _ms(retention_s),
            max_jobs,
            idempotency_key,
            fingerprint,
            *fields,
        )
        return Submission(*answer)

    def claim(self, job_id: str, chunk: int, token: str, *, lease_s: float, max_attempts: int) -> Claim:
        """Ask for a chunk; only 'score' and 'set aside' (tried too often: its rows become errors) hand it over."""
        return cast(Claim, self._run("claim", job_id, chunk, token, _ms(lease_s), max_attempts))

    def renew(self, job_id: str, chunk: int, token: str, *, lease_s: float) -> bool:
        """Give a sign of life; false where the worker must stop."""
        return bool(self._run("renew", job_id, chunk, token, _ms(lease_s)))

    def done(self, job_id: str, chunk: int, result: Done) -> Literal["counted", "double", "over"]:
        """Count a stored result, the first of its chunk; the last chunk's ends the job."""
        answer = self._run("done", job_id, chunk, result.completed, result.failed, result.sha256)
        return cast(Literal["counted", "double", "over"], answer)

    def release(self, job_id: str, chunk: int, token: str, *, failed: bool) -> int:
        """Give a chunk back undone; how often it has failed, which says after how long it is sent again."""
        return int(self._run("release", job_id, chunk, token, int(failed)))

    def cancel(self, job_id: str) -> Status | None:
        """Let no further chunk start; the status now, or None where there is no such job."""
        return cast(Status | None, self._run("cancel", job_id))

    def fail(self, job_id: str, reason: str) -> None:
        """End a job that can never be whole."""
        self._run("fail", job_id, reason)

    def sweep(self, *, queue_key: str, again_s: float, longest_wait_s: float) -> list[tuple[str, int]]:
        """Chunks, as job id and number, that were promised and that nobody works on."""
        flat = self._run("sweep", queue_key, SWEPT_AT_ONCE, _ms(again_s), _ms(longest_wait_s))
        return [(flat[at], int(flat[at + 1])) for at in range(0, len(flat), 2)]

    def expired(self) -> list[str]:
        """Jobs past their time, now marked so; delete their files, then `forget` them."""
        return cast(list[str], self._run("expired", SWEPT_AT_ONCE))

    def forget(self, job_id: str) -> None:
        """Remove the last trace of a job."""
        self._run("forget", job_id)

    def record(self, job_id: str) -> Record | None:
        """A job, or None where there is none."""
        fields = cast(dict[str, str], self._redis.hgetall(f"{self._prefix}job:{job_id}"))
        if "status" not in fields or "model" not in fields:
            return None
        return msgspec.convert({**fields, "id": job_id}, Record, strict=False)

    def records(self, *, limit: int) -> Iterator[Record]:
        """Jobs, newest first."""
        for job_id in cast(list[str], self._redis.zrevrange(f"{self._prefix}jobs", 0, limit - 1)):
            if record := self.record(job_id):
                yield record

    def results(self, job_id: str) -> dict[int, Done]:
        """Counted results by chunk, in the chunks' order."""
        fields = cast(dict[str, str], self._redis.hgetall(f"{self._prefix}done:{job_id}"))
        found = {}
        for chunk in sorted(fields, key=int):
            completed, failed, sha256 = fields[chunk].split()
            found[int(chunk)] = Done(int(completed), int(failed), sha256)
        return found

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return int(self._redis.scard(f"{self._prefix}unfinished"))

    def backlog(self) -> tuple[dict[str, int], int]:
        """Jobs by status, all that have ended as `ended`; and chunks that are promised and not done."""
        unfinished = cast(set[str], self._redis.smembers(f"{self._prefix}unfinished"))
        with self._redis.pipeline(transaction=False) as asked:
            for job_id in unfinished:
                asked.hget(f"{self._prefix}job:{job_id}", "status")
            asked.zcard(f"{self._prefix}jobs")
            asked.zcard(f"{self._prefix}due")
            *statuses, kept, chunks = asked.execute()
        counts = {status: statuses.count(status) for status in UNFINISHED}
        return counts | {"ended": kept - sum(counts.values())}, chunks

    def report_alive(self, worker: str, *, for_s: float) -> None:
        """A worker's sign of life, good for some seconds."""
        self._redis.set(f"{self._prefix}worker:{worker}", "1", px=_ms(for_s))

    def workers(self) -> list[str]:
        """Workers that gave a sign of life lately."""
        prefix = f"{self._prefix}worker:"
        return sorted(key.removeprefix(prefix) for key in self._redis.scan_iter(match=f"{prefix}*", count=1000))

    def _run(self, script: str, *arguments: str | int) -> Any:
        return self._scripts[script](args=[self._prefix, *arguments])


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
