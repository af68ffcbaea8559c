"""What callers see of a job."""

from datetime import UTC, datetime

import msgspec

from worker.ledger import Record, Status


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


class Webhook(msgspec.Struct, frozen=True):
    """Who is told of a job's end, and how that went: '' while it has not ended, pending, delivered or failed."""

    url: str
    state: str
    attempts: int


class Job(msgspec.Struct, frozen=True):
    """
    A job as callers see it. Times are ISO 8601 in UTC; progress goes from 0 to 1.

    Attributes:
        rows_per_second: Since its first claim, or since it was resumed.
        seconds_left: At that speed; None unless it is under way.
        source: Where its series came from: a media type or an address.
        joined: Columns of the input that the results have too.
    """

    id: str
    status: Status
    model: JobModel
    levels: list[float]
    counts: Counts
    progress: float
    created_at: str
    started_at: str | None
    finalizing_at: str | None
    cancelling_at: str | None
    finished_at: str | None
    expires_at: str
    reason: str | None
    rows_per_second: float | None
    seconds_left: float | None
    source: str
    joined: list[str]
    webhook: Webhook | None


def view(record: Record) -> Job:
    """A job as the ledger knows it, for its owner."""
    rows = record.completed + record.failed
    rate, left_s = _speed(record)
    return Job(
        id=record.id,
        status=record.status,
        model=JobModel(record.model, record.version, record.digest),
        levels=msgspec.json.decode(record.levels, type=list[float]),
        counts=Counts(record.total, record.completed, record.failed),
        progress=rows / record.total,
        created_at=_iso(record.created_at),
        started_at=_moment(record.started_at),
        finalizing_at=_moment(record.finalizing_at),
        cancelling_at=_moment(record.cancelling_at),
        finished_at=_moment(record.finished_at),
        expires_at=_iso(record.expires_at),
        reason=record.reason,
        rows_per_second=rate,
        seconds_left=left_s,
        source=record.source,
        joined=msgspec.json.decode(record.joined, type=list[str]),
        webhook=Webhook(record.webhook, record.webhook_state, record.webhook_attempts) if record.webhook else None,
    )


def _speed(record: Record) -> tuple[float | None, float | None]:
    """Rows a second, and seconds left at that; by Redis's clock alone, which no two machines disagree about."""
    if record.rated_at is None:
        return None, None
    rows = record.completed + record.failed
    took_s = ((record.finished_at or record.now) - record.rated_at) / 1000
    if took_s <= 0 or rows <= record.rated_rows:
        return None, None
    rate = (rows - record.rated_rows) / took_s
    under_way = record.status in ("in_progress", "finalizing")
    return round(rate, 3), round((record.total - rows) / rate, 3) if under_way else None


def _moment(milliseconds: int | None) -> str | None:
    return _iso(milliseconds) if milliseconds else None


def _iso(milliseconds: int) -> str:
    moment = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
