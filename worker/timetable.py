"""`nextday schedule`: the schedules of a file at work, run once, or shown as what would be done and when."""

import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import redis

from models.errors import NextdayError
from models.repository import Repository
from worker.answers import level_columns
from worker.connections import KEY_PREFIX, connect
from worker.errors import ReferenceRefused, ScheduleError
from worker.inputs import files_of
from worker.jobs import Jobs, Wishes
from worker.references import Reference, store_of
from worker.requests import Options
from worker.schedule import RedisNotes, Run, Scheduler, Submit
from worker.schedule_file import Schedule, ScheduleFile, read
from worker.sessions import sessions
from worker.settings import WorkerSettings
from worker.webhooks import check as check_webhook

TIMEOUT_S = 5.0
"""Seconds that Redis may take to answer about notes."""


def run(path: Path, settings: WorkerSettings, *, once: bool, dry: bool, show: Callable[[str], object]) -> int:
    """
    Work a file's schedules off, until SIGTERM or Ctrl-C; the exit code.

    Args:
        path: The file.
        settings: Where Redis, the jobs and the models are.
        once: Submit what is due now, and return: 0 where all of it is submitted, else 1.
        dry: Submit nothing; show what would be.
        show: Takes a line for people.

    Raises:
        ScheduleError: The file is wrong.
    """
    models = Repository(
        settings.store, device=settings.device, device_id=settings.device_id, threads=settings.run_threads
    )
    plan = read(path, partial(check, settings=settings, models=models))
    with closing(Jobs.connect(settings, models)) as jobs, _notes(settings) as notes:
        list_inputs = partial(files_of, prefixes=settings.input_prefixes)
        scheduler = Scheduler(plan, submit=submitter(jobs), list_inputs=list_inputs, notes=notes)
        if dry:
            for line in preview(plan, scheduler):
                show(line)
            return 0
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
        if once:
            return 0 if scheduler.run_due() else 1
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: scheduler.stop())
        scheduler.run()
        return 0


def check(schedule: Schedule, *, settings: WorkerSettings, models: Repository) -> None:
    """
    Look at what a schedule names: exchange, model, levels, webhook, input.

    Raises:
        InputError, ScheduleError: One of them is not there, or not allowed.
    """
    sessions(schedule.calendar, datetime.now(UTC).date())
    level_columns(schedule.levels, models.card(schedule.model, schedule.version).levels)
    if schedule.webhook is not None:
        check_webhook(schedule.webhook, settings)
    try:
        store_of(schedule.input, settings.input_prefixes)
    except ReferenceRefused as error:
        raise ScheduleError(where="input", reason=str(error)) from error


def submitter(jobs: Jobs) -> Submit:
    """A function that submits a schedule's file."""

    def submit(schedule: Schedule, uri: str, key: str) -> str:
        levels = None if schedule.levels is None else list(schedule.levels)
        options = Options(model=schedule.model, version=schedule.version, levels=levels)
        wishes = Wishes(options=options, join=schedule.join, webhook=schedule.webhook)
        return jobs.submit(Reference(uri), wishes=wishes, owner=schedule.owner, idempotency_key=key).id

    return submit


def preview(plan: ScheduleFile, scheduler: Scheduler) -> Iterator[str]:
    """What would be submitted now, and what comes next, a few lines a schedule."""
    due = {run.schedule.name: run for run in scheduler.due()}
    coming = {run.schedule.name: run for run in scheduler.next_runs()}
    for schedule in plan.schedule:
        version = f":{schedule.version}" if schedule.version else ""
        yield f"{schedule.name}: {schedule.calendar}, {schedule.model}{version}, {schedule.input}"
        if schedule.name in due:
            yield from _shown(due[schedule.name], scheduler)
        else:
            yield f"  due   nothing: the last session is more than {plan.catch_up_days:g} days ago"
        following = coming.get(schedule.name)
        yield f"  next  {_at(following)}" if following else "  next  unknown: install a newer exchange-calendars"


def _shown(run: Run, scheduler: Scheduler) -> Iterator[str]:
    try:
        left = scheduler.inputs_left(run)
    except (NextdayError, OSError, ValueError, redis.RedisError) as error:
        yield f"  due   {_at(run)}, but: {error}"
        return
    yield f"  due   {_at(run)}: {f'{len(left)} to submit' if left else 'all is submitted'}"
    yield from (f"        {uri}" for uri in left)


def _at(run: Run) -> str:
    return f"session {run.session.day}, at {run.due_at:%Y-%m-%d %H:%M} UTC"


@contextmanager
def _notes(settings: WorkerSettings) -> Iterator[RedisNotes]:
    with connect(settings, timeout_s=TIMEOUT_S, retries=0) as connection:
        yield RedisNotes(connection, prefix=KEY_PREFIX)
