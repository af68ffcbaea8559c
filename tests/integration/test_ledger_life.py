"""The ledger against a real Valkey: what comes before and after the work on a job, and what it may take."""

import time

import pytest
import redis

from tests.integration.ledger_steps import LIMITS, LONG_S, OVER_S, RECORD, claim, done, lapse, submit, work_off
from worker.ledger import VERIFY, Claim, Done, Ledger, Limits


@pytest.fixture
def ledger(valkey: redis.Redis) -> Ledger:
    """A ledger with nothing in it, and a queue that is a list."""
    return Ledger(valkey, prefix="test:", queue="chunks")


def test_a_cancelled_job_resumes_with_what_is_missing(ledger: Ledger) -> None:
    submit(ledger)
    done(ledger, claim(ledger))
    claim(ledger)
    ledger.cancel("job")
    ledger.cancel("job")
    assert ledger.record("job").status == "cancelling"
    assert ledger.resume("job", limits=LIMITS, window=64) == ("cancelling", 0)
    ledger.release(Claim("score", "job", 1, token="me"), failed=False)

    assert ledger.resume("job", limits=LIMITS, window=64) == ("resumed", 2)

    record = ledger.record("job")
    assert (record.status, record.finished_at, record.cancelling_at, record.completed) == ("queued", None, None, 10)
    assert sorted(what.chunk for what in work_off(ledger) if what.kind == "score") == [1, 2]
    record = ledger.record("job")
    assert (record.status, record.completed, record.rated_rows) == ("completed", 30, 10)


def test_a_failed_job_resumes_with_what_was_set_aside(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, chunks=2)
    claim(ledger, max_attempts=1)
    lapse(ledger, valkey)
    done(ledger, claim(ledger, max_attempts=1), Done(0, 10, "ab" * 32))
    ledger.fail("job", "why")

    assert ledger.resume("job", limits=LIMITS, window=64)[0] == "resumed"

    assert (ledger.record("job").reason, ledger.record("job").failed) == (None, 0)
    assert sorted(what.chunk for what in work_off(ledger)) == [VERIFY, 0, 1]
    assert (ledger.record("job").completed, ledger.record("job").failed) == (20, 0)


