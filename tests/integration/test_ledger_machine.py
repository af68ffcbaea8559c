"""The ledger as a state machine, against a real Valkey: whatever happens in whatever order, it keeps its promises."""

import time
from dataclasses import dataclass, field

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from worker.ledger import ENDED, VERIFY, Claim, Done, Ledger, Limits

LONG_S, OVER_S = 60.0, 0.001
ROWS = 10
LIMITS = Limits(jobs=1000, owner_jobs=6, owner_bytes=10_000)
MODEL = {"model": "lstm", "version": 1, "levels": "[0.5]", "model_levels": "[0.5]"}
OWNERS, DIGESTS = ("", "a", "b"), ("sha256:0", "sha256:1")
FOLLOWS = {
    "queued": {"in_progress", "finalizing", "failed", "cancelling", "cancelled", "expired"},
    "in_progress": {"finalizing", "failed", "cancelling", "cancelled", "expired"},
    "finalizing": {"in_progress", "completed", "failed", "expired"},
    "cancelling": {"cancelled", "failed", "expired"},
    "completed": {"expired"},
    "failed": {"queued", "finalizing", "expired"},
    "cancelled": {"queued", "finalizing", "expired"},
    "expired": set(),
}
"""Which statuses may be seen after which; from failed and cancelled only a resume leads back."""


@dataclass
class Model:
    """What the test knows of a job."""

    chunks: int
    owner: str
    digest: str
    status: str = "queued"
    counted: dict[int, Done] = field(default_factory=dict)
    aside: set[int] = field(default_factory=set)


