"""The ledger against a real Valkey, step by step: chunks, their leases and results, and who is next."""

import time

import pytest
import redis

from tests.integration.ledger_steps import (
    LIMITS,
    LONG_S,
    OVER_S,
    RECORD,
    RESULT,
    claim,
    done,
    lapse,
    submit,
    work_off,
    work_off_chunks,
)
from worker.ledger import VERIFY, Claim, Done, Ledger


@pytest.fixture
def ledger(valkey: redis.Redis) -> Ledger:
    """A ledger with nothing in it, and a queue that is a list."""
    return Ledger(valkey, prefix="test:", queue="chunks")


def test_a_job_ends_once_its_results_are_verified_and_its_counts_add_up(ledger: Ledger) -> None:
    submit(ledger)
    for chunk in range(3):
        what = claim(ledger)
        assert (what.kind, what.job_id, what.chunk) == ("score", "job", chunk)
        assert (what.model, what.version, what.digest) == ("lstm", 1, "sha256:00")

        assert done(ledger, what) == "counted"

    assert ledger.record("job").status == "finalizing"
    what = claim(ledger)
    assert (what.kind, what.chunk) == ("verify", VERIFY)
    assert ledger.verified(what, []) == "completed"
    record = ledger.record("job")
    assert (record.status, record.completed, record.failed) == ("completed", 30, 0)
    assert record.created_at <= record.started_at <= record.finalizing_at <= record.finished_at <= record.now
    assert list(ledger.results("job")) == [0, 1, 2]
    assert ledger.unfinished() == 0
    assert claim(ledger).kind == "nothing"


def test_rows_that_were_done_are_counted_for_ever_whatever_becomes_of_their_jobs(ledger: Ledger) -> None:
    submit(ledger)
    whats = [claim(ledger) for _ in range(3)]
    done(ledger, whats[0], Done(7, 3, "ab" * 32))
    done(ledger, whats[0])  # a double
    done(ledger, whats[1])
    done(ledger, whats[2])
    verify = claim(ledger)
    ledger.verified(verify, [0])
    work_off(ledger)  # what was done once more counts once more
    ledger.delete("job")
    ledger.forget("job")

    assert ledger.backlog().rows == {"completed": 37, "failed": 3}


def test_the_oldest_wait_is_that_for_a_first_chunk(ledger: Ledger, valkey: redis.Redis) -> None:
    for job_id in ("begun", "waits", "resumed"):
        submit(ledger, job_id)
    made_at = ledger.record("waits").created_at

    def let_seconds_pass(job_id: str, field: str, seconds: int) -> None:
        valkey.hset(f"test:job:{job_id}", field, made_at - 1000 * seconds)

    let_seconds_pass("begun", "created_at", 300)
    assert claim(ledger).job_id == "begun"
    let_seconds_pass("waits", "created_at", 200)
    let_seconds_pass("resumed", "created_at", 400)
    ledger.cancel("resumed")
    ledger.resume("resumed", limits=LIMITS, window=1)

    assert 200 <= ledger.backlog().oldest_s < 260
    work_off(ledger)
    assert ledger.backlog().oldest_s == 0


