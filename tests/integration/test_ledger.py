"""The ledger against a real Valkey: single steps, then as a state machine that any order of events may drive."""

import time
from collections.abc import Iterator

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from worker.ledger import Done, Ledger

LONG_S, OVER_S = 60.0, 0.001
RESULT = Done(completed=10, failed=0, sha256="ab" * 32)
RECORD = {"model": "lstm", "version": 1, "digest": "sha256:00", "levels": "[0.5]", "model_levels": "[0.5]"}
SWEEP = {"queue_key": "test:chunks", "again_s": 0.0, "longest_wait_s": 600.0}


@pytest.fixture
def ledger(valkey: redis.Redis) -> Ledger:
    return Ledger(valkey, prefix="test:")


def submit(ledger: Ledger, job_id: str = "job", chunks: int = 3, **options) -> str:
    defaults = {"first_due_s": LONG_S, "retention_s": 3600.0, "max_jobs": 100}
    submission = ledger.submit(job_id, {**RECORD, "total": 10 * chunks}, chunks=chunks, **{**defaults, **options})
    return submission.outcome


def claim(ledger: Ledger, chunk: int, token: str = "me", lease_s: float = LONG_S, max_attempts: int = 5) -> str:
    return ledger.claim("job", chunk, token, lease_s=lease_s, max_attempts=max_attempts)


def test_a_job_ends_with_its_last_chunk_and_its_counts_add_up(ledger: Ledger) -> None:
    submit(ledger)
    for chunk in range(3):
        assert claim(ledger, chunk) == "score"

        assert ledger.done("job", chunk, RESULT) == "counted"

    record = ledger.record("job")
    assert (record.status, record.completed, record.failed) == ("completed", 30, 0)
    assert record.created_at <= record.started_at <= record.finished_at
    assert list(ledger.results("job")) == [0, 1, 2]
    assert ledger.unfinished() == 0


def test_the_first_result_of_a_chunk_counts_and_no_other(ledger: Ledger) -> None:
    submit(ledger)
    claim(ledger, 0)
    ledger.done("job", 0, RESULT)

    assert ledger.done("job", 0, Done(9, 1, "cd" * 32)) == "double"

    assert ledger.record("job").completed == 10
    assert ledger.results("job") == {0: RESULT}


def test_a_call_that_comes_again_after_its_answer_was_lost_changes_nothing(ledger: Ledger) -> None:
    submit(ledger, chunks=1)

    assert [claim(ledger, 0), claim(ledger, 0)] == ["score", "score"]
    assert [ledger.done("job", 0, RESULT), ledger.done("job", 0, RESULT)] == ["counted", "double"]
    assert ledger.record("job").completed == 10


def test_what_time_may_cure_is_no_attempt(ledger: Ledger) -> None:
    submit(ledger)

    for failures in range(1, 8):
        assert claim(ledger, 0, max_attempts=2) == "score"
        assert ledger.release("job", 0, "me", failed=True) == failures


def test_a_chunk_under_a_live_lease_is_handed_to_nobody_else(ledger: Ledger) -> None:
    submit(ledger)

    assert [claim(ledger, 0, "first"), claim(ledger, 0, "second")] == ["score", "taken"]


def test_a_chunk_whose_lease_ran_out_is_swept_and_handed_over(ledger: Ledger) -> None:
    submit(ledger)
    claim(ledger, 1, "dead", lease_s=OVER_S)
    time.sleep(0.01)

    assert ledger.sweep(**SWEEP) == [("job", 1)]
    assert claim(ledger, 1, "alive") == "score"
    assert not ledger.renew("job", 1, "dead", lease_s=LONG_S)
    assert ledger.renew("job", 1, "alive", lease_s=LONG_S)


def test_a_chunk_that_waits_in_the_queue_is_not_sent_again(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, first_due_s=0.0)
    valkey.lpush("test:chunks", "a message")

    assert ledger.sweep(**SWEEP) == []
    assert len(ledger.sweep(**{**SWEEP, "longest_wait_s": -1.0})) == 3


