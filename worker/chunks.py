"""A worker's side of the ledger: take a chunk, score it, store the result, count it. Knows no Celery."""

import logging
import secrets
import time
from collections.abc import Callable
from io import BytesIO

import pyarrow as pa

from models.errors import ModelError, UnknownModel
from models.forecaster import Forecaster
from models.repository import Repository
from worker.blobs import Blobs, sha256
from worker.ledger import Done, Ledger, Record
from worker.scoring import Unwanted, count_failed, score, set_aside
from worker.settings import WorkerSettings

log = logging.getLogger(__name__)


def input_name(job_id: str) -> str:
    """Where a job's series are."""
    return f"{job_id}/input.arrow"


def result_name(job_id: str, chunk: int, digest: str) -> str:
    """Where a chunk's results are; two attempts that differ have two names, and the ledger says which one counts."""
    return f"{job_id}/result-{chunk:06d}-{digest[:16]}.arrow"


class Chunks:
    """Works on chunks, one call a chunk. Thread-safe, as its parts are."""

    def __init__(self, settings: WorkerSettings, ledger: Ledger, blobs: Blobs, models: Repository) -> None:
        self._settings = settings
        self._ledger = ledger
        self._blobs = blobs
        self._models = models

    def work_on(self, job_id: str, chunk: int) -> str:
        """
        Score a chunk, if the ledger hands it over.

        A chunk that fails is given back, to be sent again after a while; one whose workers died too often has its rows
        become errors. Only Redis's own errors come out; the sweeper makes good what they interrupt.

        Returns:
            What became of it, for the log.
        """
        settings, token = self._settings, secrets.token_hex(8)
        claim = self._ledger.claim(job_id, chunk, token, lease_s=settings.lease_s, max_attempts=settings.max_attempts)
        if claim not in ("score", "set aside"):
            return claim
        try:
            return self._store(job_id, chunk, self._results(job_id, chunk, token, set_it_aside=claim == "set aside"))
        except Unwanted:
            self._ledger.release(job_id, chunk, token, failed=False)
            return "stopped"
        except (OSError, ModelError, UnknownModel, pa.ArrowException) as error:
            failures = self._ledger.release(job_id, chunk, token, failed=True)
            log.warning("job %s chunk %d failed %d times so far: %s", job_id, chunk, failures, error)
            # A full disk or a model that is not here yet passes; an input that is gone or damaged stays so.
            hopeless = claim == "set aside" or failures >= settings.max_attempts
            if hopeless and isinstance(error, (FileNotFoundError, pa.ArrowInvalid)):
                self._ledger.fail(job_id, "its input is missing or damaged on disk")
            return "failed"

    def _results(self, job_id: str, chunk: int, token: str, *, set_it_aside: bool) -> pa.Table:
        series = self._blobs.open_arrow(input_name(job_id)).get_batch(chunk)
        if set_it_aside:
            attempts = self._settings.max_attempts
            return set_aside(series, f"this series' chunk could not be scored in {attempts} attempts")
        record = self._ledger.record(job_id)
        if record is None:
            raise Unwanted
        return score(self._pinned(record), series, still_wanted=self._renewal(job_id, chunk, token))

    def _pinned(self, record: Record) -> Forecaster:
        """The very model that the job was accepted for, whatever the newest is now."""
        forecaster = self._models.get(record.model, record.version)
        if forecaster.card.digest != record.digest:
            raise UnknownModel(
                name=f"{record.model} {record.digest}", version=record.version, known=[forecaster.card.digest]
            )
        return forecaster

    def _renewal(self, job_id: str, chunk: int, token: str) -> Callable[[], bool]:
        """Asks the ledger whether the chunk is still wanted, at most ten times a lease."""
        lease_s = self._settings.lease_s
        asked_at = time.monotonic()

        def still_wanted() -> bool:
            nonlocal asked_at
            if time.monotonic() - asked_at < lease_s / 10:
                return True
            asked_at = time.monotonic()
            return self._ledger.renew(job_id, chunk, token, lease_s=lease_s)

        return still_wanted

    def _store(self, job_id: str, chunk: int, results: pa.Table) -> str:
        content = _arrow_file(results)
        digest = sha256(content)
        name = result_name(job_id, chunk, digest)
        with self._blobs.create(name) as file:
            file.write(content)
        failed = count_failed(results)
        outcome = self._ledger.done(job_id, chunk, Done(len(results) - failed, failed, digest))
        if outcome == "over":
            self._blobs.delete_file(name)
        return outcome


def _arrow_file(table: pa.Table) -> bytes:
    sink = BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()