class LedgerMachine(RuleBasedStateMachine):
    """Everything that people, workers and their deaths do to jobs of several owners and two models."""

    valkey: redis.Redis
    jobs = Bundle("jobs")
    claims = Bundle("claims")

    @initialize()
    def start(self) -> None:
        self.valkey.flushdb()
        self.ledger = Ledger(self.valkey, prefix="test:", queue="chunks")
        self.known: dict[str, Model] = {}
        self.live: dict[tuple[str, int], str] = {}
        self.tokens = 0

    @rule(target=jobs, chunks=st.integers(1, 4), owner=st.sampled_from(OWNERS), digest=st.sampled_from(DIGESTS))
    def submit(self, chunks: int, owner: str, digest: str):
        job_id = f"job-{len(self.known)}"
        own = {"owner": owner, "chunks": chunks, "total": ROWS * chunks, "closes": 50 * chunks, "input_bytes": 7}
        outcome = self.ledger.submit(
            job_id, {**MODEL, "digest": digest, **own}, retention_s=3600, limits=LIMITS, window=8
        ).outcome
        unfinished = [job for job in self.known.values() if job.owner == owner and job.status not in ENDED]
        assert outcome == ("owner full" if len(unfinished) >= LIMITS.owner_jobs else "accepted")
        if outcome != "accepted":
            return multiple()
        self.known[job_id] = Model(chunks, owner, digest)
        return job_id

    @rule(target=claims, dies=st.booleans(), lacking=st.sets(st.sampled_from(DIGESTS)), most=st.sampled_from([1, 99]))
    def claim(self, dies: bool, lacking: set[str], most: int):
        self.tokens += 1
        token = str(self.tokens)
        claim = self.ledger.claim(token, lease_s=OVER_S if dies else LONG_S, max_attempts=most, lacking=lacking)
        if not claim.job_id:
            return multiple()
        job = self.known[claim.job_id]
        assert job.digest not in lacking or claim.kind == "verify"
        assert claim.chunk not in job.counted
        assert (claim.job_id, claim.chunk) not in self.live, "a chunk has at most one live lease"
        assert (claim.kind == "verify") == (len(job.counted) == job.chunks)
        if not dies:
            self.live[claim.job_id, claim.chunk] = token
        else:
            time.sleep(0.002)
        return claim

    @rule(held=claims, failed=st.integers(0, ROWS), cost=st.integers(0, 500))
    def finish(self, held: Claim, failed: int, cost: int) -> None:
        if held.kind == "verify":
            return
        job, result = self.known[held.job_id], Done(ROWS - failed, failed, f"{failed:064x}")

        answer = self.ledger.done(held, result, cost=cost)

        running = job.status in ("queued", "in_progress", "cancelling")
        expected = "gone" if job.status == "expired" else "double" if held.chunk in job.counted else "over"
        assert answer == ("counted" if running and held.chunk not in job.counted else expected)
        if answer == "counted":
            job.counted[held.chunk] = result
            if held.kind == "set aside":
                job.aside.add(held.chunk)
            self.live.pop((held.job_id, held.chunk), None)

    @rule(held=claims, damaged=st.sets(st.integers(0, 3)))
    def verify(self, held: Claim, damaged: set[int]) -> None:
        if held.kind != "verify":
            return
        job = self.known[held.job_id]
        status = self.ledger.verified(held, sorted(damaged & set(job.counted)))
        if status == "in_progress":
            for chunk in damaged:
                job.counted.pop(chunk, None)
                job.aside.discard(chunk)
        if status is not None:
            assert status == ("in_progress" if damaged & set(range(job.chunks)) else "completed")
            self.live.pop((held.job_id, VERIFY), None)

    @rule(held=consumes(claims), failed=st.booleans())
    def give_back(self, held: Claim, failed: bool) -> None:
        self.ledger.release(held, failed=failed)
        if self.live.get((held.job_id, held.chunk)) == held.token:
            del self.live[held.job_id, held.chunk]

    @rule(held=claims)
    def renew(self, held: Claim) -> None:
        renewed = self.ledger.renew(held, lease_s=LONG_S)
        mine = self.live.get((held.job_id, held.chunk)) == held.token
        if mine:
            job = self.known[held.job_id]
            assert renewed == (job.status == ("finalizing" if held.chunk == VERIFY else "in_progress"))
        elif renewed:  # it was as good as dead, and no sweep had noticed
            self.live[held.job_id, held.chunk] = held.token

    @rule()
    def sweep(self) -> None:
        for member in self.ledger.sweep(window=8).taken_back:
            job_id, _, chunk = member.rpartition(":")
            assert (job_id, int(chunk)) not in self.live
            assert int(chunk) not in self.known[job_id].counted

    @rule(job_id=jobs)
    def cancel(self, job_id: str) -> None:
        before = self.known[job_id].status
        status = self.ledger.cancel(job_id)
        assert status in ({"cancelling", "cancelled"} if before in ("queued", "in_progress") else {before})

    @rule(job_id=jobs)
    def resume(self, job_id: str) -> None:
        job = self.known[job_id]
        outcome, _ = self.ledger.resume(job_id, limits=LIMITS, window=8)
        assert outcome in ({"resumed", "owner full"} if job.status in ("failed", "cancelled") else {job.status})
        if outcome == "resumed":
            for chunk in job.aside:
                del job.counted[chunk]
            job.aside = set()

    @rule(job_id=jobs)
    def fail(self, job_id: str) -> None:
        self.ledger.fail(job_id, "why")

    @rule(job_id=jobs)
    def delete(self, job_id: str) -> None:
        before = self.known[job_id].status
        assert self.ledger.delete(job_id) == before
        if before in ENDED:
            self.ledger.bury(job_id, for_s=3600)
            self.known[job_id].counted = {}

    @invariant()
    def the_ledger_is_sound(self) -> None:
        self.states_go_forward_only()
        self.rows_are_counted_once()
        self.every_chunk_waits_or_is_leased_or_rests_or_is_done()
        self.whoever_has_work_has_a_turn_and_nobody_else()
        self.owners_sums_are_those_of_their_jobs()

    def states_go_forward_only(self) -> None:
        for job_id, job in self.known.items():
            status = self.ledger.record(job_id).status
            assert status == job.status or status in FOLLOWS[job.status], f"{job.status} became {status}"
            job.status = status
            if status in ENDED:
                self.live = {lease: token for lease, token in self.live.items() if lease[0] != job_id}

    def rows_are_counted_once(self) -> None:
        for job_id, job in self.known.items():
            record = self.ledger.record(job_id)
            assert self.ledger.results(job_id) == job.counted
            if job.status == "expired":
                continue
            assert record.completed == sum(result.completed for result in job.counted.values())
            assert record.failed == sum(result.failed for result in job.counted.values())
            assert record.status != "completed" or record.completed + record.failed == record.total

    def every_chunk_waits_or_is_leased_or_rests_or_is_done(self) -> None:
        for job_id, job in self.known.items():
            if job.status not in ("queued", "in_progress", "finalizing"):
                continue
            again = {int(chunk) for chunk in self.valkey.smembers(f"test:again:{job_id}")} - {VERIFY}
            new = set(range(int(self.valkey.hget(f"test:job:{job_id}", "next")), job.chunks))
            members = self.valkey.zrange("test:due", 0, -1)
            due = {int(member.rpartition(":")[2]) for member in members if member.startswith(f"{job_id}:")} - {VERIFY}
            leased = {int(chunk) for chunk in self.valkey.hkeys(f"test:leases:{job_id}")} - {VERIFY}
            parts = [again - set(job.counted), new - set(job.counted), due, set(job.counted)]
            assert set().union(*parts) == set(range(job.chunks))
            assert sum(map(len, parts)) == job.chunks, "in two places at once"
            assert leased <= due

    def whoever_has_work_has_a_turn_and_nobody_else(self) -> None:
        turns = {
            job_id
            for owner in self.valkey.zrange("test:owners", 0, -1)
            for job_id in self.valkey.zrange(f"test:turns:{owner}", 0, -1)
        }
        waiting = set()
        for job_id, job in self.known.items():
            if job.status in ("queued", "in_progress", "finalizing"):
                left = job.chunks - int(self.valkey.hget(f"test:job:{job_id}", "next"))
                if left + self.valkey.scard(f"test:again:{job_id}"):
                    waiting.add(job_id)
        assert turns == waiting

    def owners_sums_are_those_of_their_jobs(self) -> None:
        for owner in OWNERS:
            jobs = [job for job in self.known.values() if job.owner == owner]
            unfinished = len([job for job in jobs if job.status not in ENDED])
            stored = 7 * len([job for job in jobs if job.status != "expired"])
            sums = self.valkey.hmget(f"test:owner:{owner}", "jobs", "bytes")
            assert [int(each or 0) for each in sums] == [unfinished, stored]

    def teardown(self) -> None:
        """Whatever happened before, sweeping and working ends every job, and deleting them leaves nothing."""
        for member in self.valkey.zrange("test:due", 0, -1):
            self.valkey.zadd("test:due", {member: 1})
        self.ledger.sweep(window=8)
        while (claim := self.ledger.claim("last", lease_s=LONG_S, max_attempts=1000)).job_id:
            if claim.kind == "verify":
                self.ledger.verified(claim, [])
            else:
                self.ledger.done(claim, Done(ROWS, 0, "ab" * 32), cost=50)
        ends = dict.fromkeys(("queued", "in_progress", "finalizing"), "completed") | {"cancelling": "cancelled"}
        for job_id, job in self.known.items():
            assert self.ledger.record(job_id).status == ends.get(job.status, job.status)
            self.ledger.delete(job_id)
            self.ledger.forget(job_id)
        assert set(self.valkey.scan_iter(match="test:*")) <= {"test:clock", "test:totals"}


@pytest.mark.slow
def test_the_ledger_keeps_its_promises_in_any_order_of_events(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url, decode_responses=True) as LedgerMachine.valkey:
        try:
            case = LedgerMachine.TestCase
            case.settings = settings(
                max_examples=100, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
            )
            case("runTest").runTest()
        finally:
            del LedgerMachine.valkey
