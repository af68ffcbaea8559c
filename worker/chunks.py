"""A worker's side of the ledger: take the fairest chunk, score it, store the result, count it. Knows no Celery."""

import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from io import BytesIO

import pyarrow as pa

from models.errors import ModelError
from models.repository import Repository
from worker.blobs import Blobs, sha256
from worker.company import Company
from worker.ledger import Claim, Done, Ledger
from worker.pins import Pins
from worker.scoring import Unwanted, count_failed, score, set_aside
from worker.settings import WorkerSettings

PAUSE_S = 1.0
"""Seconds that a thread keeps a message of which it cannot make use before it hands it on."""

log = logging.getLogger(__name__)


def input_name(job_id: str) -> str:
    """Where a job's series are."""
    return f"{job_id}/input.arrow"


def result_name(job_id: str, chunk: int, digest: str) -> str:
    """Where a chunk's results are; two attempts that differ have two names, and the ledger says which one counts."""
    return f"{job_id}/result-{chunk:06d}-{digest[:16]}.arrow"


def read_result(blobs: Blobs, job_id: str, chunk: int, digest: str) -> bytes | None:
    """
    A chunk's results as they were counted; None where the file has changed since.

    Raises:
        FileNotFoundError: It is missing.
    """
    content = blobs.read(result_name(job_id, chunk, digest))
    return content if sha256(content) == digest else None


class Storing:
    """
    One result on its way to disk while the next chunk is scored: the wait for the disk costs no processor.

    Belongs to one thread.
    """

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._under_way: Future[None] | None = None

    def put(self, store: Callable[[], None]) -> None:
        """Store once the one before is stored; raises what that one did."""
        self.settle()
        self._under_way = self._pool.submit(store)

    def settle(self) -> bool:
        """Wait until all is stored, and raise what that did; whether there was anything."""
        under_way, self._under_way = self._under_way, None
        if under_way is not None:
            under_way.result()
        return under_way is not None


