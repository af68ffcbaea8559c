"""
Scheduled scoring: after each close of an exchange, jobs for the inputs of a schedule, each exactly once.

What has been submitted is noted in Redis by schedule and session. A process that dies between a submission and its note
submits again under the same idempotency key, and so gets the same job; the note outlives the job, which may be deleted
as soon as somebody has its results.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple, Protocol, cast

import redis

from models.errors import NextdayError
from worker.errors import IdempotencyConflict, ScheduleError
from worker.schedule_file import MOST_CATCH_UP_DAYS, Schedule, ScheduleFile
from worker.sessions import Session, sessions

LOOK_S = 5.0
"""Seconds between two looks at the clock."""
FIRST_WAIT_S, LONGEST_WAIT_S = 30.0, 900.0
"""Seconds until what failed is tried again: twice as many after each time."""
KEPT_S = (MOST_CATCH_UP_DAYS + 10) * 86400
"""Seconds that notes are kept: longer than any session may be made good."""

log = logging.getLogger(__name__)

Submit = Callable[[Schedule, str, str], str]
"""Submits the file of a URI for a schedule, under an idempotency key; the job's id."""
ListInputs = Callable[[str], Sequence[str]]
"""The URIs of the files that an input names."""


class Run(NamedTuple):
    """A session of a schedule, and when its jobs are to be submitted."""

    schedule: Schedule
    session: Session
    due_at: datetime


class Notes(Protocol):
    """What has been submitted, kept over the life of processes."""

    def submitted(self, name: str, day: date) -> dict[str, str] | None:
        """The jobs of a session so far, by URI; None once all are submitted."""

    def add(self, name: str, day: date, uri: str, job_id: str) -> None:
        """Note a job."""

    def close(self, name: str, day: date) -> None:
        """Note that all of a session's jobs are submitted."""


class RedisNotes:
    """Notes as a hash for each session of a schedule, deleted by themselves. Every method may raise `RedisError`."""

    CLOSED = "all"

    def __init__(self, connection: "redis.Redis", *, prefix: str) -> None:
        self._redis = connection
        self._prefix = prefix

    def submitted(self, name: str, day: date) -> dict[str, str] | None:
        """As `Notes` says."""
        noted = cast(dict[str, str], self._redis.hgetall(self._key(name, day)))
        return None if self.CLOSED in noted else noted

    def add(self, name: str, day: date, uri: str, job_id: str) -> None:
        """As `Notes` says."""
        with self._redis.pipeline() as both:
            both.hset(self._key(name, day), uri, job_id)
            both.expire(self._key(name, day), KEPT_S)
            both.execute()

    def close(self, name: str, day: date) -> None:
        """As `Notes` says."""
        self.add(name, day, self.CLOSED, "")

    def _key(self, name: str, day: date) -> str:
        return f"{self._prefix}scheduled:{name}:{day}"


@dataclass(slots=True)
class _Failing:
    """A session that could not be submitted yet."""

    day: date
    again_at: datetime
    wait_s: float


