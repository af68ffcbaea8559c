"""The service seen from outside: submit a job, look at it, cancel it, download it."""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from typing import Any, BinaryIO, NoReturn, Self
from urllib.parse import quote, urlsplit

import httpx

from models.errors import InputError, NextdayError

ANSWER_S = 15.0
"""Seconds that the service may take for a small answer."""
ACCEPT_S = 900.0
"""Seconds that it may take between two signs of life while it takes a job in; it reads the whole upload first."""
PATIENCE_S = 60.0
"""Seconds that a service that is away, or has no room, may take to come back before we give up."""
FIRST_LOOK_S, LONGEST_LOOK_S = 0.02, 1.0
"""Least and most seconds between two looks at a job."""
UPLOAD_BYTES = 256 * 1024
_LOCKED = (401, 403)
_RETRIED = (429, 503)

Document = dict[str, Any]


class ServiceAway(NextdayError):
    """Nothing answers at the URL, or not in time."""

    exit_code = 1

    def __init__(self, *, url: str, reason: str) -> None:
        super().__init__(
            f"no service answers at {url} ({reason}); start one with `make up` or `nextday up`, or name another with "
            "--url"
        )


class ServiceFailed(NextdayError):
    """The service answered, and could not do it."""

    exit_code = 1


class Refused(InputError):
    """The service says that the request is wrong; `kind` is the problem's type, as in ``idempotency-conflict``."""

    def __init__(self, *, kind: str, detail: str) -> None:
        self.kind = kind
        super().__init__(detail)


class Partial:
    """A download as far as it has come, which may go on after it broke off."""

    def __init__(self, sink: BinaryIO) -> None:
        """Into a file, from its beginning."""
        self._sink = sink
        self._etag = ""
        self._whole_bytes: int | None = None
        self._begin_anew()

    def headers(self) -> dict[str, str]:
        """What asks for the rest; of another file than the one that began, for the whole."""
        rest = {"Range": f"bytes={self._got_bytes}-", "If-Range": self._etag}
        return {"Accept-Encoding": "identity"} | (rest if self._got_bytes and self._etag else {})

    def begin(self, answer: httpx.Response) -> None:
        """Take an answer's head: whether it goes on, or has the whole."""
        self._etag = answer.headers.get("ETag", "")
        goes_on = answer.headers.get("Content-Range", "").startswith(f"bytes {self._got_bytes}-")
        if answer.status_code != httpx.codes.PARTIAL_CONTENT or not goes_on:
            self._begin_anew()
        rest = answer.headers.get("Content-Length", "")
        self._whole_bytes = self._got_bytes + int(rest) if rest.isdecimal() else None

    @property
    def progress(self) -> tuple[int, int | None]:
        """How many bytes are here, and how many the whole has, where that is known."""
        return self._got_bytes, self._whole_bytes

    def write(self, content: bytes) -> None:
        """Take some bytes."""
        self._sink.write(content)
        self._sha256.update(content)
        self._got_bytes += len(content)

    def check(self) -> None:
        """
        Hold the whole against the digest that its ETag is.

        Raises:
            ServiceFailed: It is another.
        """
        digest = self._etag.strip('"')
        if len(digest) == self._sha256.digest_size * 2 and digest != self._sha256.hexdigest():
            raise ServiceFailed(
                "the download was damaged on its way: its sha256 is not what the service says; try again"
            )

    def _begin_anew(self) -> None:
        self._sink.seek(0)
        self._sink.truncate()
        self._got_bytes, self._sha256 = 0, hashlib.sha256()