def test_a_message_that_was_lost_is_sent_again_once_the_queue_is_empty(ledger: Ledger) -> None:
    submit(ledger, first_due_s=0.0)

    assert sorted(ledger.sweep(**SWEEP)) == [("job", 0), ("job", 1), ("job", 2)]


def test_a_chunk_that_kills_its_workers_is_set_aside(ledger: Ledger) -> None:
    submit(ledger)
    for _ in range(2):
        assert claim(ledger, 0, lease_s=OVER_S, max_attempts=2) == "score"
        time.sleep(0.01)

    assert claim(ledger, 0, max_attempts=2) == "set aside"


def test_a_released_chunk_comes_back_after_its_wait(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger)
    valkey.lpush("test:chunks", "a busy queue")
    claim(ledger, 0)

    ledger.release("job", 0, "me", failed=False)

    assert ledger.sweep(**SWEEP) == [("job", 0)]
    assert claim(ledger, 0) == "score"


def test_a_cancelled_job_hands_out_nothing_and_keeps_what_is_done(ledger: Ledger) -> None:
    submit(ledger)
    claim(ledger, 0)
    ledger.done("job", 0, RESULT)

    assert ledger.cancel("job") == "cancelled"

    assert claim(ledger, 1) == "over"
    assert ledger.sweep(**SWEEP) == []
    assert ledger.results("job") == {0: RESULT}


def test_a_cancel_waits_for_the_chunk_that_runs(ledger: Ledger) -> None:
    submit(ledger)
    claim(ledger, 0)

    assert ledger.cancel("job") == "cancelling"
    assert not ledger.renew("job", 0, "me", lease_s=LONG_S)
    ledger.release("job", 0, "me", failed=False)

    assert ledger.record("job").status == "cancelled"


def test_a_cancel_ends_though_the_worker_died(ledger: Ledger) -> None:
    submit(ledger)
    claim(ledger, 0, lease_s=OVER_S)
    ledger.cancel("job")
    time.sleep(0.01)

    assert ledger.sweep(**SWEEP) == []
    assert ledger.record("job").status == "cancelled"


def test_the_same_key_gives_the_same_job_and_another_body_is_a_conflict(ledger: Ledger) -> None:
    first = submit(ledger, idempotency_key="key", fingerprint="body")

    again = submit(ledger, "other", idempotency_key="key", fingerprint="body")
    conflict = submit(ledger, "third", idempotency_key="key", fingerprint="another body")

    assert (first, again, conflict) == ("accepted", "known", "conflict")
    assert [record.id for record in ledger.records(limit=10)] == ["job"]


def test_a_key_is_free_again_once_its_job_has_expired(ledger: Ledger) -> None:
    submit(ledger, retention_s=0.0, idempotency_key="key")
    ledger.expired()

    assert submit(ledger, "other", idempotency_key="key") == "accepted"
    ledger.forget("job")
    assert submit(ledger, "third", idempotency_key="key") == "known"


def test_no_more_unfinished_jobs_are_let_in_than_allowed(ledger: Ledger) -> None:
    assert [submit(ledger, f"job-{number}", max_jobs=2) for number in range(3)] == ["accepted", "accepted", "full"]


def test_a_job_past_its_time_expires_and_leaves_no_key(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger, retention_s=0.0, idempotency_key="key")
    claim(ledger, 0)
    assert ledger.expired() == ["job"]
    assert ledger.record("job").status == "expired"
    assert claim(ledger, 1) == "over"

    ledger.forget("job")

    assert list(valkey.scan_iter(match="test:*")) == []


def test_a_full_redis_refuses_a_new_job_and_still_counts_results(ledger: Ledger, valkey: redis.Redis) -> None:
    submit(ledger)
    claim(ledger, 0)
    valkey.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            submit(ledger, "another")

        assert ledger.done("job", 0, RESULT) == "counted"
        assert ledger.cancel("job") == "cancelled"
    finally:
        valkey.config_set("maxmemory", 0)
    assert ledger.record("another") is None