class Chunks:
    """
    Works on chunks. Thread-safe, as its parts are.

    Attributes:
        pins: The models that chunks are scored with.
        moved_at: When a message or a chunk last moved on here, by `time.monotonic`.
    """

    def __init__(self, settings: WorkerSettings, ledger: Ledger, blobs: Blobs, models: Repository) -> None:
        self._settings = settings
        self._ledger = ledger
        self._blobs = blobs
        self._stopping = threading.Event()
        self._company = Company()
        self._pool = ThreadPoolExecutor(settings.worker_threads, thread_name_prefix="storing")
        self.pins = Pins(models)
        self.moved_at = time.monotonic()

    def stop(self) -> None:
        """Let what runs be given back between two slices, and take nothing more."""
        self._stopping.set()

    def turn(self, seconds: float) -> bool:
        """
        Work on the fairest chunks, one after the other, for about some seconds.

        Only Redis's own errors come out; the sweeper makes good what they interrupt.

        Returns:
            Whether another message is wanted in place of the one that led here.
        """
        ends_at = time.monotonic() + seconds
        with self._storing() as storing:
            while not self._stopping.is_set():
                claim = self._claim()
                if claim.kind == "nothing":
                    if storing.settle():  # the last result of a job makes work: it is verified
                        continue
                    return False
                if claim.kind == "lacking":
                    self._stopping.wait(PAUSE_S)
                    return True
                self._work_on(claim, storing)
                if time.monotonic() > ends_at:
                    break
        return True

    def work_once(self) -> str:
        """Do what is next, to its end; what it was, as in `Claim`."""
        with self._storing() as storing:
            claim = self._claim()
            if claim.job_id:
                self._work_on(claim, storing)
        return claim.kind

    @contextmanager
    def _storing(self) -> Iterator[Storing]:
        storing = Storing(self._pool)
        try:
            yield storing
        finally:
            storing.settle()

    def _claim(self) -> Claim:
        self.moved_at = time.monotonic()
        settings = self._settings
        return self._ledger.claim(
            secrets.token_hex(8),
            lease_s=settings.lease_s,
            max_attempts=settings.max_attempts,
            lacking=self.pins.lacking(),
        )

    def _work_on(self, claim: Claim, storing: Storing) -> None:
        """
        Do what was claimed.

        A chunk that fails is given back, to be claimed again after a while; one whose workers died too often has its
        rows become errors. One over which a worker died is scored while nothing else is, or waits to be stored.
        """
        suspect = claim.attempts > 1
        if suspect:
            storing.settle()
        try:
            with self._company.among(alone=suspect):
                if claim.kind == "verify":
                    self._verify(claim)
                elif (scored := self._results(claim)) is not None:
                    storing.put(lambda: self._store(claim, *scored))
                if suspect:
                    storing.settle()
        except Unwanted:
            self._ledger.release(claim, failed=False)
            log.info("job %s chunk %d: stopped", claim.job_id, claim.chunk)
        except (OSError, ModelError, pa.ArrowException) as error:
            self._give_back(claim, error)

    def _results(self, claim: Claim) -> tuple[pa.Table, int] | None:
        """A chunk's results and how many closes it has; None where it is left to others, who have its model."""
        forecaster = None
        if claim.kind == "score":
            forecaster = self.pins.forecaster(claim.model, claim.version, claim.digest)
            if forecaster is None:
                self._ledger.release(claim, failed=False)
                return None
        series = self._blobs.open_arrow(input_name(claim.job_id)).get_batch(claim.chunk)
        closes = len(series["closes"].values)
        if forecaster is None:
            attempts = self._settings.max_attempts
            return set_aside(series, f"this series' chunk could not be scored in {attempts} attempts"), closes
        return score(forecaster, series, still_wanted=self._renewal(claim)), closes

    def _store(self, claim: Claim, results: pa.Table, closes: int) -> None:
        """Write results, then count them."""
        content = _arrow_file(results)
        digest = sha256(content)
        name = result_name(claim.job_id, claim.chunk, digest)
        try:
            with self._blobs.create(name) as file:
                file.write(content)
        except OSError as error:
            self._give_back(claim, error)
            return
        failed = count_failed(results)
        outcome = self._ledger.done(claim, Done(len(results) - failed, failed, digest), cost=closes)
        self.moved_at = time.monotonic()
        if outcome == "gone":  # and its folder with it, but for what was just written
            self._blobs.delete_file(name)
        log.info("job %s chunk %d: %s", claim.job_id, claim.chunk, outcome)

    def _verify(self, claim: Claim) -> None:
        """Look at every result file of a job whose chunks are all done; then it ends, or some are made again."""
        still_wanted = self._renewal(claim)
        damaged = []
        for chunk, result in self._ledger.results(claim.job_id).items():
            if not still_wanted():
                raise Unwanted
            if why := self._damage(claim.job_id, chunk, result):
                log.warning("job %s chunk %d is scored again: its result %s", claim.job_id, chunk, why)
                damaged.append(chunk)
        log.info("job %s: %s", claim.job_id, self._ledger.verified(claim, damaged))

    def _damage(self, job_id: str, chunk: int, result: Done) -> str | None:
        """What is wrong with a result file; None where it is the one that was counted."""
        try:
            content = read_result(self._blobs, job_id, chunk, result.sha256)
        except FileNotFoundError:
            return "is missing"
        if content is None:
            return "has changed on disk"
        stored = pa.ipc.open_file(content)
        rows = sum(stored.get_batch(place).num_rows for place in range(stored.num_record_batches))
        return None if rows == result.completed + result.failed else f"has {rows} rows"

    def _give_back(self, claim: Claim, error: Exception) -> None:
        failures = self._ledger.release(claim, failed=True)
        log.warning("job %s chunk %d failed %d times so far: %s", claim.job_id, claim.chunk, failures, error)
        # A full disk passes; an input that is gone or damaged stays so.
        hopeless = claim.kind == "set aside" or failures >= self._settings.max_attempts
        if hopeless and isinstance(error, (FileNotFoundError, pa.ArrowInvalid)):
            self._ledger.fail(claim.job_id, "its input is missing or damaged on disk")

    def _renewal(self, claim: Claim) -> Callable[[], bool]:
        """Asks the ledger whether what was claimed is still wanted, at most ten times a lease."""
        lease_s = self._settings.lease_s
        asked_at = time.monotonic()

        def still_wanted() -> bool:
            nonlocal asked_at
            now = self.moved_at = time.monotonic()
            if self._stopping.is_set():
                return False
            if now - asked_at < lease_s / 10:
                return True
            asked_at = now
            return self._ledger.renew(claim, lease_s=lease_s)

        return still_wanted


def _arrow_file(table: pa.Table) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
