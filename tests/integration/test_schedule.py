"""Schedules: real calendars and a real Valkey, with a clock that tests set; then the command as people call it."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import redis

from models.repository import Repository
from tests.integration.up_process import until
from worker.errors import IdempotencyConflict, QueueUnavailable, TableError
from worker.jobs import Jobs
from worker.schedule import RedisNotes, Scheduler
from worker.schedule_file import MOST_CATCH_UP_DAYS, Schedule, ScheduleFile
from worker.settings import WorkerSettings

NEXTDAY = [sys.executable, "-m", "nextday"]
US = Schedule(name="us", input="s3://prices/us.csv", calendar="XNYS")
FOLDER = Schedule(name="folder", input="s3://prices/us/", calendar="XNYS")
BLACK_FRIDAY = datetime(2024, 11, 29, 18, 30, tzinfo=UTC)
"""Half an hour after the half day's close."""


@dataclass
class Accepting:
    """What accepts jobs: one for each key, as `Jobs.submit` does; `failing` says what is wrong with a URI just now."""

    jobs: dict[str, str] = field(default_factory=dict)
    failing: dict[str, Exception] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def submit(self, _schedule: Schedule, uri: str, key: str) -> str:
        with self.lock:
            self.asked.append(uri)
            if uri in self.failing:
                raise self.failing[uri]
            return self.jobs.setdefault(key, f"job{len(self.jobs)}")


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now

    def pass_to(self, *parts: int) -> None:
        self.now = datetime(*parts, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    return Clock(BLACK_FRIDAY)


@pytest.fixture
def accepting() -> Accepting:
    return Accepting()


@pytest.fixture
def start(valkey: redis.Redis, clock: Clock, accepting: Accepting) -> Callable[..., Scheduler]:
    """A process of schedules, started anew: it remembers nothing by itself."""

    def start(
        *schedules: Schedule,
        files: Callable[[str], list[str]] = lambda uri: [uri],
        catch_up_days: float = 3,
        notes: RedisNotes | None = None,
    ) -> Scheduler:
        plan = ScheduleFile(schedule=schedules or (US,), catch_up_days=catch_up_days)
        notes = notes or RedisNotes(valkey, prefix="nextday:")
        return Scheduler(plan, submit=accepting.submit, list_inputs=files, notes=notes, clock=clock)

    return start


def days(accepting: Accepting) -> list[str]:
    """The sessions that have jobs."""
    return [key.split(":")[2] for key in accepting.jobs]


def test_a_job_is_submitted_once_the_time_after_a_half_day_s_close_has_come(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    scheduler = start(catch_up_days=1)
    clock.now = BLACK_FRIDAY - timedelta(seconds=1)
    scheduler.run_due()
    assert days(accepting) == []  # Wednesday is more than a day ago, and Thursday a holiday

    clock.now = BLACK_FRIDAY
    scheduler.run_due()

    assert list(accepting.jobs) == ["schedule:us:2024-11-29:s3://prices/us.csv"]


@pytest.mark.parametrize(
    ("calendar", "first", "last", "wanted"),
    [
        ("XNYS", date(2024, 11, 25), date(2024, 12, 3), ["11-25", "11-26", "11-27", "11-29", "12-02", "12-03"]),
        ("XNYS", date(2024, 3, 7), date(2024, 3, 13), ["03-07", "03-08", "03-11", "03-12", "03-13"]),
        ("XLON", date(2024, 3, 27), date(2024, 4, 3), ["03-27", "03-28", "04-02", "04-03"]),
        ("XNYS", date(2024, 10, 31), date(2024, 11, 5), ["10-31", "11-01", "11-04", "11-05"]),
    ],
    ids=["Thanksgiving", "clocks forward in New York", "Easter and clocks in London", "clocks back in New York"],
)
def test_each_session_of_a_time_has_its_job_and_no_other_day_has_one(
    calendar: str, first: date, last: date, wanted: list[str],
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting,
) -> None:  # fmt: skip
    clock.now = datetime(first.year, first.month, first.day, 12, tzinfo=UTC)
    scheduler = start(Schedule(name="s", input="s3://prices/us.csv", calendar=calendar), catch_up_days=0.1)
    submitted_at = {}

    while clock.now.date() <= last:
        before = set(accepting.jobs)
        scheduler.run_due()
        submitted_at |= {key.split(":")[2]: clock.now for key in set(accepting.jobs) - before}
        clock.now += timedelta(minutes=10)

    assert [day[5:] for day in submitted_at] == wanted
    assert all(at.date().isoformat() == day for day, at in submitted_at.items())
    assert len(accepting.asked) == len(wanted)


def test_of_sessions_that_were_missed_the_latest_is_made_good_once(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    start().run_due()
    clock.pass_to(2024, 12, 5, 9)  # Monday, Tuesday and Wednesday went by; now it is Thursday morning

    for _ in range(3):
        scheduler = start()
        scheduler.run_due()
        scheduler.run_due()

    assert days(accepting) == ["2024-11-29", "2024-12-04"]
    assert len(accepting.asked) == 2


def test_a_session_that_is_too_long_ago_is_not_made_good(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    clock.now = BLACK_FRIDAY + timedelta(days=2, hours=12)

    start(catch_up_days=2).run_due()
    assert days(accepting) == []

    start(catch_up_days=2.6).run_due()
    assert days(accepting) == ["2024-11-29"]


def test_a_job_that_was_deleted_is_not_submitted_again(start: Callable[..., Scheduler], accepting: Accepting) -> None:
    start().run_due()
    accepting.jobs.clear()  # with a job goes its idempotency key

    start().run_due()

    assert len(accepting.asked) == 1


def test_a_process_that_dies_between_submission_and_note_makes_no_second_job(
    start: Callable[..., Scheduler], valkey: redis.Redis, accepting: Accepting
) -> None:
    class Dying(RedisNotes):
        def add(self, *_noted: object) -> None:
            raise SystemExit

    with pytest.raises(SystemExit):
        start(notes=Dying(valkey, prefix="nextday:")).run_due()
    assert start().run_due()

    assert len(accepting.jobs) == 1
    assert len(accepting.asked) == 2


def test_one_that_was_submitted_before_its_file_changed_counts_as_submitted(
    start: Callable[..., Scheduler], accepting: Accepting
) -> None:
    accepting.failing = {US.input: IdempotencyConflict(key="k", job_id="j")}

    assert start().run_due()
    assert start().run_due()

    assert len(accepting.asked) == 1


def test_two_processes_at_a_time_make_one_job_of_each_file(
    start: Callable[..., Scheduler], accepting: Accepting
) -> None:
    together = threading.Barrier(2)

    def files(uri: str) -> list[str]:
        together.wait(timeout=30)  # both have read that nothing is noted
        return [f"{uri}{number}.csv" for number in range(20)]

    threads = [threading.Thread(target=start(FOLDER, files=files).run_due) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(accepting.jobs) == 20


def test_what_fails_is_tried_again_later_and_later_and_the_rest_goes_on(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    bad, good = "s3://prices/us/a.csv", "s3://prices/us/b.csv"
    accepting.failing = {bad: TableError("line 3 has a cell too few")}
    scheduler = start(FOLDER, US, files=lambda uri: [bad, good] if uri.endswith("/") else [uri])

    tries = []
    for _ in range(3600):
        scheduler.run_due()
        tries.append(accepting.asked.count(bad))
        clock.now += timedelta(seconds=1)

    assert accepting.asked.count(good) == accepting.asked.count(US.input) == 1
    assert [tries.index(number) for number in range(1, tries[-1] + 1)] == [0, 30, 90, 210, 450, 930, 1830, 2730]

    accepting.failing = {}
    clock.now += timedelta(hours=1)
    assert scheduler.run_due()
    assert len(accepting.jobs) == 3


@pytest.mark.parametrize(
    "error", [QueueUnavailable(reason="away"), FileNotFoundError("no file"), ValueError("bad URI")]
)
def test_the_next_session_takes_the_place_of_one_that_could_not_be_submitted(
    error: Exception, start: Callable[..., Scheduler], clock: Clock, accepting: Accepting,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    accepting.failing = {US.input: error}
    scheduler = start()
    assert not scheduler.run_due()

    clock.pass_to(2024, 12, 2, 21, 30)
    accepting.failing = {}

    assert scheduler.run_due()
    assert days(accepting) == ["2024-12-02"]
    assert "session 2024-11-29 was not submitted whole; 2024-12-02 follows" in caplog.text


def test_a_new_session_does_not_wait_as_long_as_the_one_that_failed_before_it(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    accepting.failing = {US.input: QueueUnavailable(reason="away")}
    scheduler = start()
    for clock.now in (BLACK_FRIDAY, BLACK_FRIDAY + timedelta(minutes=1), datetime(2024, 12, 2, 21, 30, tzinfo=UTC)):
        scheduler.run_due()

    accepting.failing = {}
    clock.now += timedelta(seconds=30)

    assert scheduler.run_due()


def test_a_folder_without_a_file_is_looked_at_again(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    found: list[str] = []
    scheduler = start(FOLDER, files=lambda _: found)
    assert not scheduler.run_due()

    found.append("s3://prices/us/a.csv")
    clock.now += timedelta(minutes=1)

    assert scheduler.run_due()
    assert len(accepting.jobs) == 1


def test_a_file_that_comes_after_a_session_s_jobs_waits_for_the_next_session(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    found = ["s3://prices/us/a.csv"]
    start(FOLDER, files=lambda _: found).run_due()
    found.append("s3://prices/us/b.csv")

    start(FOLDER, files=lambda _: found).run_due()
    assert len(accepting.jobs) == 1

    clock.pass_to(2024, 12, 2, 21, 30)
    start(FOLDER, files=lambda _: found).run_due()
    assert len(accepting.jobs) == 3


def test_two_schedules_may_share_a_file(start: Callable[..., Scheduler], accepting: Accepting) -> None:
    rnn = Schedule(name="rnn", input=US.input, calendar="XNYS", model="rnn")

    start(US, rnn).run_due()

    assert len(accepting.jobs) == 2


def test_notes_are_kept_longer_than_any_session_may_be_made_good_and_not_for_ever(
    start: Callable[..., Scheduler], valkey: redis.Redis
) -> None:
    start().run_due()

    (key,) = valkey.keys("nextday:scheduled:*")
    assert timedelta(days=MOST_CATCH_UP_DAYS) < timedelta(seconds=valkey.ttl(key)) < timedelta(days=60)


def test_while_the_notes_are_away_nothing_is_submitted(
    start: Callable[..., Scheduler], clock: Clock, accepting: Accepting
) -> None:
    with redis.Redis.from_url("redis://127.0.0.1:9/0", decode_responses=True) as away:
        assert not start(notes=RedisNotes(away, prefix="nextday:")).run_due()

    assert accepting.asked == []


def test_an_exchange_whose_calendar_ends_is_told_of(
    start: Callable[..., Scheduler], clock: Clock, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = start(Schedule(name="cn", input="s3://prices/cn.csv", calendar="XSHG"))
    clock.pass_to(2099, 1, 5, 12)
    monkeypatch.setattr("worker.schedule.sessions", lambda *_: ())

    runner = threading.Thread(target=scheduler.run)
    runner.start()
    try:
        until(lambda: "no later session of XSHG is known" in caplog.text, "the end of the calendar is told")
    finally:
        scheduler.stop()
        runner.join()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a schedule's file and its inputs."""
    (tmp_path / "prices").mkdir()
    for name in ("a", "b"):
        (tmp_path / "prices" / f"{name}.ndjson").write_text(f'{{"id":"{name}","closes":[1,2,3]}}\n')
    (tmp_path / "plan.toml").write_text(
        f'[[schedule]]\nname = "all"\ninput = "{tmp_path.as_uri()}/prices/"\ncalendar = "24/7"\n'
        "levels = [0.05, 0.5, 0.95]\n"
    )
    return tmp_path


@pytest.fixture
def nextday(folder: Path, valkey_url: str, valkey: redis.Redis) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """The command, as a process."""
    env = {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(folder / "jobs"), "NEXTDAY_DEVICE": "cpu"}
    env |= {"NEXTDAY_INPUT_PREFIXES": f"{folder.as_uri()}/"}

    def nextday(*arguments: str, **changes: str) -> "subprocess.CompletedProcess[str]":
        command = [*NEXTDAY, "schedule", str(folder / "plan.toml"), *arguments]
        return subprocess.run(
            command, env={**os.environ, **env, **changes}, capture_output=True, text=True, timeout=120, check=False
        )

    return nextday


@pytest.mark.slow
def test_the_command_submits_what_is_due_once_however_often_it_is_called(
    nextday: Callable[..., "subprocess.CompletedProcess[str]"], folder: Path, valkey_url: str, models: Repository
) -> None:
    before, as_json = nextday("--dry-run"), nextday("--dry-run", "--json")
    first, second, after = nextday("--once"), nextday("--once"), nextday("--dry-run")

    assert before.returncode == first.returncode == second.returncode == after.returncode == 0, first.stderr
    assert f"{folder.as_uri()}/prices/a.ndjson" in before.stdout
    assert "UTC: 2 to submit" in before.stdout
    (told,) = json.loads(as_json.stdout)["schedules"]
    assert [Path(uri).name for uri in told["due"]["left"]] == ["a.ndjson", "b.ndjson"]
    assert f"session {told['next']['session']}, at {told['next']['at'][:10]}" in before.stdout
    assert "UTC: all is submitted" in after.stdout
    assert "  next  session " in after.stdout
    settings = WorkerSettings(redis_url=valkey_url, jobs_url=str(folder / "jobs"), device="cpu")
    with closing(Jobs.connect(settings, models)) as jobs:
        submitted = jobs.page(owner=None, limit=10, after=None).jobs
    assert [job.levels for job in submitted] == [[0.05, 0.5, 0.95]] * 2
    assert first.stderr.count("is job") == 2
    assert second.stderr == ""


@pytest.mark.slow
def test_commands_that_run_at_the_same_time_make_each_job_once(
    nextday: Callable[..., "subprocess.CompletedProcess[str]"], valkey: redis.Redis
) -> None:
    with ThreadPoolExecutor(3) as pool:
        done = list(pool.map(lambda _: nextday("--once"), range(3)))

    assert [each.returncode for each in done] == [0, 0, 0], done
    assert valkey.zcard("nextday:jobs") == 2


@pytest.mark.slow
def test_the_command_runs_until_it_is_told_to_stop(folder: Path, valkey_url: str, valkey: redis.Redis) -> None:
    env = {**os.environ} | {"NEXTDAY_REDIS_URL": valkey_url, "NEXTDAY_JOBS_URL": str(folder / "jobs")}
    env |= {"NEXTDAY_INPUT_PREFIXES": f"{folder.as_uri()}/"}
    command = [*NEXTDAY, "schedule", str(folder / "plan.toml")]

    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: valkey.scard("nextday:unfinished") == 2, "both jobs are there")
        process.terminate()
        said = process.communicate(timeout=30)[1]

    assert process.returncode == 0, said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (('"24/7"', '"XNYX"'), 2, "nextday: plan.toml, schedule 'all': calendar: there is no 'XNYX'"),
        (("0.05,", "0.07,"), 2, "nextday: plan.toml, schedule 'all': "),
        (("levels", "model = 'gru'\nlevels"), 2, "nextday: plan.toml, schedule 'all': there is no model"),
        (("levels", "webhook = 'https://example.com/'\nlevels"), 2, "this service sends none"),
        (("/prices/", "/none/"), 1, "schedule all: session "),
    ],
)
def test_what_is_wrong_is_said_in_a_line(
    change: tuple[str, str], code: int, said: str,
    nextday: Callable[..., "subprocess.CompletedProcess[str]"], folder: Path,
) -> None:  # fmt: skip
    plan = folder / "plan.toml"
    plan.write_text(plan.read_text().replace(*change))

    done = nextday("--once")

    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
