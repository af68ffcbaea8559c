"""
What can go wrong with a job. Grows from the core's tree (models/errors.py).

    NextdayError
    ├── InputError
    │   ├── TableError              an upload that cannot be read as series, with the place
    │   ├── UploadTooLarge          an upload beyond one of the settings' limits
    │   ├── DigestMismatch          an upload that is not what its Content-Digest says
    │   ├── ReferenceRefused        a file named in an upload's place that cannot be had
    │   ├── UnsupportedFormat       a media type that jobs neither take nor give
    │   └── WebhookRefused          a URL that this service does not call
    ├── ScheduleError               a schedule's file, exchange or input that cannot be used, with the place
    └── JobError
        ├── JobNotFound
        ├── JobExpired              its files are deleted; the record is kept for a day
        ├── JobNotFinished          results were asked for before there are any
        ├── JobStateConflict        a job in this state cannot be resumed, or deleted
        ├── BadCursor               a page was asked for that was never offered
        ├── IdempotencyConflict     the same key came with another body
        ├── TooManyJobs             as many unfinished jobs as are let in
        ├── TooManyBytes            as much input is stored as one owner may have
        ├── IntakeBusy              as many uploads are being read as may be at a time
        ├── ResultsDamaged          a chunk's file is not the one that the ledger knows
        ├── StorageUnavailable      the jobs' folder cannot be written; nothing was accepted
        ├── QueueFull               Redis is near the end of its memory
        └── QueueUnavailable        Redis did not answer
"""

from collections.abc import Iterable

from models.errors import InputError, NextdayError


class TableError(InputError):
    """An upload that cannot be read as a table of series; the message says where and what right looks like."""


class UploadTooLarge(InputError):
    """An upload beyond one of the settings' limits; the message names the setting."""

    def __init__(self, *, what: str, most: float, setting: str) -> None:
        super().__init__(f"the upload {what}; at most {most:g} are taken (NEXTDAY_{setting.upper()})")


class DigestMismatch(InputError):
    """An upload that is not what its Content-Digest says."""


class ReferenceRefused(InputError):
    """A file named in an upload's place that cannot be had."""


class UnsupportedFormat(InputError):
    """A media type that jobs neither take nor give."""

    def __init__(self, *, given: str, known: Iterable[str]) -> None:
        super().__init__(f"{given!r} is none of {', '.join(known)}")


class WebhookRefused(InputError):
    """A URL that this service does not call, or not now; the message names neither it nor those that are allowed."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"webhook refused: {reason}; a webhook is an https URL of a host that the operator allows, as "
            "https://hooks.example.com/nextday"
        )


class ScheduleError(NextdayError):
    """A schedule that cannot be used as it is."""

    def __init__(self, *, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")


class JobError(NextdayError):
    """A job that cannot be made, found or read."""


class JobNotFound(JobError):
    """There is no job of that id, or no longer."""

    def __init__(self, *, job_id: str) -> None:
        super().__init__(f"there is no job {job_id[:60]!r}; jobs are deleted when they expire")


class JobExpired(JobError):
    """The job's files are deleted, since its time is over."""

    def __init__(self, *, job_id: str) -> None:
        super().__init__(f"job {job_id} has expired, and its results are deleted; submit it again to have them anew")


class JobNotFinished(JobError):
    """The job still runs, so its results are not whole."""

    def __init__(self, *, job_id: str, status: str) -> None:
        super().__init__(f"job {job_id} is {status}; its results can be had once it has ended")


class JobStateConflict(JobError):
    """What was asked for cannot be done to a job in this state."""

    def __init__(self, *, job_id: str, status: str, wanted: str) -> None:
        super().__init__(f"job {job_id} is {status}; {wanted}")


class BadCursor(JobError):
    """A place in the list of jobs that no page has named."""

    def __init__(self, *, given: str) -> None:
        super().__init__(f"{given[:60]!r} is no cursor; take the one that came with the page before")


class IdempotencyConflict(JobError):
    """An Idempotency-Key that another submission has used."""

    def __init__(self, *, key: str, job_id: str) -> None:
        self.job_id = job_id
        super().__init__(f"Idempotency-Key {key!r} made job {job_id} from another body or other options")


class TooManyJobs(JobError):
    """As many unfinished jobs as this installation lets in, in all or of one owner."""

    def __init__(self, *, limit: int, own: bool = False) -> None:
        whose = " of yours" if own else ""
        super().__init__(f"{limit} jobs{whose} are unfinished already, which is as many as are let in; try again later")


class TooManyBytes(JobError):
    """An owner has as much input stored as one may have."""

    def __init__(self, *, given: int, limit: int) -> None:
        super().__init__(
            f"{given} bytes more would be over the {limit} that the inputs of your jobs may take together; delete jobs "
            "that have ended, or wait until they expire"
        )


class IntakeBusy(JobError):
    """As many uploads are being read as may be at a time, and none ended while this one waited."""

    def __init__(self, *, at_a_time: int, waited_s: float) -> None:
        super().__init__(
            f"{at_a_time} uploads are being read, as many as may be; none ended in {waited_s:g} s: try again"
        )


class ResultsDamaged(JobError):
    """A chunk's result file is missing or changed since it was written."""

    def __init__(self, *, job_id: str, chunk: int) -> None:
        super().__init__(f"results of job {job_id}, chunk {chunk}, are missing or damaged on disk")


class StorageUnavailable(JobError):
    """The jobs' folder is full or cannot be written. What was being submitted was not accepted."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the disk of the jobs cannot be written ({reason}); nothing was changed, try again later")


class QueueFull(JobError):
    """Redis is near the end of its memory, so that no job is let in; nothing was changed."""

    def __init__(self, *, used_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"the job queue has {used_bytes} of {limit_bytes} bytes in use; no job is let in until it has room again, "
            "which jobs give that are deleted or expire"
        )


class QueueUnavailable(JobError):
    """
    Redis did not answer in time.

    Where its answer to a submission was lost the job may stand, so the message does not say that nothing was changed.
    """

    def __init__(self, *, reason: str) -> None:
        super().__init__(
            f"the job queue does not answer ({reason}); try again: with the same Idempotency-Key no job is made twice"
        )
