"""
The truth about jobs and their chunks, in Redis. Nothing else writes job state.

Celery on Redis loses messages in a window that no setting closes, and delivers some twice. So a message is only a
hint that there is work: who works on what, and what is done, stands here, and changes only by the Lua scripts in
`lua/`, each of which Redis runs as one step. Leases and all other times run by Redis's clock.

    submit ─► queued ─claim─► in_progress ─done (the last chunk)─► finalizing ─verified─► completed
                 │               │   ▲                                 │ │
                 │               │   └──────── a result is missing ────┘ └─ fail, verified ─► failed
                 │               ├─ fail ─► failed
                 └── cancel ─────┴─ cancel ─► cancelling ─ the last lease ends ─► cancelled
    failed, cancelled ─resume─► queued            any ─its time is over, delete─► expired ─► forgotten

A chunk waits (to be claimed the first time, or again), is leased, rests after a failure, or is done: one of the four.
"""

import logging
import math
from base64 import b64decode, b64encode
from collections.abc import Collection, Iterator, Mapping, Sequence
from importlib.resources import files
from typing import Any, Literal, NamedTuple, cast, get_args

import msgspec
import redis

Status = Literal["queued", "in_progress", "finalizing", "completed", "failed", "cancelling", "cancelled", "expired"]
STATUSES: tuple[Status, ...] = get_args(Status)
UNFINISHED: tuple[Status, ...] = ("queued", "in_progress", "finalizing", "cancelling")
ENDED: frozenset[Status] = frozenset(STATUSES) - frozenset(UNFINISHED)
Outcome = Literal["counted", "double", "over", "gone"]

VERIFY = -1
"""In place of a chunk's number: the looking at all results of a job."""

SCRIPTS = (
    "submit", "claim", "renew", "done", "verified", "release", "cancel", "resume", "fail", "sweep",
    "expired", "bury", "delete", "forget", "hooks", "hook_tried", "alive",
)  # fmt: skip
SWEPT_AT_ONCE = 500
HOOK_LENT_S = 60.0
"""Seconds that whoever delivers a webhook has before another may try."""
REPLICA_S = 0.5
"""Seconds that a replica has to confirm a new job; where none does, one server is left, and the job is taken."""
READ_AT_ONCE = 100
LOOKED_AT = 2000
"""Jobs that one page looks at, whatever its filter lets through."""

log = logging.getLogger(__name__)


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """
    A job as the ledger knows it; times in milliseconds since 1970 by Redis's clock, lists as JSON.

    Attributes:
        now: When it was read.
        rated_at: Since when its speed counts: its first claim since it was submitted or resumed.
        rated_rows: Rows that were done then.
    """

    id: str
    status: Status
    owner: str = ""
    model: str
    version: int
    digest: str
    levels: str
    model_levels: str
    total: int
    chunks: int
    closes: int = 0
    input_bytes: int = 0
    joined: str = "[]"
    source: str = ""
    webhook: str = ""
    webhook_state: str = ""
    webhook_attempts: int = 0
    webhook_status: int = 0
    completed: int
    failed: int
    created_at: int
    expires_at: int
    started_at: int | None = None
    resumed_at: int | None = None
    finalizing_at: int | None = None
    cancelling_at: int | None = None
    finished_at: int | None = None
    reason: str | None = None
    rated_at: int | None = None
    rated_rows: int = 0
    now: int = 0


class Done(msgspec.Struct, frozen=True):
    """A chunk's counted result: rows that have a forecast, rows that have an error, sha256 of the file."""

    completed: int
    failed: int
    sha256: str


class Limits(msgspec.Struct, frozen=True):
    """What is let in: unfinished jobs in all and of one owner, and bytes of input that one owner has stored."""

    jobs: int
    owner_jobs: int
    owner_bytes: int


class Submission(msgspec.Struct, frozen=True):
    """
    What became of a submission: accepted, known (the same came before), conflict (the key did), or why it is too much.

    Of an accepted job also its times, as in `Record`, and how many messages to send.
    """

    outcome: Literal["accepted", "known", "conflict", "full", "owner full", "owner bytes"]
    job_id: str = ""
    created_at: int = 0
    expires_at: int = 0
    hints: int = 0


class Claim(NamedTuple):
    """
    What a worker is to do: score a chunk, set it aside (tried too often: its rows become errors), verify a job.

    Or nothing: there is nothing to do, or what there is needs models that it lacks. More than one attempt says that
    workers died, or were lost sight of, while they had it.
    """

    kind: Literal["score", "set aside", "verify", "lacking", "nothing"]
    job_id: str = ""
    chunk: int = 0
    model: str = ""
    version: int = 0
    digest: str = ""
    token: str = ""
    attempts: int = 1


