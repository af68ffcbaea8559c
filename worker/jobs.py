"""What a job is: submitted, looked at, cancelled, read. The service's only way into the queue."""

import logging
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, NamedTuple

import msgspec
import redis
from kombu.exceptions import OperationalError
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.bundle import Card
from models.repository import Repository
from worker import downloads, intake, results
from worker.answers import level_columns
from worker.app import KEY_PREFIX, Publish, publisher
from worker.blobs import Blobs, sha256
from worker.errors import (
    IdempotencyConflict,
    JobNotFinished,
    JobNotFound,
    QueueUnavailable,
    StorageUnavailable,
    TooManyJobs,
)
from worker.intake import Stored, Upload, take
from worker.ledger import ENDED, Done, Ledger, Record, Status, Submission
from worker.requests import Options
from worker.settings import WorkerSettings

QUEUE_TIMEOUT_S = 1.0
"""Seconds that Redis may take to answer the service."""

log = logging.getLogger(__name__)


class JobModel(msgspec.Struct, frozen=True):
    """The model that a job is pinned to."""

    name: str
    version: int
    digest: str


class Counts(msgspec.Struct, frozen=True):
    """Rows of a job: in all, with a forecast, with an error."""

    total: int
    completed: int
    failed: int


class Job(msgspec.Struct, frozen=True):
    """A job as callers see it. Times are ISO 8601 in UTC; progress goes from 0 to 1."""

    id: str
    status: Status
    model: JobModel
    levels: list[float]
    counts: Counts
    progress: float
    created_at: str
    started_at: str | None
    finished_at: str | None
    expires_at: str
    reason: str | None


class Backlog(NamedTuple):
    """
    What waits in the queue.

    Attributes:
        jobs: How many, by status; those that have ended are `ended`.
        chunks: Accepted and not done yet.
        workers: That gave a sign of life lately.
    """

    jobs: dict[str, int]
    chunks: int
    workers: int


class _Asked(NamedTuple):
    options: Options
    join: tuple[str, ...]


