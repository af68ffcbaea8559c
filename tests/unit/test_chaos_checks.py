"""The chaos judges rightly: each invariant that is broken in a history is named, and a history without is passed."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from models.repository import Repository
from tests.faults.chaos_history import Event, History, violations
from tests.faults.chaos_work import KINDS, POOL_ROWS, Pool, Work, draw

ACCEPTED = {"what": "accepted", "about": "key", "job": "a", "rows": 3, "bad": 1}
READ = {"what": "read", "about": "a", "wrong": ""}
ASKED = {"what": "cancel asked", "about": "a"}


def seen(status: str, completed: int = 0, failed: int = 0) -> Event:
    return {
        "what": "seen",
        "about": "a",
        "status": status,
        "completed": completed,
        "failed": failed,
        "reason": "it is so",
    }


DONE = seen("completed", 2, 1)


@pytest.mark.parametrize(
    "events",
    [
        [ACCEPTED, seen("queued"), seen("in_progress", 1), DONE, READ],
        [ACCEPTED, ACCEPTED, seen("in_progress"), seen("finalizing", 2, 1), DONE, READ],
        [ACCEPTED, ASKED, seen("cancelling"), seen("cancelled", 1)],
        [ACCEPTED, ASKED, seen("cancelling"), DONE, READ],
        [ACCEPTED, {"what": "refused", "about": "key", "status": 503}, DONE, READ],
    ],
)
def test_a_history_in_which_all_is_well_is_passed(events: list[Event]) -> None:
    assert violations(events) == []


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([ACCEPTED], "has not ended: nothing was seen"),
        ([ACCEPTED, seen("in_progress", 1)], "has not ended"),
        ([ACCEPTED, {"what": "gone", "about": "a"}], "is not there"),
        ([ACCEPTED, seen("failed"), READ], "it is failed: it is so"),
        ([ACCEPTED, seen("cancelled"), READ], "it is cancelled"),
        ([ACCEPTED, seen("completed", 3, 1), READ], "counted 3 + 1 rows, not 2 + 1"),
        ([ACCEPTED, DONE], "could not be read"),
        ([ACCEPTED, DONE, {**READ, "wrong": "a row is missing"}], "when read: a row is missing"),
        ([ACCEPTED, seen("in_progress"), seen("queued"), DONE, READ], "went back from in_progress to queued"),
        ([ACCEPTED, seen("in_progress", 2), seen("in_progress", 1), DONE, READ], "counts fell"),
        ([ACCEPTED, ASKED, seen("cancelled"), seen("cancelled", 1)], "had ended, and changed"),
        ([ACCEPTED, DONE, READ, {**ACCEPTED, "job": "b"}], "one key gave the jobs"),
        ([ACCEPTED, DONE, READ, {"what": "refused", "about": "key", "status": 500}], "answered 500"),
    ],
)
def test_what_is_broken_is_named(events: list[Event], told: str) -> None:
    assert any(told in broken.what for broken in violations(events))


def test_the_story_of_a_job_has_its_key_and_what_was_killed_meanwhile(tmp_path: Path) -> None:
    history = History(tmp_path / "history")
    history.note("kill", "before")
    history.note("no answer", "key")
    history.note("kill", "worker")
    history.note("accepted", "key", job="a")
    history.note("accepted", "other", job="b")
    history.note("seen", "a", status="queued")
    history.close()

    assert [event["about"] for event in history.story("a")] == ["key", "worker", "key", "a"]
    assert len((tmp_path / "history").read_text().splitlines()) == 6


@pytest.fixture(scope="module")
def pool(models: Repository) -> Pool:
    return Pool(models.get("lstm"), seed=0)


def results(work: Work, pool: Pool, rows: list[int]) -> bytes:
    quantiles = pool.quantiles[(work.first + np.array(rows)) % POOL_ROWS]
    lines = [
        {"id": work.ids[row], "quantiles": dict(zip(pool.levels, each.tolist(), strict=True))}
        for row, each in zip(rows, quantiles, strict=True)
    ]
    return b"\n".join(map(orjson.dumps, lines))


WORK = Work("w", "ndjson", POOL_ROWS - 2, 5, frozenset({1}))
ERRORS = b'{"row":1,"id":"w-1","error":"close 7 is -1.0"}\n'


def test_the_right_results_are_passed(pool: Pool) -> None:
    assert WORK.wrong(pool, results(WORK, pool, [0, 2, 3, 4]), "ndjson", ERRORS) == ""


@pytest.mark.parametrize(
    ("rows", "errors", "told"),
    [
        ([0, 2, 3], ERRORS, "not each of 4 once and in order"),
        ([0, 2, 3, 4, 4], ERRORS, "not each of 4 once and in order"),
        ([0, 3, 2, 4], ERRORS, "not each of 4 once and in order"),
        ([0, 2, 3, 4], b"", "errors are told for the rows [], not [1]"),
    ],
)
def test_rows_that_are_missing_doubled_or_moved_are_named(
    pool: Pool, rows: list[int], errors: bytes, told: str
) -> None:
    assert told in WORK.wrong(pool, results(WORK, pool, rows), "ndjson", errors)


def test_a_bit_that_differs_is_named(pool: Pool) -> None:
    right = results(WORK, pool, [0, 2, 3, 4])
    number = repr(float(pool.quantiles[POOL_ROWS - 2, 0])).encode()
    assert number in right

    changed = repr(float(np.nextafter(pool.quantiles[POOL_ROWS - 2, 0], np.float32(np.inf)))).encode()

    assert "1 rows have other quantiles" in WORK.wrong(pool, right.replace(number, changed, 1), "ndjson", ERRORS)


def test_jobs_of_all_sizes_are_drawn_the_same_for_a_seed() -> None:
    drawn = [[draw(np.random.default_rng([seed, each]), "w", list(KINDS)) for each in range(200)] for seed in (1, 1)]

    assert drawn[0] == drawn[1]
    assert min(each.rows for each in drawn[0]) < 5
    assert max(each.rows for each in drawn[0]) > 10_000
    assert {each.kind for each in drawn[0]} == set(KINDS)