class Swept(NamedTuple):
    """
    What a sweep found.

    Attributes:
        hints: Messages to send.
        claimable: Chunks that this worker could claim, counted up to the window.
        queued: Messages that wait.
        taken_back: Chunks that nobody worked on any more, as job id, colon, number.
    """

    hints: int
    claimable: int
    queued: int
    taken_back: list[str]


class Waiting(NamedTuple):
    """
    What waits.

    Attributes:
        jobs: How many, by status; all that have ended are `ended`.
        chunks: Promised and not done.
        oldest_s: Seconds since the first of those jobs was submitted or resumed of which no chunk was claimed since.
        rows: That were ever done, by `completed` and `failed`.
    """

    jobs: dict[str, int]
    chunks: int
    oldest_s: float
    rows: dict[str, int]


class Ledger:
    """The ledger's operations. Every method may raise `redis.RedisError`; none leaves anything half-done."""

    def __init__(
        self,
        connection: "redis.Redis",
        *,
        prefix: str = "nextday:",
        queue: str = "work",
        replicated: bool = False,
    ) -> None:
        """
        Prepare; connects on first use.

        Args:
            connection: To Redis; its answers are text.
            prefix: Of every key.
            queue: Key of the list in which messages wait, without the prefix.
            replicated: Whether a job is accepted only once a replica has it, too, so that a failover does not lose it.
        """
        self._redis = connection
        self._replicated = replicated
        self._prefix = prefix
        self._queue = prefix + queue
        folder = files("worker") / "lua"
        shared = (folder / "ledger.lua").read_text()
        self._scripts = {}
        for name in SCRIPTS:
            first_line, rest = (folder / f"{name}.lua").read_text().split("\n", 1)
            self._scripts[name] = connection.register_script(f"{first_line}\n{shared}{rest}")

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def submit(
        self,
        job_id: str,
        record: Mapping[str, str | int],
        *,
        retention_s: float,
        limits: Limits,
        window: int,
        idempotency_key: str = "",
        fingerprint: str = "",
    ) -> Submission:
        """
        Accept a job with all its chunks, or say why not.

        Args:
            job_id: A new, unguessable id.
            record: What `Record` has of the job itself; of it owner, chunks and input_bytes must be there.
            retention_s: Seconds until the job expires.
            limits: What is let in.
            window: Most messages that wait.
            idempotency_key: The owner's; '' for none.
            fingerprint: Of all that the caller sent; another one under the same key is a conflict.
        """
        asked = {
            "id": job_id,
            "owner": record["owner"],
            "chunks": record["chunks"],
            "bytes": record["input_bytes"],
            "retention_ms": _ms(retention_s),
            "max_jobs": limits.jobs,
            "owner_jobs": limits.owner_jobs,
            "owner_bytes": limits.owner_bytes,
            "idempotency_key": idempotency_key,
            "fingerprint": fingerprint,
            "queue": self._queue,
            "window": window,
        }
        fields = [part for pair in record.items() for part in pair]
        arguments = (msgspec.json.encode(asked).decode(), *fields)
        if not self._replicated:
            return Submission(*self._run("submit", *arguments))
        with self._redis.pipeline(transaction=False) as both:  # a wait is for what the same connection has written
            self._scripts["submit"](args=[self._prefix, *arguments], client=both)
            both.wait(1, _ms(REPLICA_S))
            answer, replicas = both.execute()
        if not replicas:
            log.warning("job %s is on no replica yet: a failover now would lose it", job_id)
        return Submission(*answer)

    def claim(self, token: str, *, lease_s: float, max_attempts: int, lacking: Collection[str] = ()) -> Claim:
        """
        Ask for work; what comes is leased.

        Args:
            token: New for each claim.
            lease_s: Seconds until it is taken back, unless renewed.
            max_attempts: Claims that ended in a worker's death after which a chunk is set aside.
            lacking: Digests of models that this worker cannot serve.
        """
        kind, *rest = self._run("claim", token, _ms(lease_s), max_attempts, *lacking)
        if not rest:
            return Claim(kind)
        job_id, chunk, model, version, digest, attempts = rest
        return Claim(kind, job_id, int(chunk), model, int(version), digest, token, int(attempts))

    def renew(self, claim: Claim, *, lease_s: float) -> bool:
        """Give a sign of life; false where the worker must stop."""
        return bool(self._run("renew", claim.job_id, claim.chunk, claim.token, _ms(lease_s)))

    def done(self, claim: Claim, result: Done, *, cost: int) -> Outcome:
        """Count a stored result, the first of its chunk; `cost` is what it took, in closes."""
        packed = b64encode(bytes.fromhex(result.sha256)).decode()
        answer = self._run(
            "done",
            claim.job_id,
            claim.chunk,
            result.completed,
            result.failed,
            packed,
            max(1, cost),
            int(claim.kind == "set aside"),
        )
        return cast(Outcome, answer)

    def verified(self, claim: Claim, damaged: Collection[int]) -> Status | None:
        """End a job whose results are all there, or let the damaged ones be made again; None for a late call."""
        return cast(Status | None, self._run("verified", claim.job_id, claim.token, *damaged))

    def release(self, claim: Claim, *, failed: bool) -> int:
        """Give a chunk back undone; how often it has failed, which says after how long it can be claimed again."""
        return int(self._run("release", claim.job_id, claim.chunk, claim.token, int(failed)))

    def cancel(self, job_id: str) -> Status | None:
        """Let no further chunk start; the status now, or None where there is no such job."""
        return cast(Status | None, self._run("cancel", job_id))

    def resume(self, job_id: str, *, limits: Limits, window: int) -> tuple[str, int]:
        """
        Let a failed or cancelled job go on.

        Returns:
            'resumed', and how many messages to send; or 'full', 'owner full' or the status that forbids it, and 0.
        """
        outcome, *hints = self._run("resume", job_id, limits.jobs, limits.owner_jobs, self._queue, window)
        return outcome, hints[0] if hints else 0

    def fail(self, job_id: str, reason: str) -> None:
        """End a job that can never be whole."""
        self._run("fail", job_id, reason)

    def sweep(self, *, window: int, lacking: Collection[str] = ()) -> Swept:
        """Take back what nobody works on any more, and say what waits."""
        hints, claimable, queued, *back = self._run("sweep", self._queue, window, SWEPT_AT_ONCE, *lacking)
        return Swept(hints, claimable, queued, back)

    def expired(self) -> list[tuple[str, bool]]:
        """Jobs past their time, now marked so, and whether they are buried: delete files and `bury`, or `forget`."""
        flat = self._run("expired", SWEPT_AT_ONCE)
        return [(flat[at], flat[at + 1] == "1") for at in range(0, len(flat), 2)]

    def bury(self, job_id: str, *, for_s: float) -> None:
        """Keep of an expired job whose files are gone no more than its record, for some seconds."""
        self._run("bury", job_id, _ms(for_s))

    def delete(self, job_id: str) -> Status | None:
        """Let a job that has ended expire now; the status that it had. Then delete its files, then `forget` it."""
        return cast(Status | None, self._run("delete", job_id))

    def forget(self, job_id: str) -> None:
        """Remove the last trace of an expired job."""
        self._run("forget", job_id)

    def hooks_due(self, limit: int) -> list[tuple[str, int]]:
        """Ended jobs whose webhook is to be called now, each with its attempts so far; lent for a minute."""
        flat = self._run("hooks", limit, _ms(HOOK_LENT_S))
        return [(flat[at], int(flat[at + 1])) for at in range(0, len(flat), 2)]

    def hook_tried(self, job_id: str, *, delivered: bool, status: int = 0, again_s: float | None = None) -> None:
        """Note an attempt: delivered, to be tried again after some seconds, or given up; `status` is HTTP's."""
        state = "delivered" if delivered else "failed" if again_s is None else "pending"
        self._run("hook_tried", job_id, state, status, _ms(again_s or 0))

    def record(self, job_id: str) -> Record | None:
        """A job, or None where there is none."""
        return self._records([job_id])[0]

    def page(
        self, *, owner: str | None, after: tuple[int, str] | None = None
    ) -> Iterator[tuple[tuple[int, str], Record | None]]:
        """
        Jobs, newest first, at most `LOOKED_AT` of them, each with its place.

        Args:
            owner: Whose; None for all.
            after: The place after which to begin.
        """
        jobs = f"{self._prefix}jobs" if owner is None else f"{self._prefix}jobs:{owner}"
        newest = "+inf" if after is None else after[0]
        for offset in range(0, LOOKED_AT, READ_AT_ONCE):
            found = self._redis.zrevrangebyscore(jobs, newest, "-inf", start=offset, num=READ_AT_ONCE, withscores=True)
            places = [(int(score), job_id) for job_id, score in cast(list[tuple[str, float]], found)]
            wanted = [place for place in places if after is None or place < after]
            yield from zip(wanted, self._records([job_id for _, job_id in wanted]), strict=True)
            if len(places) < READ_AT_ONCE:
                break
            after = places[-1]  # jobs that came in between push others into the next batch once more

    def unknown(self, job_ids: Sequence[str]) -> list[str]:
        """Those of some jobs of which there is no record."""
        missing = []
        for begin in range(0, len(job_ids), READ_AT_ONCE):
            some = job_ids[begin : begin + READ_AT_ONCE]
            with self._redis.pipeline(transaction=False) as asked:
                for job_id in some:
                    asked.hmget(f"{self._prefix}job:{job_id}", "status", "model")
                found = asked.execute()
            missing += [job_id for job_id, fields in zip(some, found, strict=True) if None in fields]
        return missing

    def results(self, job_id: str) -> dict[int, Done]:
        """Counted results by chunk, in the chunks' order."""
        fields = cast(dict[str, str], self._redis.hgetall(f"{self._prefix}done:{job_id}"))
        found = {}
        for chunk in sorted(fields, key=int):
            completed, failed, packed = fields[chunk].split()
            found[int(chunk)] = Done(int(completed), int(failed), b64decode(packed).hex())
        return found

    def unfinished(self) -> int:
        """How many jobs have not ended."""
        return int(self._redis.scard(f"{self._prefix}unfinished"))

    def memory(self) -> tuple[int, int]:
        """Bytes that Redis uses, and that it may use; 0 where nothing limits it."""
        found = cast(dict[str, int], self._redis.info("memory"))
        return int(found["used_memory"]), int(found.get("maxmemory", 0))

    def backlog(self) -> Waiting:
        """What waits, and the rows that ever were done."""
        unfinished = cast(set[str], self._redis.smembers(f"{self._prefix}unfinished"))
        with self._redis.pipeline(transaction=False) as asked:
            asked.time()
            asked.zcard(f"{self._prefix}jobs")
            asked.hmget(f"{self._prefix}totals", "completed", "failed")
            for job_id in unfinished:
                asked.hmget(f"{self._prefix}job:{job_id}", "status", "chunks", "created_at", "resumed_at")
                asked.hlen(f"{self._prefix}done:{job_id}")
            time, kept, rows, *found = asked.execute()
        records, done = found[::2], found[1::2]
        statuses = [status for status, *_ in records]
        counts = {status: statuses.count(status) for status in UNFINISHED}
        chunks = sum(int(chunks or 0) for _, chunks, *_ in records) - sum(done)
        since = [int(resumed or created) for status, _, created, resumed in records if status == "queued"]
        now = _clock_ms(time)
        return Waiting(
            jobs=counts | {"ended": kept - sum(counts.values())},
            chunks=chunks,
            oldest_s=max(0, now - min(since, default=now)) / 1000,
            rows={"completed": int(rows[0] or 0), "failed": int(rows[1] or 0)},
        )

    def report_alive(self, worker: str, *, for_s: float, threads: int, lacking: Collection[str] = ()) -> None:
        """A worker's sign of life, good for some seconds: its threads, and the models it lacks that jobs wait for."""
        self._run("alive", worker, _ms(for_s), " ".join([str(threads), *sorted(lacking)]))

    def report_gone(self, worker: str) -> None:
        """A worker's last word."""
        self._redis.zrem(f"{self._prefix}workers", worker)

    def workers(self) -> dict[str, list[str]]:
        """Workers that gave a sign of life lately, and the digests that each lacks."""
        with self._redis.pipeline(transaction=False) as asked:
            asked.time()
            asked.zrange(f"{self._prefix}workers", 0, -1, withscores=True)
            asked.hgetall(f"{self._prefix}signs")
            time, found, signs = asked.execute()
        alive = {name for name, until in found if until > _clock_ms(time)}
        return {name: signs.get(name, "").split()[1:] for name in sorted(alive)}

    def _records(self, job_ids: Collection[str]) -> list[Record | None]:
        with self._redis.pipeline(transaction=False) as asked:
            asked.time()
            for job_id in job_ids:
                asked.hgetall(f"{self._prefix}job:{job_id}")
            time, *found = asked.execute()
        now = _clock_ms(time)
        records: list[Record | None] = []
        for job_id, fields in zip(job_ids, found, strict=True):
            known = "status" in fields and "model" in fields
            record = msgspec.convert({**fields, "id": job_id, "now": now}, Record, strict=False) if known else None
            records.append(record)
        return records

    def _run(self, script: str, *arguments: str | int) -> Any:
        return self._scripts[script](args=[self._prefix, *arguments])


def _clock_ms(time: tuple[int, int]) -> int:
    """What Redis answers to TIME, in milliseconds."""
    seconds, micros = time
    return seconds * 1000 + micros // 1000


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)