class Jobs:
    """Jobs of one installation. Every method may raise `QueueUnavailable`; forecasts do not need it."""

    def __init__(
        self,
        settings: WorkerSettings,
        ledger: Ledger,
        blobs: Blobs,
        models: Repository,
        publish: Publish,
    ) -> None:
        self._settings = settings
        self._ledger = ledger
        self._blobs = blobs
        self._models = models
        self._publish = publish

    @classmethod
    def connect(cls, settings: WorkerSettings, models: Repository) -> "Jobs":
        """Jobs over the Redis of the settings; connects on first use."""
        intake.start(settings)
        connection = redis.Redis.from_url(
            settings.redis_url,
            decode_responses=True,
            socket_timeout=QUEUE_TIMEOUT_S,
            socket_connect_timeout=QUEUE_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        ledger = Ledger(connection, prefix=KEY_PREFIX)
        return cls(
            settings, ledger, Blobs(Path(settings.jobs_url)), models, publisher(settings, timeout_s=QUEUE_TIMEOUT_S)
        )

    def close(self) -> None:
        """Close the connections."""
        self._ledger.close()

    def submit(
        self,
        body: BinaryIO,
        media_type: str,
        *,
        options: Options,
        idempotency_key: str | None,
        join: tuple[str, ...] = (),
    ) -> Job:
        """
        Accept a job. Once this returns, the job will be worked off, whatever dies.

        Args:
            body: The upload, read to its end.
            media_type: One of `worker.tables.MEDIA_TYPES`.
            options: Model, version and levels; a JSON upload brings its own. The job is pinned to the version that
                they name now.
            join: Columns of the upload that are carried to the results.
            idempotency_key: The same key with the same submission gives the same job.

        Raises:
            InputError: The upload cannot be read, has no series, or asks for what there is not.
            IdempotencyConflict: The key came before with something else.
            TooManyJobs: As many jobs are unfinished as are let in.
            StorageUnavailable: The upload cannot be written to disk.
        """
        with _queue():
            self._ledger.unfinished()  # a queue that is away is said before an upload is read
        job_id = secrets.token_hex(16)
        try:
            upload = Upload(body, media_type)
            wishes = _Asked(options, join)
            stored = take(upload, job_id=job_id, blobs=self._blobs, settings=self._settings, wishes=wishes)
            forecaster = self._models.get(stored.options.model, stored.options.version)
            levels = level_columns(stored.options.levels, forecaster.card.levels)
        except OSError as error:
            self._blobs.delete(job_id)
            raise StorageUnavailable(reason=error.strerror or type(error).__name__) from error
        except BaseException:
            self._blobs.delete(job_id)
            raise
        # Where the answer to this step is lost the job may stand, so its files stay; `Sweeper.clean` knows which.
        key = idempotency_key or ""
        record, submission = self._enter(job_id, stored, forecaster.card, levels.values, key)
        if submission.outcome == "accepted":
            self._send(job_id, stored.plan.chunks)
            return _view(record)
        self._blobs.delete(job_id)
        if submission.outcome == "conflict":
            raise IdempotencyConflict(key=key, job_id=submission.job_id)
        if submission.outcome == "full":
            raise TooManyJobs(limit=self._settings.max_jobs)
        return self.get(submission.job_id)

    def get(self, job_id: str) -> Job:
        """
        A job as it stands.

        Raises:
            JobNotFound: There is none of that id.
        """
        return _view(self._record(job_id))

    def newest(self, *, limit: int) -> list[Job]:
        """The newest jobs, newest first."""
        with _queue():
            return [_view(record) for record in self._ledger.records(limit=limit)]

    def cancel(self, job_id: str) -> Job:
        """
        Let no further chunk of a job start. Chunks that run stop soon; what is done is kept.

        Raises:
            JobNotFound: There is none of that id.
        """
        with _queue():
            self._ledger.cancel(job_id)
        return self.get(job_id)

    def results(self, job_id: str, media_type: str) -> Iterator[bytes]:
        """
        Forecasts of an ended job, in the order of its input, a part a chunk; of a cancelled one, what was done.

        Raises:
            JobNotFound: There is none of that id.
            JobNotFinished: It has not ended.
            UnsupportedFormat: The media type is none of `worker.results.FORMATS`.
            ResultsDamaged: A file is missing; while reading: a file has changed.
        """
        results.check_format(media_type)
        record, done = self._ended(job_id)
        return downloads.forecasts(record, done, media_type, self._blobs)

    def errors(self, job_id: str, media_type: str) -> Iterator[bytes]:
        """Rows of an ended job that have an error; raises as `results` does."""
        results.check_format(media_type)
        record, done = self._ended(job_id)
        return downloads.errors(record, done, media_type, self._blobs)

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
            return Backlog(*self._ledger.backlog(), len(self._ledger.workers()))

    def _enter(
        self, job_id: str, stored: Stored, card: Card, levels: Sequence[float], key: str
    ) -> tuple[Record, Submission]:
        """Put a job into the ledger; its record as it stands there if it is accepted."""
        record: dict[str, str | int] = {
            "model": card.name,
            "version": card.version,
            "digest": card.digest,
            "levels": _json(levels),
            "model_levels": _json(card.levels),
            "total": stored.plan.total,
        }
        with _queue():
            submission = self._ledger.submit(
                job_id,
                record,
                chunks=stored.plan.chunks,
                first_due_s=self._settings.resend_s,
                retention_s=self._settings.retention_h * 3600,
                max_jobs=self._settings.max_jobs,
                idempotency_key=key,
                fingerprint=sha256(_json([stored.sha256, card.digest, levels]).encode()),
            )
        times = {"created_at": submission.created_at, "expires_at": submission.expires_at}
        new = {"id": job_id, "status": "queued", "chunks": stored.plan.chunks, "completed": 0, "failed": 0}
        return msgspec.convert({**record, **times, **new}, Record), submission

    def _send(self, job_id: str, chunks: int) -> None:
        """Hint at the chunks; what does not get through, the sweeper sends."""
        try:
            self._publish((job_id, chunk) for chunk in range(chunks))
        except (redis.RedisError, OperationalError) as error:
            log.warning("job %s is accepted; its chunks are sent later: %s", job_id, error)

    def _record(self, job_id: str) -> Record:
        with _queue():
            record = self._ledger.record(job_id)
        if record is None or record.status == "expired":
            raise JobNotFound(job_id=job_id)
        return record

    def _ended(self, job_id: str) -> tuple[Record, dict[int, Done]]:
        record = self._record(job_id)
        if record.status not in ENDED:
            raise JobNotFinished(job_id=job_id, status=record.status)
        with _queue():
            return record, self._ledger.results(job_id)


def _view(record: Record) -> Job:
    ended_rows = record.completed + record.failed
    return Job(
        id=record.id,
        status=record.status,
        model=JobModel(record.model, record.version, record.digest),
        levels=_levels(record.levels),
        counts=Counts(record.total, record.completed, record.failed),
        progress=ended_rows / record.total,
        created_at=_iso(record.created_at),
        started_at=_iso(record.started_at) if record.started_at else None,
        finished_at=_iso(record.finished_at) if record.finished_at else None,
        expires_at=_iso(record.expires_at),
        reason=record.reason,
    )


def _levels(text: str) -> list[float]:
    return msgspec.json.decode(text, type=list[float])


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


@contextmanager
def _queue() -> Iterator[None]:
    """Redis's errors as one of ours."""
    try:
        yield
    except redis.RedisError as error:
        raise QueueUnavailable(reason=type(error).__name__) from error