class LedgerMachine(RuleBasedStateMachine):
    """Claims, results, releases, dead workers, sweeps and cancels in any order; the ledger must keep its promises."""

    valkey: redis.Redis
    chunks = 4
    claims = Bundle("claims")

    @initialize()
    def start(self) -> None:
        self.valkey.flushdb()
        self.ledger = Ledger(self.valkey, prefix="test:")
        submit(self.ledger, chunks=self.chunks, first_due_s=0.0)
        self.counted: dict[int, Done] = {}
        self.live: dict[int, str] = {}
        self.cancelled = False
        self.tokens = 0

    @rule(target=claims, chunk=st.integers(0, chunks - 1), dies=st.booleans())
    def take(self, chunk: int, dies: bool):
        self.tokens += 1
        token = str(self.tokens)
        answer = claim(self.ledger, chunk, token, lease_s=OVER_S if dies else LONG_S, max_attempts=1000)
        if dies:
            time.sleep(0.002)
        if self.cancelled or len(self.counted) == self.chunks:
            assert answer == "over"
        elif chunk in self.counted:
            assert answer == "done"
        elif chunk in self.live:
            assert answer == "taken"
        elif not dies:
            self.live[chunk] = token
        return (chunk, token) if answer == "score" else multiple()

    @rule(held=claims, failed=st.integers(0, 10))
    def finish(self, held: tuple[int, str], failed: int) -> None:
        chunk, _ = held
        over = self.ledger.record("job").status in ("completed", "cancelled")
        result = Done(10 - failed, failed, f"{failed:064x}")

        answer = self.ledger.done("job", chunk, result)

        assert answer == ("double" if chunk in self.counted else "over" if over else "counted")
        if answer == "counted":
            self.counted[chunk] = result
            self.live.pop(chunk, None)

    @rule(held=consumes(claims))
    def give_back(self, held: tuple[int, str]) -> None:
        chunk, token = held
        self.ledger.release("job", chunk, token, failed=False)
        if self.live.get(chunk) == token:
            del self.live[chunk]

    @rule()
    def sweep(self) -> None:
        again = {chunk for _, chunk in self.ledger.sweep(**SWEEP)}
        assert not again & (set(self.counted) | set(self.live))
        assert not (again and self.cancelled)

    @rule()
    def cancel(self) -> None:
        status = self.ledger.cancel("job")
        self.cancelled = self.cancelled or status in ("cancelling", "cancelled")

    @invariant()
    def rows_are_counted_once(self) -> None:
        record = self.ledger.record("job")
        assert self.ledger.results("job") == self.counted
        assert record.completed == sum(result.completed for result in self.counted.values())
        assert record.failed == sum(result.failed for result in self.counted.values())
        whole = len(self.counted) == self.chunks
        assert (record.status == "completed") == (whole and record.status != "cancelled")

    def teardown(self) -> None:
        """Whatever happened before, sweeping and working ends the job."""
        for chunk in range(self.chunks):
            self.valkey.zadd("test:due", {f"job:{chunk}": 1}, xx=True)
        for _, chunk in self.ledger.sweep(**SWEEP):
            assert claim(self.ledger, chunk, "last", max_attempts=1000) == "score"
            self.ledger.done("job", chunk, RESULT)
        assert self.ledger.record("job").status in ({"cancelled", "completed"} if self.cancelled else {"completed"})


def test_the_ledger_keeps_its_promises_in_any_order_of_events(valkey: redis.Redis) -> None:
    LedgerMachine.valkey = valkey
    try:
        case = LedgerMachine.TestCase
        case.settings = settings(
            max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
        )
        case("runTest").runTest()
    finally:
        del LedgerMachine.valkey


@pytest.fixture
def valkey(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as connection:
        connection.flushdb()
        yield connection
