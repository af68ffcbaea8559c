"""Single steps of a ledger, with what does not matter to a test filled in."""

import redis

from worker.ledger import Claim, Done, Ledger, Limits

LONG_S, OVER_S = 60.0, 0.001
RESULT = Done(completed=10, failed=0, sha256="ab" * 32)
RECORD = {"model": "lstm", "version": 1, "digest": "sha256:00", "levels": "[0.5]", "model_levels": "[0.5]"}
LIMITS = Limits(jobs=100, owner_jobs=100, owner_bytes=1000)


def submit(ledger: Ledger, job_id: str = "job", chunks: int = 3, limits: Limits = LIMITS, **given) -> str:
    options = {name: given.pop(name) for name in ("idempotency_key", "fingerprint") if name in given}
    terms = {"retention_s": given.pop("retention_s", 3600.0), "window": given.pop("window", 64)}
    own = {"owner": "", "chunks": chunks, "total": 10 * chunks, "closes": 100 * chunks, "input_bytes": 10, **given}
    return ledger.submit(job_id, {**RECORD, **own}, limits=limits, **terms, **options).outcome


def claim(ledger: Ledger, token: str = "me", lease_s: float = LONG_S, max_attempts: int = 5, lacking=()) -> Claim:
    return ledger.claim(token, lease_s=lease_s, max_attempts=max_attempts, lacking=lacking)


def done(ledger: Ledger, what: Claim, result: Done = RESULT, cost: int = 100) -> str:
    return ledger.done(what, result, cost=cost)


def work_off(ledger: Ledger, limit: int = 1000) -> list[Claim]:
    """Do all there is to do; what that was."""
    did = []
    while len(did) < limit and (what := claim(ledger)).job_id:
        did.append(what)
        if what.kind == "verify":
            ledger.verified(what, [])
        else:
            done(ledger, what)
    return did


def lapse(ledger: Ledger, valkey: redis.Redis) -> list[str]:
    """Let all leases run out and all waits be over, and sweep."""
    for member in valkey.zrange("test:due", 0, -1):
        valkey.zadd("test:due", {member: 1})
    return ledger.sweep(window=64).taken_back


def work_off_chunks(ledger: Ledger) -> list[Claim]:
    did = [claim(ledger) for _ in range(3)]
    for what in did:
        done(ledger, what)
    return did