def test_a_job_whose_counts_do_not_add_up_fails(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    done(ledger, claim(ledger), Done(9, 0, "ab" * 32))

    assert ledger.verified(claim(ledger), []) == "failed"

    assert "add up" in ledger.record("job").reason


def test_the_first_result_of_a_chunk_counts_and_no_other(ledger: Ledger) -> None:
    submit(ledger)
    what = claim(ledger)
    done(ledger, what)

    assert done(ledger, what, Done(9, 1, "cd" * 32)) == "double"

    assert ledger.record("job").completed == 10
    assert ledger.results("job") == {0: RESULT}


def test_a_result_that_comes_again_after_the_job_has_ended_changes_nothing(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    first, *_ = work_off(ledger)

    assert done(ledger, first) == "double"

    assert ledger.record("job").completed == 10


def test_a_result_whose_claim_was_lost_in_a_failover_counts_and_its_chunk_is_not_done_again(ledger: Ledger) -> None:
    submit(ledger)
    lost = Claim("score", "job", 1, "lstm", 1, "sha256:00", "of another time")

    assert done(ledger, lost) == "counted"

    assert [(what.kind, what.chunk) for what in work_off(ledger)] == [("score", 0), ("score", 2), ("verify", VERIFY)]


def test_what_time_may_cure_is_no_attempt(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, chunks=1)

    for failures in range(1, 8):
        what = claim(ledger, max_attempts=2)
        assert what.kind == "score"
        assert ledger.release(what, failed=True) == failures
        assert claim(ledger).kind == "nothing"
        lapse(ledger, valkey)


def test_a_chunk_under_a_live_lease_is_handed_to_nobody_else(ledger: Ledger) -> None:
    submit(ledger, chunks=2)

    assert [claim(ledger, "first").chunk, claim(ledger, "second").chunk] == [0, 1]
    assert claim(ledger, "third").kind == "nothing"


def test_a_chunk_whose_lease_ran_out_is_swept_and_handed_over(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    dead = claim(ledger, "dead", lease_s=OVER_S)
    time.sleep(0.01)

    assert ledger.sweep(window=64).taken_back == ["job:0"]
    alive = claim(ledger, "alive")
    assert alive.chunk == 0
    assert not ledger.renew(dead, lease_s=LONG_S)
    assert ledger.renew(alive, lease_s=LONG_S)


def test_a_result_that_comes_after_its_lease_ran_out_counts_and_is_not_asked_for_again(
    ledger: Ledger, valkey: redis.Redis
) -> None:
    submit(ledger, chunks=1)
    late = claim(ledger)
    lapse(ledger, valkey)

    assert done(ledger, late) == "counted"

    assert [what.kind for what in work_off(ledger)] == ["verify"]


@pytest.mark.parametrize(
    ("chunks", "queued", "window", "sent"), [(3, 0, 64, 3), (3, 2, 64, 1), (100, 0, 8, 8), (100, 8, 8, 0)]
)
def test_as_many_messages_wait_as_there_are_chunks_within_a_window(
    ledger: Ledger, valkey: redis.Redis, chunks: int, queued: int, window: int, sent: int
) -> None:
    submit(ledger, chunks=chunks)
    valkey.lpush("test:chunks", *range(queued)) if queued else None

    swept = ledger.sweep(window=window)

    assert (swept.hints, swept.claimable >= min(chunks, window), swept.queued) == (sent, True, queued)


@pytest.mark.parametrize(
    ("threads", "queued", "sent"), [([2], 0, 4), ([2, 1], 0, 6), ([2], 3, 1), ([2], 5, 0), ([50], 0, 64)]
)
def test_no_more_messages_wait_than_two_for_each_thread_of_the_workers_that_are_alive(
    ledger: Ledger, valkey: redis.Redis, threads: list[int], queued: int, sent: int
) -> None:
    submit(ledger, chunks=100)
    ledger.report_alive("gone", for_s=LONG_S, threads=30)
    ledger.report_gone("gone")
    for number, each in enumerate(threads):
        ledger.report_alive(f"worker-{number}", for_s=LONG_S, threads=each, lacking=["sha256:11", "sha256:12"])
    valkey.lpush("test:chunks", *range(queued)) if queued else None

    assert ledger.sweep(window=64).hints == sent


@pytest.mark.parametrize(("queued", "hints"), [(0, 3), (5, 1), (64, 0)])
def test_a_submission_says_how_many_messages_to_send(
    ledger: Ledger, valkey: redis.Redis, queued: int, hints: int
) -> None:
    valkey.lpush("test:chunks", *range(queued)) if queued else None
    record = {**RECORD, "owner": "", "chunks": 3, "total": 3, "closes": 3, "input_bytes": 1}

    assert ledger.submit("job", record, retention_s=60, limits=LIMITS, window=64).hints == hints


def test_a_chunk_that_kills_its_workers_is_set_aside(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, chunks=1)
    for _ in range(2):
        assert claim(ledger, max_attempts=2).kind == "score"
        lapse(ledger, valkey)

    what = claim(ledger, max_attempts=2)

    assert what.kind == "set aside"
    assert done(ledger, what, Done(0, 10, "ab" * 32)) == "counted"


def test_a_released_chunk_can_be_claimed_at_once(ledger: Ledger) -> None:
    submit(ledger, chunks=1)

    ledger.release(claim(ledger), failed=False)

    assert claim(ledger, max_attempts=1).kind == "score"


def test_a_cancelled_job_hands_out_nothing_and_keeps_what_is_done(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger)
    done(ledger, claim(ledger))

    assert ledger.cancel("job") == "cancelled"

    assert claim(ledger).kind == "nothing"
    assert lapse(ledger, valkey) == []
    assert ledger.results("job") == {0: RESULT}


def test_a_cancel_waits_for_the_chunk_that_runs(ledger: Ledger) -> None:
    submit(ledger)
    what = claim(ledger)

    assert ledger.cancel("job") == "cancelling"
    assert not ledger.renew(what, lease_s=LONG_S)
    ledger.release(what, failed=False)

    record = ledger.record("job")
    assert record.status == "cancelled"
    assert record.cancelling_at <= record.finished_at


def test_a_cancel_ends_with_the_result_of_the_chunk_that_ran(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    what = claim(ledger)
    ledger.cancel("job")

    assert done(ledger, what) == "counted"

    assert ledger.record("job").status == "cancelled"


def test_a_cancel_ends_though_the_worker_died(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger)
    claim(ledger)
    ledger.cancel("job")

    assert lapse(ledger, valkey) == []
    assert ledger.record("job").status == "cancelled"


def test_a_cancel_of_a_job_whose_chunks_are_all_done_comes_too_late(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    done(ledger, claim(ledger))

    assert ledger.cancel("job") == "finalizing"

    work_off(ledger)
    assert ledger.record("job").status == "completed"


def test_a_result_that_is_missing_is_made_again_and_counted_once(ledger: Ledger) -> None:
    submit(ledger)
    *_, verify = (claim(ledger) if what is None else what for what in [*work_off_chunks(ledger), None])

    assert ledger.verified(verify, [1]) == "in_progress"

    record = ledger.record("job")
    assert (record.completed, list(ledger.results("job"))) == (20, [0, 2])
    assert [(what.kind, what.chunk) for what in work_off(ledger)] == [("score", 1), ("verify", VERIFY)]
    assert (ledger.record("job").status, ledger.record("job").completed) == ("completed", 30)


def test_results_that_are_missing_again_and_again_fail_the_job(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    for _ in range(2):
        done(ledger, claim(ledger))
        assert ledger.verified(claim(ledger, max_attempts=2), [0]) == "in_progress"
    done(ledger, claim(ledger))

    assert claim(ledger, max_attempts=2).kind == "nothing"

    assert ledger.record("job").status == "failed"
    assert "damaged" in ledger.record("job").reason


def test_a_verifier_that_lost_its_lease_has_no_say(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, chunks=1)
    done(ledger, claim(ledger))
    late = claim(ledger, "late")
    assert lapse(ledger, valkey) == ["job:-1"]
    now = claim(ledger, "now")

    assert ledger.verified(late, [0]) is None
    assert not ledger.renew(late, lease_s=LONG_S)
    assert ledger.verified(now, []) == "completed"


def test_a_small_job_is_next_however_much_a_large_one_has_left(ledger: Ledger) -> None:
    submit(ledger, "large", chunks=100)
    work_off(ledger, limit=20)
    submit(ledger, "small", chunks=2, closes=2)

    claims = [claim(ledger, str(number)) for number in range(4)]

    assert [what.job_id for what in claims].count("small") == 2
    assert "small" in [what.job_id for what in claims[:2]]


def test_a_stream_of_small_jobs_does_not_keep_their_owner_s_large_one_from_going_on(ledger: Ledger) -> None:
    submit(ledger, "large", chunks=100)
    work_off(ledger, limit=3)

    did = []
    for number in range(30):
        submit(ledger, f"small-{number}", chunks=1)
        while (what := claim(ledger)).kind == "verify":
            ledger.verified(what, [])
        did.append(what.job_id)
        done(ledger, what)

    assert did.count("large") >= 3  # each small job is as good as the large one, and ever more of them wait


def test_owners_share_alike_whatever_the_number_of_their_jobs(ledger: Ledger) -> None:
    for number in range(10):
        submit(ledger, f"many-{number}", chunks=10, owner="many")
    submit(ledger, "one", chunks=50, owner="one")

    did = [what.job_id for what in work_off(ledger, limit=40)]

    assert 19 <= did.count("one") <= 21
    assert {did.count(f"many-{number}") for number in range(10)} == {2}


def test_what_a_chunk_cost_counts_and_not_how_many_there_are(ledger: Ledger) -> None:
    submit(ledger, "costly", chunks=20, closes=20)
    submit(ledger, "cheap", chunks=20, closes=20)

    did = []
    for _ in range(16):
        what = claim(ledger)
        did.append(what.job_id)
        done(ledger, what, cost=300 if what.job_id == "costly" else 100)

    assert 3 <= did.count("costly") <= 5


def test_an_owner_who_comes_back_has_no_credit_and_no_debt(ledger: Ledger) -> None:
    submit(ledger, "first", chunks=20, owner="a")
    submit(ledger, "other", chunks=100, owner="b")
    work_off(ledger, limit=20)
    ledger.cancel("first")
    work_off(ledger, limit=40)
    submit(ledger, "again", chunks=20, owner="a")

    did = [what.job_id for what in work_off(ledger, limit=20)]

    assert 9 <= did.count("again") <= 11


def test_what_a_worker_lacks_is_left_to_others_and_gathers_no_credit(ledger: Ledger) -> None:
    submit(ledger, "elsewhere", chunks=50, digest="sha256:elsewhere", owner="a")
    submit(ledger, "here", chunks=50, owner="b")
    for _ in range(20):
        what = claim(ledger, lacking=["sha256:elsewhere"])
        assert what.job_id == "here"
        done(ledger, what)

    did = [what.job_id for what in work_off(ledger, limit=10)]

    assert did.count("elsewhere") in (5, 6)
    assert claim(ledger, lacking=["sha256:elsewhere", "sha256:00"]).kind == "lacking"
    assert ledger.sweep(window=64, lacking=["sha256:elsewhere", "sha256:00"]).claimable == 0


def test_a_job_without_its_model_can_still_be_verified_by_any_worker(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    done(ledger, claim(ledger))

    assert claim(ledger, lacking=["sha256:00"]).kind == "verify"