class Client:
    """A service at a URL. Closes its connections when its `with` ends."""

    def __init__(
        self, url: str, *, api_key: str | None = None, on_wait: Callable[[str], None] = lambda _why: None
    ) -> None:
        """
        Connect to nothing yet.

        Args:
            url: As in ``http://127.0.0.1:8000``.
            api_key: What each request is sent with.
            on_wait: Told why, whenever the service is waited for.

        Raises:
            Refused: It is no URL, or the key cannot be one.
        """
        self.url = url.rstrip("/")
        self._on_wait = on_wait
        # A proxy that the environment names is for other machines.
        here = _host(url) in ("127.0.0.1", "localhost", "::1")
        headers = _authorization(api_key)
        self._http = httpx.Client(base_url=self.url, timeout=ANSWER_S, trust_env=not here, headers=headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()

    def readiness(self) -> Document:
        """What ``/readyz`` says, ready or not; errors as for `job`, but at once."""
        try:
            document: Document = self._http.get("/readyz").json()
        except (httpx.HTTPError, ValueError) as error:
            raise self._away(error) from error
        if "ready" not in document:  # a problem, or something else that answers here
            raise ServiceAway(url=self.url, reason=f"GET /readyz says {str(document)[:200]}")
        return document

    def check_access(self) -> None:
        """
        Ask for something small first: the answer to an upload that is refused may be lost while it is still sent.

        Raises:
            Refused: The service wants another API key; whatever else may be wrong, the upload is told.
        """
        try:
            answer = self._http.get("/v1/jobs", params={"limit": 1})
        except httpx.HTTPError:
            return
        if answer.status_code in _LOCKED:
            _give_up(answer)

    def submit(
        self,
        open_body: Callable[[], BinaryIO],
        *,
        size_bytes: int,
        media_type: str,
        encoding: str = "",
        options: Mapping[str, str],
        key: str,
        on_sending: Callable[[int], None] = lambda _bytes: None,
    ) -> Document:
        """
        Submit a job; where the answer is lost, again with the same key, which makes no second one.

        Args:
            open_body: Opens the upload, once an attempt.
            size_bytes: Its length.
            media_type: Its Content-Type.
            encoding: Its Content-Encoding, empty for none.
            options: The query: model, version, levels, join, webhook.
            key: The Idempotency-Key.
            on_sending: Told how much of it has gone out once the part has that goes next.

        Returns:
            The job.

        Raises:
            Refused: The upload or an option is wrong.
            ServiceAway: Nothing answers.
            ServiceFailed: The service could not take it in.
        """
        headers = {"Content-Type": media_type, "Content-Length": str(size_bytes), "Idempotency-Key": key}
        headers |= {"Content-Encoding": encoding} if encoding else {}

        def attempt() -> httpx.Response:
            with open_body() as body:
                parts = _reported(body, on_sending)
                timeout = httpx.Timeout(ANSWER_S, read=ACCEPT_S, write=ACCEPT_S)
                return self._http.post("/v1/jobs", content=parts, params=options, headers=headers, timeout=timeout)

        job: Document = self._patiently(attempt).json()
        return job

    def job(self, job_id: str) -> Document:
        """
        A job as it stands.

        Raises:
            Refused: There is none of that id.
            ServiceAway: Nothing answers.
            ServiceFailed: The service could not tell.
        """
        job: Document = self._patiently(lambda: self._http.get(f"/v1/jobs/{job_id}")).json()
        return job

    def cancel(self, job_id: str) -> Document:
        """Let no further chunk of a job start; errors as for `job`."""
        job: Document = self._patiently(lambda: self._http.post(f"/v1/jobs/{job_id}/cancel")).json()
        return job

    def serve(self, name: str, version: int | None) -> Document:
        """
        Let a version of a model serve in all processes of the service, or with None its newest one again.

        Returns:
            Which one serves now, and how many processes follow.

        Raises:
            Refused: There is no such version, or it must not serve; what served before goes on.
            ServiceAway: Nothing answers.
            ServiceFailed: The service could not do it.
        """
        path = f"/v1/models/{quote(name, safe='')}/serving"
        serving: Document = self._patiently(lambda: self._http.put(path, json={"version": version})).json()
        return serving

    def download(
        self,
        job_id: str,
        part: str,
        suffix: str,
        sink: BinaryIO,
        on_bytes: Callable[[int, int | None], None] = lambda _got, _of: None,
    ) -> None:
        """
        Write a job's ``results`` or ``errors`` to a file; errors as for `job`.

        A download that breaks off goes on where it did, and what has come is held against its digest.

        Args:
            job_id: A job that has ended.
            part: ``results`` or ``errors``.
            suffix: One of `service.downloads.FORMATS`.
            sink: Holds nothing else, and can seek.
            on_bytes: Told how many bytes have come, and of how many, where the service says so.
        """
        partial = Partial(sink)
        path = f"/v1/jobs/{job_id}/{part}"

        def attempt() -> httpx.Response:
            # The service writes the whole file before it sends the first byte.
            timeout = httpx.Timeout(ANSWER_S, read=ACCEPT_S)
            asked = self._http.build_request(
                "GET", path, params={"format": suffix}, headers=partial.headers(), timeout=timeout
            )
            with closing(self._http.send(asked, stream=True)) as answer:
                if not answer.is_success:
                    answer.read()
                    return answer
                partial.begin(answer)
                for content in answer.iter_raw():
                    partial.write(content)
                    on_bytes(*partial.progress)
                return answer

        self._patiently(attempt)
        partial.check()

    def _patiently(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        """The answer to a request that may be repeated; waits out what time can cure."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = attempt()
            except httpx.ConnectError as error:
                raise self._away(error) from error
            except httpx.HTTPError as error:
                if time.monotonic() > deadline:
                    raise self._away(error) from error
                self._wait(f"the connection broke off ({error or type(error).__name__})", 1.0)
                continue
            if answer.is_success:
                return answer
            if answer.status_code not in _RETRIED or time.monotonic() > deadline:
                _give_up(answer)
            self._wait(_problem(answer).get("detail", "the service has no room"), _retry_after_s(answer))

    def _wait(self, why: str, seconds: float) -> None:
        self._on_wait(f"{why}; trying again in {seconds:g} s")
        time.sleep(seconds)

    def _away(self, error: Exception) -> ServiceAway:
        return ServiceAway(url=self.url, reason=str(error) or type(error).__name__)


def _host(url: str) -> str:
    """
    The host in a URL.

    Raises:
        Refused: It is no URL of a service.
    """
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and parts.port != 0:
            return parts.hostname
    except ValueError:  # a port that is no number, a bracket too few
        pass
    raise Refused(kind="url", detail=f"{url!r} is no URL like http://127.0.0.1:8000")


def _authorization(api_key: str | None) -> dict[str, str]:
    """
    The header that a key is sent in.

    Raises:
        Refused: It cannot be one; it is not repeated.
    """
    if api_key is None or not (key := api_key.strip()):
        return {}
    if not (key.isascii() and key.isprintable() and " " not in key):
        raise Refused(kind="api-key", detail="NEXTDAY_API_KEY is no API key: a key has letters, digits, `_` and `-`")
    return {"Authorization": f"Bearer {key}"}


def _reported(body: BinaryIO, on_sending: Callable[[int], None]) -> Iterator[bytes]:
    sent = 0
    while part := body.read(UPLOAD_BYTES):
        sent += len(part)
        on_sending(sent)
        yield part


def look_again_s(job: Document, last_s: float) -> float:
    """
    Seconds until a job is worth another look: a quarter of those that it says are left.

    So its end is seen soon, and those who work on it are asked little meanwhile. Where it cannot say, the wait is half
    as long again as the last one.

    >>> look_again_s({"seconds_left": 2.0}, 0.02), look_again_s({"seconds_left": None}, 0.02)
    (0.5, 0.03)
    """
    left_s = job["seconds_left"]
    return min(max(FIRST_LOOK_S, 1.5 * last_s if left_s is None else left_s / 4), LONGEST_LOOK_S)


def _retry_after_s(answer: httpx.Response) -> float:
    """Seconds to wait, as the answer says; a date or nonsense counts as five."""
    given = answer.headers.get("Retry-After", "")
    return min(float(given), PATIENCE_S) if given.isdecimal() else 5.0


def _give_up(answer: httpx.Response) -> NoReturn:
    problem = _problem(answer)
    detail = problem.get("detail") or f"the service answered {answer.status_code} {answer.reason_phrase}"
    if answer.status_code in _LOCKED:
        detail += " (nextday sends the API key in NEXTDAY_API_KEY)"
    if answer.is_client_error and answer.status_code not in _RETRIED:
        raise Refused(kind=problem.get("type", "").rpartition("/")[2], detail=detail)
    raise ServiceFailed(f"{detail} (request {answer.headers.get('X-Request-Id', 'without id')})")


def _problem(answer: httpx.Response) -> Document:
    try:
        problem = answer.json()
    except ValueError:
        return {}
    return problem if isinstance(problem, dict) else {}
