"""What a job is: submitted, looked at, cancelled, resumed, read, deleted. The service's only way into the queue."""

import logging
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import redis
from kombu.exceptions import OperationalError

from models.bundle import Card
from models.repository import Repository
from worker import intake
from worker.answers import level_columns
from worker.app import Publish, publisher
from worker.blobs import Blobs, sha256
from worker.chunks import input_name
from worker.connections import open_ledger
from worker.downloads import Download, Downloads, storage
from worker.errors import (
    BadCursor,
    IdempotencyConflict,
    JobExpired,
    JobNotFinished,
    JobNotFound,
    JobStateConflict,
    QueueFull,
    QueueUnavailable,
    ResultsDamaged,
    TableError,
    TooManyBytes,
    TooManyJobs,
)
from worker.intake import Stored, Upload, take
from worker.job_requests import JobOptions
from worker.ledger import ENDED, LOOKED_AT, READ_AT_ONCE, STATUSES, Done, Ledger, Limits, Record, Status, Submission
from worker.references import Reference
from worker.requests import Options
from worker.settings import WorkerSettings
from worker.views import Job, view
from worker.webhooks import check as check_webhook

QUEUE_TIMEOUT_S = 1.0
"""Seconds that Redis may take to answer the service."""
FULL = 0.8
"""Share of Redis's memory beyond which no job is let in: work under way needs some, and a full Redis loses messages."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """
    What a submission may ask beside its series.

    A JSON document brings its own, and then these count for nothing.

    Attributes:
        options: Model, version and levels.
        join: Columns of the input that the results have too.
        webhook: Address to be told of the job's end.
        expires_in_h: Hours until the job and its files are deleted, at most the setting's.
    """

    options: Options
    join: tuple[str, ...] = ()
    webhook: str | None = None
    expires_in_h: float | None = None

    @classmethod
    def of(cls, given: JobOptions) -> "Wishes":
        """Those that stand in JSON."""
        options = Options(model=given.model, version=given.version, levels=given.levels)
        return cls(options=options, join=tuple(given.join), webhook=given.webhook, expires_in_h=given.expires_in_h)


class Page(NamedTuple):
    """Jobs, newest first, and the cursor of those after them; there may be more even where they are few."""

    jobs: list[Job]
    next: str | None


class Backlog(NamedTuple):
    """
    What waits in the queue, and what it has seen.

    Attributes:
        jobs: How many, by status; those that have ended are `ended`.
        chunks: Accepted and not done yet.
        oldest_s: Age of the job that has waited longest for its first chunk to be begun, since it was submitted or
            resumed; 0 where none waits.
        rows: Of chunks that were done, ever, by `completed` and `failed`; what is done again counts again.
        workers: That gave a sign of life lately.
        lacking: Digests of models that jobs wait for and that some worker lacks.
        memory_bytes: That Redis uses.
        memory_limit_bytes: That it may use; 0 where nothing limits it.
    """

    jobs: dict[str, int]
    chunks: int
    oldest_s: float
    rows: dict[str, int]
    workers: int
    lacking: list[str]
    memory_bytes: int
    memory_limit_bytes: int


class Jobs:
    """
    Jobs of one installation. Every method may raise `QueueUnavailable`; forecasts do not need it.

    An owner is the id of an API key, '' where there are none. A job of another owner is not found; an owner of None
    finds all.
    """

    def __init__(
        self,
        settings: WorkerSettings,
        ledger: Ledger,
        blobs: Blobs,
        models: Repository,
        publish: Publish,
    ) -> None:
        self._settings = settings
        self._limits = Limits(settings.max_jobs, settings.owner_jobs, settings.owner_bytes)
        self._ledger = ledger
        self._blobs = blobs
        self._downloads = Downloads(blobs)
        self._models = models
        self._publish = publish

    @classmethod
    def connect(cls, settings: WorkerSettings, models: Repository) -> "Jobs":
        """Jobs over the Redis of the settings; connects on first use."""
        intake.start(settings)
        ledger = open_ledger(settings, timeout_s=QUEUE_TIMEOUT_S, retries=0)
        publish = publisher(settings, timeout_s=QUEUE_TIMEOUT_S)
        return cls(settings, ledger, Blobs.of(settings.jobs_url), models, publish)

    def close(self) -> None:
        """Close the connections."""
        self._ledger.close()

    def submit(
        self, source: Upload | Reference, *, wishes: Wishes, owner: str = "", idempotency_key: str | None
    ) -> Job:
        """
        Accept a job. Once this returns, the job will be worked off, whatever dies.

        Args:
            source: The upload, read to its end, or a file by its URI.
            wishes: The job is pinned to the model's version that they name now.
            owner: Whose job it is.
            idempotency_key: The same key of an owner with the same submission gives the same job.

        Raises:
            InputError: The upload cannot be read, has no series, or asks for what there is not.
            IdempotencyConflict: The key came before with something else.
            TooManyJobs: As many jobs are unfinished as are let in.
            TooManyBytes: As much input is stored as one owner may have.
            QueueFull: Redis is near the end of its memory.
            StorageUnavailable: The upload cannot be written to disk.
        """
        if wishes.webhook:
            check_webhook(wishes.webhook, self._settings)
        self._check_room()
        job_id = secrets.token_hex(16)
        with storage():
            stored = take(source, job_id=job_id, blobs=self._blobs, settings=self._settings, join=wishes.join)
            try:
                wishes = self._meant(source, stored, wishes)
                forecaster = self._models.get(wishes.options.model, wishes.options.version)
                levels = level_columns(wishes.options.levels, forecaster.card.levels)
                record = self._new_record(job_id, stored, forecaster.card, levels.values, wishes, owner)
            except BaseException:
                self._blobs.delete(job_id)
                raise
        # Where the answer to this step is lost the job may stand, so its files stay; `Sweeper.clean` knows which.
        submission = self._enter(job_id, record, stored, wishes, idempotency_key or "")
        if submission.outcome == "accepted":
            self._send(job_id, submission.hints)
            return view(_accepted(job_id, record, submission))
        self._blobs.delete(job_id)
        if submission.outcome == "conflict":
            raise IdempotencyConflict(key=idempotency_key or "", job_id=submission.job_id)
        if submission.outcome != "known":
            self._refuse(submission.outcome, int(record["input_bytes"]))
        return self.get(submission.job_id, owner=owner)

    def get(self, job_id: str, *, owner: str | None = None) -> Job:
        """
        A job as it stands; one that has expired is told of for a day.

        Raises:
            JobNotFound: There is none of that id, or it is another's.
        """
        return view(self._record(job_id, owner))

    def page(
        self,
        *,
        owner: str | None = None,
        limit: int,
        after: str | None = None,
        status: Collection[Status] = (),
        model: str | None = None,
    ) -> Page:
        """
        Jobs, newest first.

        Args:
            owner: Whose; None for all.
            limit: Most jobs; at least one.
            after: The cursor of the page before.
            status: Only these; all where it is empty.
            model: Only jobs of this model.

        Raises:
            BadCursor: `after` is none.
        """
        wanted = frozenset(status or STATUSES)
        begin = None if after is None else _place(after)
        found: list[Job] = []
        seen: list[tuple[int, str]] = []
        with _queue():
            for place, record in self._ledger.page(owner=owner, after=begin):
                seen.append(place)
                if record and record.status in wanted and model in (None, record.model):
                    found.append(view(record))
                if len(found) == limit:
                    break
        more = len(found) == limit or len(seen) > LOOKED_AT - READ_AT_ONCE
        return Page(found, _cursor(seen[-1]) if more else None)

    def cancel(self, job_id: str, *, owner: str | None = None) -> Job:
        """
        Let no further chunk of a job start. Chunks that run stop soon; what is done is kept.

        Raises:
            JobNotFound: There is none of that id, or it is another's.
        """
        self._record(job_id, owner)
        with _queue():
            self._ledger.cancel(job_id)
        return self.get(job_id, owner=owner)

    def resume(self, job_id: str, *, owner: str | None = None) -> Job:
        """
        Let a failed or cancelled job go on with what is missing, and with what was set aside.

        Raises:
            JobNotFound: There is none of that id, or it is another's.
            JobStateConflict: It neither failed nor was cancelled.
            TooManyJobs: As many jobs are unfinished as are let in.
        """
        self._record(job_id, owner)
        with _queue():
            outcome, hints = self._ledger.resume(job_id, limits=self._limits, window=self._settings.window)
        if outcome in ("full", "owner full"):
            self._refuse(outcome, 0)
        if outcome != "resumed":
            wanted = "only a job that failed or was cancelled can be resumed"
            raise JobStateConflict(job_id=job_id, status=outcome or "gone", wanted=wanted)
        self._send(job_id, hints)
        return self.get(job_id, owner=owner)

    def delete(self, job_id: str, *, owner: str | None = None) -> None:
        """
        Delete an ended job with its files, and all that is known of it.

        Raises:
            JobNotFound: There is none of that id, or it is another's.
            JobStateConflict: It has not ended.
        """
        self._record(job_id, owner)
        with _queue():
            status = self._ledger.delete(job_id)
            if status is None:
                raise JobNotFound(job_id=job_id)
            if status not in ENDED:
                wanted = "only a job that has ended can be deleted: cancel it first"
                raise JobStateConflict(job_id=job_id, status=status, wanted=wanted)
            self._blobs.delete(job_id)
            self._ledger.forget(job_id)

    def results(self, job_id: str, media_type: str, *, owner: str | None = None) -> Download:
        """
        Forecasts of an ended job, in the order of its input; of a cancelled one, what was done.

        Raises:
            JobNotFound: There is none of that id, or it is another's.
            JobExpired: Its files are deleted.
            JobNotFinished: It has not ended.
            UnsupportedFormat: The media type is none of `worker.formats.FORMATS`.
            ResultsDamaged: A file is missing or has changed.
            StorageUnavailable: There is no room for the file that is made of them.
        """
        return self._download(self._downloads.forecasts, job_id, media_type, owner)

    def errors(self, job_id: str, media_type: str, *, owner: str | None = None) -> Download:
        """Rows of an ended job that have an error; raises as `results` does."""
        return self._download(self._downloads.errors, job_id, media_type, owner)

    def queue_state(self) -> dict[str, object]:
        """Whether the queue answers, and who works on it; never raises."""
        try:
            with _queue():
                return {
                    "ok": True,
                    "unfinished_jobs": self._ledger.unfinished(),
                    "workers": len(self._ledger.workers()),
                }
        except QueueUnavailable as error:
            return {"ok": False, "reason": str(error)}

    def backlog(self) -> Backlog:
        """What waits in the queue."""
        with _queue():
            workers = self._ledger.workers()
            lacking = sorted({digest for lacks in workers.values() for digest in lacks})
            return Backlog(*self._ledger.backlog(), len(workers), lacking, *self._ledger.memory())

    def _check_room(self) -> None:
        """Say that the queue is away or full before an upload is read; what was accepted needs the rest of its room."""
        with _queue():
            used_bytes, limit_bytes = self._ledger.memory()
        if limit_bytes and used_bytes > FULL * limit_bytes:
            raise QueueFull(used_bytes=used_bytes, limit_bytes=limit_bytes)

    def _meant(self, source: Upload | Reference, stored: Stored, wishes: Wishes) -> Wishes:
        """What is wished for a job: by a JSON document itself, where the series stand in one."""
        if stored.options is None:
            return wishes
        own = Wishes.of(stored.options)
        if isinstance(source, Reference):
            if wishes.options != Options() and wishes.options != own.options:
                wanted = "a JSON document says itself, beside its series, what it is to be forecast with"
                raise TableError(f"{source.uri[:200]!r}: {wanted}; leave model, version and levels out here")
            own = replace(
                own,
                join=wishes.join or own.join,
                webhook=wishes.webhook or own.webhook,
                expires_in_h=wishes.expires_in_h or own.expires_in_h,
            )
        if own.webhook:
            check_webhook(own.webhook, self._settings)
        return own

    def _new_record(
        self,
        job_id: str,
        stored: Stored,
        card: Card,
        levels: Sequence[float],
        wishes: Wishes,
        owner: str,
    ) -> dict[str, str | int]:
        return {
            "owner": owner,
            "model": card.name,
            "version": card.version,
            "digest": card.digest,
            "levels": _json(levels),
            "model_levels": _json(card.levels),
            "total": stored.plan.total,
            "chunks": stored.plan.chunks,
            "closes": stored.plan.closes,
            "input_bytes": self._blobs.size(input_name(job_id)),
            "joined": _json(stored.plan.joined),
            "source": stored.source,
            "webhook": wishes.webhook or "",
        }

    def _enter(self, job_id: str, record: dict[str, str | int], stored: Stored, wishes: Wishes, key: str) -> Submission:
        """Put a job into the ledger."""
        asked = [stored.sha256, record["digest"], record["levels"], wishes.join, wishes.webhook, wishes.expires_in_h]
        retention_h = min(self._settings.retention_h, wishes.expires_in_h or self._settings.retention_h)
        with _queue():
            return self._ledger.submit(
                job_id,
                record,
                retention_s=retention_h * 3600,
                limits=self._limits,
                window=self._settings.window,
                idempotency_key=key,
                fingerprint=sha256(_json(asked).encode()),
            )

    def _refuse(self, outcome: str, input_bytes: int) -> None:
        if outcome == "owner bytes":
            raise TooManyBytes(given=input_bytes, limit=self._limits.owner_bytes)
        own = outcome == "owner full"
        raise TooManyJobs(limit=self._limits.owner_jobs if own else self._limits.jobs, own=own)

    def _send(self, job_id: str, hints: int) -> None:
        """Hint that there is work; where that does not get through, a sweeper does it."""
        try:
            self._publish(hints)
        except (redis.RedisError, OperationalError) as error:
            log.warning("job %s is accepted; workers are told of it later: %s", job_id, error)

    def _record(self, job_id: str, owner: str | None) -> Record:
        with _queue():
            record = self._ledger.record(job_id)
        if record is None or owner not in (None, record.owner):
            raise JobNotFound(job_id=job_id)
        return record

    def _download(
        self,
        render: Callable[[Record, dict[int, Done], str], Download],
        job_id: str,
        media_type: str,
        owner: str | None,
    ) -> Download:
        record, done = self._ended(job_id, owner)
        try:
            return render(record, done, media_type)
        except ResultsDamaged:
            self._ended(job_id, owner)  # they may have been deleted since, as the job has expired
            raise

    def _ended(self, job_id: str, owner: str | None) -> tuple[Record, dict[int, Done]]:
        record = self._record(job_id, owner)
        if record.status == "expired":
            raise JobExpired(job_id=job_id)
        if record.status not in ENDED:
            raise JobNotFinished(job_id=job_id, status=record.status)
        with _queue():
            return record, self._ledger.results(job_id)


def _accepted(job_id: str, record: dict[str, str | int], submission: Submission) -> Record:
    """A record as it stands in the ledger once its job is accepted."""
    times = {"created_at": submission.created_at, "expires_at": submission.expires_at, "now": submission.created_at}
    return msgspec.convert({**record, **times, "id": job_id, "status": "queued", "completed": 0, "failed": 0}, Record)


def _cursor(place: tuple[int, str]) -> str:
    return urlsafe_b64encode(f"{place[0]} {place[1]}".encode()).decode().rstrip("=")


def _place(cursor: str) -> tuple[int, str]:
    try:
        created_at, job_id = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode().split(" ")
        return int(created_at), job_id
    except ValueError:  # which bad base64 and bad UTF-8 are, too
        raise BadCursor(given=cursor) from None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@contextmanager
def _queue() -> Iterator[None]:
    """Redis's errors as one of ours."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueUnavailable(reason=type(error).__name__) from error
