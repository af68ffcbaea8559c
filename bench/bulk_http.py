"""A caller of `/v1/jobs` that costs little: files are sent and received in large pieces, and every phase is timed."""

import http.client
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.client import FIRST_LOOK_S, look_again_s

PIECE_BYTES = 1024 * 1024
PATIENCE_S = 900.0
ENDED = ("completed", "failed", "cancelled", "expired")
MEDIA_TYPES = {
    "parquet": "application/vnd.apache.parquet",
    "arrow": "application/vnd.apache.arrow.file",
    "arrows": "application/vnd.apache.arrow.stream",
    "csv": "text/csv",
    "long.csv": "text/csv",
    "ndjson": "application/x-ndjson",
}
NOT_OFFERED = (400, 406, 415, 422)


class NotOffered(Exception):
    """The service does not take this upload, or does not give results so; the message is its own."""


class JobFailed(Exception):
    """A job that was not answered, or did not complete."""


@dataclass(frozen=True)
class Timed:
    """
    What a job took, in seconds.

    Attributes:
        job: As it ended.
        intake_s: From the first byte sent to the answer 202.
        scoring_s: From there until it was seen to have completed.
        download_s: From there to the last byte of its results.
        bytes: Of the results.
    """

    job: dict[str, Any]
    intake_s: float
    scoring_s: float
    download_s: float
    bytes: int

    @property
    def seconds(self) -> float:
        """From the first byte sent to the last byte received."""
        return self.intake_s + self.scoring_s + self.download_s


class Caller:
    """One connection to a service, used by one thread."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S, blocksize=PIECE_BYTES)

    def submit(self, body: Path | bytes, media_type: str) -> dict[str, Any]:
        """
        Send a job; as it was accepted.

        Raises:
            NotOffered: The service does not take it.
            JobFailed: It answered anything else than 202.
        """
        if isinstance(body, bytes):
            return self._post(body, len(body), media_type)
        with body.open("rb") as file:
            return self._post(file, body.stat().st_size, media_type)

    def refer(self, file: Path) -> dict[str, Any]:
        """Send a job by the place of its input; as `submit` otherwise."""
        return self.submit(json.dumps({"input": {"uri": file.resolve().as_uri()}}).encode(), "application/json")

    def get(self, path: str) -> dict[str, Any]:
        """A document."""
        self._connection.request("GET", path)
        return self._document(200)

    def ended(self, job_id: str) -> dict[str, Any]:
        """A job, once it has ended; looked at as `nextday score` does."""
        deadline, look_s = time.monotonic() + PATIENCE_S, FIRST_LOOK_S
        while time.monotonic() < deadline:
            if (job := self.get(f"/v1/jobs/{job_id}"))["status"] in ENDED:
                return job
            look_s = look_again_s(job, look_s)
            time.sleep(look_s)
        raise JobFailed(f"job {job_id} has not ended within {PATIENCE_S:.0f} s")

    def fetch(self, job_id: str, kind: str, into: Path) -> int:
        """Write a job's results into a file; how many bytes they are. Raises as `submit` does."""
        self._connection.request("GET", f"/v1/jobs/{job_id}/results?format={kind}")
        answer = self._connection.getresponse()
        if answer.status != 200:
            self._refuse(answer.status, answer.read())
        wanted, got, piece = int(answer.headers["Content-Length"]), 0, memoryview(bytearray(PIECE_BYTES))
        with into.open("wb", buffering=0) as file:
            while size := answer.readinto(piece):
                file.write(piece[:size])
                got += size
        if got != wanted:
            raise JobFailed(f"job {job_id}: {got} of {wanted} bytes of its results came")
        return got

    def _post(self, body: Any, size_bytes: int, media_type: str) -> dict[str, Any]:
        headers = {"Content-Type": media_type, "Content-Length": str(size_bytes)}
        self._connection.request("POST", "/v1/jobs", body, headers)
        return self._document(202)

    def _document(self, wanted: int) -> dict[str, Any]:
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != wanted:
            self._refuse(answer.status, content)
        return json.loads(content)

    def _refuse(self, status: int, content: bytes) -> None:
        said = f"{status} {content[:300].decode(errors='replace')}"
        self._connection.close()  # what was sent may not have been read
        raise NotOffered(said) if status in NOT_OFFERED else JobFailed(said)


def whole_job(caller: Caller, file: Path, *, given: str, taken: str, by_reference: bool, into: Path) -> Timed:
    """
    A job from the first byte that is sent to the last that is received.

    Args:
        caller: Who asks.
        file: The series.
        given: Their format, of `MEDIA_TYPES`.
        taken: The results' format, as `?format=` names it.
        by_reference: Whether the service reads the file itself.
        into: Where the results go.

    Raises:
        NotOffered: The service does not take, or give, this.
        JobFailed: It did not complete.
    """
    began = time.monotonic()
    job = caller.refer(file) if by_reference else caller.submit(file, MEDIA_TYPES[given])
    accepted = time.monotonic()
    job = caller.ended(job["id"])
    ended = time.monotonic()
    if job["status"] != "completed":
        raise JobFailed(f"job {job['id']} is {job['status']}: {job.get('reason')}")
    size_bytes = caller.fetch(job["id"], taken, into)
    return Timed(job, accepted - began, ended - accepted, time.monotonic() - ended, size_bytes)
