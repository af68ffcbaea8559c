"""`nextday schedule`: the schedules of a file at work, run once, or shown as what would be done and when."""

import json
import logging
import signal
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

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


def run(
    path: Path,
    settings: WorkerSettings,
    *,
    once: bool,
    dry: bool,
    show: Callable[[str], object],
    as_json: bool = False,
) -> int:
    """
    Work a file's schedules off, until SIGTERM or Ctrl-C; the exit code.

    Args:
        path: The file.
        settings: Where Redis, the jobs and the models are.
        once: Submit what is due now, and return: 0 where all of it is submitted, else 1.
        dry: Submit nothing; show what would be.
        as_json: Show that as JSON.
        show: Takes a line for people, or the JSON.

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
            coming = upcoming(plan, scheduler)
            show(json.dumps({"schedules": coming}, indent=1) if as_json else "\n".join(preview(coming)))
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


def upcoming(plan: ScheduleFile, scheduler: Scheduler) -> list[dict[str, Any]]:
    """
    What would be submitted now, and what comes next.

    Returns:
        Of each schedule `name`, `calendar`, `model`, `version` and `input`; `due`, a run with `session` (a date), `at`
        (ISO 8601, UTC) and `left`, the files to submit, or `error`, why these are not known; and `next`, such a run
        without either. `due` is None where the last session is too long ago, `next` where the calendar ends before it.
    """
    due = {run.schedule.name: run for run in scheduler.due()}
    coming = {run.schedule.name: run for run in scheduler.next_runs()}
    return [
        {
            **{field: getattr(each, field) for field in ("name", "calendar", "model", "version", "input")},
            "catch_up_days": plan.catch_up_days,
            "due": _due(due[each.name], scheduler) if each.name in due else None,
            "next": _run(coming[each.name]) if each.name in coming else None,
        }
        for each in plan.schedule
    ]


def preview(coming: list[dict[str, Any]]) -> Iterator[str]:
    """The same for people, a few lines a schedule."""
    for each in coming:
        version = f":{each['version']}" if each["version"] else ""
        yield f"{each['name']}: {each['calendar']}, {each['model']}{version}, {each['input']}"
        if each["due"]:
            yield from _shown(each["due"])
        else:
            yield f"  due   nothing: the last session is more than {each['catch_up_days']:g} days ago"
        yield f"  next  {_at(each['next'])}" if each["next"] else "  next  unknown: install a newer exchange-calendars"


def _run(run: Run) -> dict[str, Any]:
    return {"session": str(run.session.day), "at": f"{run.due_at:%Y-%m-%dT%H:%M:%SZ}"}


def _due(run: Run, scheduler: Scheduler) -> dict[str, Any]:
    try:
        return {**_run(run), "left": list(scheduler.inputs_left(run))}
    except (NextdayError, OSError, ValueError, redis.RedisError) as error:
        return {**_run(run), "error": str(error)}


def _shown(due: dict[str, Any]) -> Iterator[str]:
    if "error" in due:
        yield f"  due   {_at(due)}, but: {due['error']}"
        return
    left = due["left"]
    yield f"  due   {_at(due)}: {f'{len(left)} to submit' if left else 'all is submitted'}"
    yield from (f"        {uri}" for uri in left)


def _at(run: dict[str, Any]) -> str:
    return f"session {run['session']}, at {run['at'][:16].replace('T', ' ')} UTC"


@contextmanager
def _notes(settings: WorkerSettings) -> Iterator[RedisNotes]:
    with connect(settings, timeout_s=TIMEOUT_S, retries=0) as connection:
        yield RedisNotes(connection, prefix=KEY_PREFIX)