def test_a_job_that_was_cancelled_with_all_chunks_done_is_verified_when_it_resumes(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    what = claim(ledger)
    ledger.cancel("job")
    done(ledger, what)

    ledger.resume("job", limits=LIMITS, window=64)

    assert [what.kind for what in work_off(ledger)] == ["verify"]
    assert ledger.record("job").status == "completed"


def test_what_is_neither_failed_nor_cancelled_is_not_resumed(ledger: Ledger) -> None:
    submit(ledger, chunks=1)

    assert ledger.resume("job", limits=LIMITS, window=64) == ("queued", 0)
    work_off(ledger)
    assert ledger.resume("job", limits=LIMITS, window=64) == ("completed", 0)
    assert ledger.resume("none", limits=LIMITS, window=64) == ("", 0)


def test_the_same_key_gives_the_same_job_and_another_body_is_a_conflict(ledger: Ledger) -> None:
    first = submit(ledger, idempotency_key="key", fingerprint="body")

    again = submit(ledger, "other", idempotency_key="key", fingerprint="body")
    conflict = submit(ledger, "third", idempotency_key="key", fingerprint="another body")

    assert (first, again, conflict) == ("accepted", "known", "conflict")
    assert [job_id for (_, job_id), _ in ledger.page(owner=None)] == ["job"]


def test_the_keys_of_two_owners_have_nothing_to_do_with_each_other(ledger: Ledger) -> None:
    outcomes = [
        submit(ledger, f"{owner}-{key}", owner=owner, idempotency_key=key, fingerprint=owner)
        for owner, key in [("a", "key"), ("b", "key"), ("ak", "ey"), ("", "akey"), ("", "a:key"), ("a:", "key")]
    ]

    assert outcomes == ["accepted"] * 6


def test_a_key_is_free_again_once_its_job_has_expired(ledger: Ledger) -> None:
    submit(ledger, retention_s=0.0, idempotency_key="key")
    ledger.expired()

    assert submit(ledger, "other", idempotency_key="key") == "accepted"
    ledger.bury("job", for_s=0)
    ledger.forget("job")
    assert submit(ledger, "third", idempotency_key="key") == "known"


def test_no_more_unfinished_jobs_are_let_in_than_allowed(ledger: Ledger) -> None:
    limits = Limits(jobs=3, owner_jobs=2, owner_bytes=1000)

    outcomes = [submit(ledger, f"{n}", owner=owner, limits=limits) for n, owner in enumerate("aaabb")]

    assert outcomes == ["accepted", "accepted", "owner full", "accepted", "full"]
    ledger.cancel("0")
    assert submit(ledger, "more", owner="a", limits=limits) == "accepted"
    assert ledger.resume("0", limits=limits, window=64) == ("full", 0)
    assert ledger.resume("0", limits=Limits(9, 2, 0), window=64) == ("owner full", 0)


def test_no_more_bytes_are_stored_of_an_owner_than_allowed_until_files_are_gone(ledger: Ledger) -> None:
    assert submit(ledger, "a", input_bytes=600, chunks=1) == "accepted"
    assert submit(ledger, "b", input_bytes=600) == "owner bytes"
    assert submit(ledger, "c", input_bytes=600, owner="another") == "accepted"
    work_off(ledger)
    assert submit(ledger, "b", input_bytes=600) == "owner bytes"

    ledger.delete("a")
    ledger.forget("a")

    assert submit(ledger, "b", input_bytes=600) == "accepted"


def test_an_expired_job_is_told_of_for_a_while_and_then_leaves_no_key(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, retention_s=0.0, idempotency_key="key", webhook="https://example.com")
    what = claim(ledger)
    assert ledger.expired() == [("job", False)]
    assert ledger.expired() == [("job", False)]  # as long as nobody said that its files are gone
    assert ledger.record("job").status == "expired"
    assert claim(ledger).kind == "nothing"
    assert done(ledger, what) == "gone"
    assert not ledger.renew(what, lease_s=LONG_S)

    ledger.bury("job", for_s=0.0)
    assert ledger.record("job").status == "expired"
    assert ledger.expired() == [("job", True)]
    lapse(ledger, valkey)
    ledger.forget("job")

    assert set(valkey.scan_iter(match="test:*")) <= {"test:clock", "test:totals"}


def test_only_an_ended_job_is_deleted_and_another_worker_ends_what_was_begun(ledger: Ledger) -> None:
    submit(ledger, chunks=1)
    assert ledger.delete("job") == "queued"
    ledger.forget("job")
    assert ledger.record("job").status == "queued"
    work_off(ledger)

    assert ledger.delete("job") == "completed"

    assert ledger.expired() == [("job", False)]
    assert ledger.resume("job", limits=LIMITS, window=64) == ("expired", 0)
    ledger.forget("job")
    assert ledger.record("job") is None


def test_a_full_redis_refuses_a_new_job_and_still_counts_results(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, chunks=4, webhook="https://example.com")
    submit(ledger, "cancelled")
    ledger.cancel("cancelled")
    valkey.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            submit(ledger, "another")
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            ledger.resume("cancelled", limits=LIMITS, window=64)

        first, second = claim(ledger), claim(ledger)
        assert ledger.renew(first, lease_s=LONG_S)
        assert done(ledger, first) == "counted"
        ledger.release(second, failed=True)
        ledger.sweep(window=64)
        ledger.report_alive("worker", for_s=1, threads=1)
        assert ledger.cancel("job") == "cancelled"
        assert ledger.hooks_due(1) == [("job", 0)]
        ledger.hook_tried("job", delivered=True)
        ledger.delete("job")
        ledger.forget("job")
    finally:
        valkey.config_set("maxmemory", 0)
    assert ledger.record("another") is None


def test_who_wants_to_be_told_of_the_end_is_lent_once_and_comes_again(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, webhook="https://example.com", chunks=1)
    submit(ledger, "quiet", chunks=1)
    assert ledger.hooks_due(10) == []
    work_off(ledger)

    assert ledger.hooks_due(10) == [("job", 0)]
    assert ledger.hooks_due(10) == []  # lent
    ledger.hook_tried("job", delivered=False, status=503, again_s=0.0)
    assert ledger.hooks_due(10) == [("job", 1)]
    assert ledger.record("job").webhook_state == "pending"
    ledger.hook_tried("job", delivered=True, status=204)

    record = ledger.record("job")
    assert (record.webhook_state, record.webhook_attempts, record.webhook_status) == ("delivered", 2, 204)
    assert valkey.zcard("test:hooks") == 0


def test_a_hook_that_is_given_up_is_failed(ledger: Ledger) -> None:
    submit(ledger, webhook="https://example.com")
    ledger.cancel("job")

    ledger.hook_tried("job", delivered=False)

    assert (ledger.record("job").webhook_state, ledger.hooks_due(1)) == ("failed", [])


def test_pages_follow_each_other_newest_first_and_show_an_owner_no_others(ledger: Ledger) -> None:
    for number in range(250):
        submit(ledger, f"{number:03}", owner="ab"[number % 2], limits=Limits(999, 999, 9999))

    places = [place for place, _ in ledger.page(owner="a")]
    after = [place for place, _ in ledger.page(owner="a", after=places[99])]

    assert [job_id for _, job_id in places] == [f"{number:03}" for number in range(248, -1, -2)]
    assert after == places[100:]
    assert len(list(ledger.page(owner=None))) == 250


def test_signs_of_life_run_out_and_a_worker_that_ends_takes_its_own_back(ledger: Ledger) -> None:
    ledger.report_alive("dead", for_s=OVER_S, threads=1)
    ledger.report_alive("alive", for_s=LONG_S, threads=1, lacking=["sha256:00"])
    ledger.report_alive("ended", for_s=LONG_S, threads=1)
    time.sleep(0.01)

    ledger.report_gone("ended")

    assert ledger.workers() == {"alive": ["sha256:00"]}


def test_jobs_of_which_there_is_no_record_are_told_from_those_there_are(ledger: Ledger) -> None:
    submit(ledger)
    strangers = [f"{place:032x}" for place in range(250)]

    assert ledger.unknown([*strangers[:120], "job", *strangers[120:]]) == strangers
    assert ledger.unknown([]) == []


@pytest.mark.slow
def test_a_job_of_ten_million_rows_takes_less_than_100_kb_of_memory(ledger: Ledger, valkey: redis.Redis) -> None:
    chunks = 800  # 128 of 4,000 rows, each further one a 128th of all before it: ten million rows are 510
    submit(ledger, chunks=chunks, total=10_000_000, closes=600_000_000, webhook="https://example.com/" + "x" * 200)
    ledger.submit(
        "again",
        {**RECORD, "owner": "", "chunks": chunks, "total": 1, "closes": 1, "input_bytes": 1},
        retention_s=60, limits=LIMITS, window=64,
    )  # fmt: skip
    ledger.cancel("again")

    used = []
    for number in range(chunks):
        done(ledger, claim(ledger), Done(9_900, 100, f"{number:064x}"))
        if number % 50 == 0:
            used.append(memory_bytes(valkey, "job"))
    used.append(memory_bytes(valkey, "job"))
    print(f"at most {max(used)} bytes")

    assert max(used) < 100_000


def memory_bytes(valkey: redis.Redis, job_id: str) -> int:
    """What all keys of a job and those that all jobs share take."""
    keys = [key for key in valkey.scan_iter(match="test:*", count=1000) if not key.endswith(":again")]
    return sum(valkey.memory_usage(key, samples=0) for key in keys)