class Scheduler:
    """The schedules of a file at work. Two processes may run the same file: each job is made once."""

    def __init__(
        self,
        plan: ScheduleFile,
        *,
        submit: Submit,
        list_inputs: ListInputs,
        notes: Notes,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._plan = plan
        self._submit = submit
        self._list_inputs = list_inputs
        self._notes = notes
        self._clock = clock
        self._closed: dict[str, date] = {}
        self._failing: dict[str, _Failing] = {}
        self._told_on: date | None = None
        self._stop = threading.Event()

    def run(self) -> None:
        """Submit what becomes due, until `stop`."""
        for run in self.next_runs():
            log.info("schedule %s: session %s is due at %s", run.schedule.name, run.session.day, run.due_at.isoformat())
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = LOOK_S
            try:
                self.run_due()
                self._tell_of_ends()
            except Exception:  # a process that died would miss every session that follows
                log.exception("the schedules stumbled and go on")

    def stop(self) -> None:
        """Submit nothing further; a submission on its way is ended."""
        self._stop.set()

    def run_due(self) -> bool:
        """Submit what is due and not submitted yet, once; whether nothing failed."""
        outcomes = [self._work_on(run) for run in self.due()]  # one that fails stops no other
        return all(outcomes)

    def due(self) -> Iterator[Run]:
        """The latest session of each schedule whose time has come, unless it is too long ago."""
        now = self._clock()
        for schedule in self._plan.schedule:
            run = latest(schedule, now)
            if run and now - run.due_at <= timedelta(days=self._plan.catch_up_days):
                yield run

    def next_runs(self) -> Iterator[Run]:
        """The next session of each schedule; none of one whose exchange's calendar ends."""
        now = self._clock()
        for schedule in self._plan.schedule:
            if run := upcoming(schedule, now):
                yield run

    def inputs_left(self, run: Run) -> list[str]:
        """
        The URIs of a session that are not submitted yet.

        Raises:
            ScheduleError: There is no file.
            OSError, redis.RedisError: They cannot be listed, or the notes cannot be read.
        """
        noted = self._notes.submitted(run.schedule.name, run.session.day)
        if noted is None:
            return []
        if not (uris := self._list_inputs(run.schedule.input)):
            raise ScheduleError(where=run.schedule.name, reason="there is no file under its input")
        return [uri for uri in uris if uri not in noted]

    def _tell_of_ends(self) -> None:
        """Say once a day which exchange's calendar ends, since its schedules end with it."""
        today = self._clock().date()
        if today == self._told_on:
            return
        self._told_on = today
        for schedule in self._plan.schedule:
            if not upcoming(schedule, self._clock()):
                log.error("schedule %s: no later session of %s is known; install a newer exchange-calendars",
                          schedule.name, schedule.calendar)  # fmt: skip

    def _work_on(self, run: Run) -> bool:
        name, day = run.schedule.name, run.session.day
        failing = self._failing.get(name)
        if self._closed.get(name) == day:
            return True
        if failing and failing.day != day:
            log.error("schedule %s: session %s was not submitted whole; %s follows", name, failing.day, day)
            del self._failing[name]
        elif failing and self._clock() < failing.again_at:
            return False
        if not self._submit_left(run):
            self._put_off(name, day)
            return False
        self._closed[name] = day
        self._failing.pop(name, None)
        return True

    def _submit_left(self, run: Run) -> bool:
        """Submit all of a session that is not submitted yet; whether all is."""
        name, day = run.schedule.name, run.session.day
        try:
            outcomes = [self._submit_one(run, uri) for uri in self.inputs_left(run) if not self._stop.is_set()]
            if not all(outcomes) or self._stop.is_set():
                return False
            self._notes.close(name, day)
        except (NextdayError, OSError, ValueError, redis.RedisError) as error:
            log.warning("schedule %s: session %s is not submitted: %s", name, day, error)
            return False
        return True

    def _submit_one(self, run: Run, uri: str) -> bool:
        name, day = run.schedule.name, run.session.day
        try:
            job_id = self._submit(run.schedule, uri, f"schedule:{name}:{day}:{uri}")
        except IdempotencyConflict as error:  # submitted, but not noted, before the file or the model changed
            job_id = error.job_id
        except (NextdayError, OSError, ValueError, redis.RedisError) as error:
            log.warning("schedule %s: session %s: %s is not submitted: %s", name, day, uri, error)
            return False
        self._notes.add(name, day, uri, job_id)
        log.info("schedule %s: session %s: %s is job %s", name, day, uri, job_id)
        return True

    def _put_off(self, name: str, day: date) -> None:
        before = self._failing.get(name)
        wait_s = min(2 * before.wait_s, LONGEST_WAIT_S) if before else FIRST_WAIT_S
        self._failing[name] = _Failing(day, self._clock() + timedelta(seconds=wait_s), wait_s)


def latest(schedule: Schedule, now: datetime) -> Run | None:
    """The last session of a schedule whose time has come."""
    return next((run for run in reversed(_runs(schedule, now)) if run.due_at <= now), None)


def upcoming(schedule: Schedule, now: datetime) -> Run | None:
    """The first session of a schedule whose time has not come, or None where the exchange's calendar ends."""
    return next((run for run in _runs(schedule, now) if run.due_at > now), None)


def _runs(schedule: Schedule, now: datetime) -> list[Run]:
    after = timedelta(minutes=schedule.after_close_minutes)
    return [Run(schedule, each, each.closes_at + after) for each in sessions(schedule.calendar, now.date())]
