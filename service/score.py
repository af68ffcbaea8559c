"""`nextday score`: a file to a running service as a bulk job, its forecasts back into a file."""

import hashlib
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Self

import click
import orjson
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from models.errors import InputError
from models.settings import from_env
from service.banner import base_url
from service.client import FIRST_LOOK_S, Client, Document, Refused, ServiceAway, ServiceFailed, look_again_s
from service.settings import CallerSettings, ServiceSettings
from worker.media_types import BY_SUFFIX, ENCODINGS_BY_SUFFIX, RESULT_SUFFIXES

SUFFIXES = {suffix: RESULT_SUFFIXES[each] for suffix, each in BY_SUFFIX.items() if each in RESULT_SUFFIXES}
"""Of what can be written, with the format's name."""
ENDED = ("completed", "failed", "cancelled", "expired")
DONE, ROWS_FAILED = 0, 3
"""Seconds between two looks at a job: half as many again each time."""


class BadOutput(InputError):
    """Nothing can be written where the forecasts should go."""


class UnknownSuffix(InputError):
    """A file whose name does not say what it is."""

    def __init__(self, *, name: str, known: Mapping[str, str]) -> None:
        super().__init__(f"{name!r} ends in none of {', '.join(known)}, so its format is unknown; rename it")


@dataclass(frozen=True, slots=True)
class Upload:
    """A file, what it holds, and how it is packed, empty where it is not."""

    file: Path
    media_type: str
    encoding: str

    @classmethod
    def of(cls, file: Path) -> "Upload":
        """
        By the file's name.

        Raises:
            UnknownSuffix: It does not say what the file holds.
        """
        encoding = ENCODINGS_BY_SUFFIX.get(file.suffix.lower(), "")
        return cls(file, _known(file.stem if encoding else file.name, BY_SUFFIX), encoding)


class Interrupts:
    """
    What Ctrl-C does within its `with`: put off while a job is on its way, so that it is cancelled and not forgotten.

    A second Ctrl-C is never put off.
    """

    def __init__(self) -> None:
        self._held = self._pending = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(self, *_error: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def hold(self) -> None:
        """Put the next Ctrl-C off until `release`."""
        self._held = True

    def release(self) -> None:
        """
        Put nothing off any more.

        Raises:
            KeyboardInterrupt: One had been put off.
        """
        put_off, self._held, self._pending = self._pending, False, False
        if put_off:
            raise KeyboardInterrupt

    def _take(self, _number: int, _frame: object) -> None:
        if self._pending or not self._held:
            raise KeyboardInterrupt
        self._pending = True


class JobEnded(ServiceFailed):
    """A job that did not complete."""

    def __init__(self, *, job: Document) -> None:
        super().__init__(f"job {job['id']} is {job['status']}: {job['reason'] or 'no reason is known'}")


def score_file(
    file: Path, output: str, *, url: str | None, options: Mapping[str, object], detach: bool, as_json: bool
) -> int:
    """
    Score a file, showing people how far it is.

    Args:
        file: The series; the suffix says the format.
        output: Path of the forecasts, its suffix one of `SUFFIXES`; ``-`` is standard output.
        url: The service; None for the one that this environment's settings describe.
        options: model, version, levels, join, webhook; None where the service is to choose.
        detach: Submit only.
        as_json: Print the job on standard output.

    Returns:
        The exit code, as the command line documents it.

    Raises:
        BadOutput: Nothing can be written there.
        UnknownSuffix: A file's name does not say its format.
        JobEnded: The job did not complete.
        Refused: The service refuses the file or an option.
        ServiceAway: Nothing answers.
        ServiceFailed: The service answered, and could not do it.
    """
    upload = Upload.of(file)
    suffix = _output_format(output, as_json=as_json)
    query = {name: str(value) for name, value in options.items() if value is not None}
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    started = time.monotonic()
    with Interrupts() as interrupts, _client(url, console, interrupts) as client:
        client.check_access()
        with _progress(console) as progress:
            job = _submit(client, upload, query, progress, interrupts)
            if not detach:
                job = _follow(client, job, progress, interrupts)
        if as_json:
            click.echo(orjson.dumps(job, option=orjson.OPT_INDENT_2))
        if detach:
            console.print(f"job {job['id']} is {job['status']}; look at it with {client.url}{job['links']['self']}")
            interrupts.release()
            return DONE
        if job["status"] != "completed":
            raise JobEnded(job=job)
        with _progress(console) as progress:
            _save(client, job, output, suffix, progress)
    console.print(_summary(job, output, time.monotonic() - started))
    return ROWS_FAILED if job["counts"]["failed"] else DONE


def _client(url: str | None, console: Console, interrupts: Interrupts) -> Client:
    def wait(why: str) -> None:
        interrupts.release()  # nothing is on its way
        console.print(why)

    api_key = from_env(CallerSettings).api_key
    return Client(url or base_url(from_env(ServiceSettings)), api_key=api_key, on_wait=wait)


def _submit(
    client: Client,
    upload: Upload,
    query: Mapping[str, str],
    progress: Progress,
    interrupts: Interrupts,
) -> Document:
    """
    The job of a file; the one that it had before, if that is of use.

    Ctrl-C is put off from the upload's last part on, when the service may make the job. The key comes from content and
    options, so that a run whose answer was lost does not make a second job.
    """
    size_bytes = upload.file.stat().st_size
    task = progress.add_task("sending", total=size_bytes, detail="")

    def sending(sent: int) -> None:
        progress.update(task, completed=sent, detail=f"{sent / 1e6:,.1f} MB")
        if sent == size_bytes:
            interrupts.hold()

    def attempt(key: str) -> Document:
        return client.submit(
            lambda: upload.file.open("rb"),
            size_bytes=size_bytes,
            media_type=upload.media_type,
            encoding=upload.encoding,
            options=query,
            key=key,
            on_sending=sending,
        )

    key = _key(upload, query)
    while True:
        interrupts.release()
        try:
            job = attempt(key)
        except Refused as error:
            if error.kind != "idempotency-conflict":  # the newest version is another one than last time
                raise
            key = secrets.token_hex(16)
            continue
        if job["status"] not in ("failed", "cancelled", "expired"):
            progress.remove_task(task)
            return job
        # It would stay so, and whoever asks again wants it done: the next key follows from it, for the run after, too.
        key = hashlib.sha256(f"{key} {job['id']}".encode()).hexdigest()


def _follow(client: Client, job: Document, progress: Progress, interrupts: Interrupts) -> Document:
    """The job once it has ended. Ctrl-C cancels it."""
    task = progress.add_task("scoring", total=job["counts"]["total"], detail="")
    started, look_s = time.monotonic(), FIRST_LOOK_S
    try:
        interrupts.release()
        while job["status"] not in ENDED:
            time.sleep(look_s)
            job = client.job(job["id"])
            look_s = look_again_s(job, look_s)
            rows = job["counts"]["completed"] + job["counts"]["failed"]
            rate = rows / (time.monotonic() - started)
            progress.update(task, completed=rows, detail=f"{rows:,} of {job['counts']['total']:,} rows, {rate:,.0f}/s")
    except ServiceAway:
        progress.console.print(f"job {job['id']} goes on once the service is back; run the same command again then")
        raise
    except KeyboardInterrupt:
        job = client.cancel(job["id"])
        progress.console.print(f"job {job['id']} is {job['status']}; what was done stays at {job['links']['results']}")
        raise
    return job


def _save(client: Client, job: Document, output: str, suffix: str, progress: Progress) -> None:
    """Put forecasts, and errors where there are any, into their files, each whole or not at all."""
    task = progress.add_task("fetching", total=None, detail="")

    def fetching(got: int, of: int | None) -> None:
        progress.update(task, completed=got, total=of, detail=f"{got / 1e6:,.1f} MB")

    if output == "-":
        with tempfile.TemporaryFile() as scratch:
            client.download(job["id"], "results", suffix, scratch, fetching)
            progress.stop()  # or its bar stands between the lines, where both go to one terminal
            scratch.seek(0)
            shutil.copyfileobj(scratch, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    with _replacing(Path(output)) as sink:
        client.download(job["id"], "results", suffix, sink, fetching)
    beside = _errors_path(output)
    if not job["counts"]["failed"]:
        beside.unlink(missing_ok=True)  # those of an earlier run would be taken for this one's
        return
    with _replacing(beside) as sink:
        client.download(job["id"], "errors", suffix, sink, fetching)


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """A file that takes the target's place once it is whole."""
    scratch = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        with scratch.open("xb") as sink:
            yield sink
        scratch.replace(target)
    finally:
        scratch.unlink(missing_ok=True)


def _summary(job: Document, output: str, took_s: float) -> str:
    counts, model = job["counts"], job["model"]
    by = f"{model['name']} version {model['version']}, job {job['id']}"
    where = "standard output" if output == "-" else output
    text = f"{counts['completed']:,} of {counts['total']:,} rows have a forecast: {where} ({by}, {took_s:.1f} s)"
    if not counts["failed"]:
        return text
    errors = job["links"]["errors"] if output == "-" else str(_errors_path(output))
    return f"{text}\n{counts['failed']:,} have an error: {errors}"


def _errors_path(output: str) -> Path:
    """
    Where the rows with an error go.

    >>> _errors_path("a/out.csv").as_posix()
    'a/out.errors.csv'
    """
    path = Path(output)
    return path.with_name(f"{path.stem}.errors{path.suffix}")


def _output_format(output: str, *, as_json: bool) -> str:
    if output == "-":
        if as_json:
            raise BadOutput("--json and `-o -` both want standard output; give -o a file")
        return "csv"
    suffix = _known(output, SUFFIXES)
    folder = Path(output).parent
    if not folder.is_dir():
        raise BadOutput(f"there is no folder {str(folder)!r} to put {output!r} into")
    return suffix


def _known(name: str, known: Mapping[str, str]) -> str:
    suffix = Path(name).suffix.lower()
    if suffix not in known:
        raise UnknownSuffix(name=name, known=known)
    return known[suffix]


def _key(upload: Upload, query: Mapping[str, str]) -> str:
    """An Idempotency-Key: the hash of a file and what is to be done with it."""
    with upload.file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256")
    kind = [upload.media_type, upload.encoding]
    digest.update(orjson.dumps([*kind, dict(query)], option=orjson.OPT_SORT_KEYS))
    return digest.hexdigest()


def _progress(console: Console) -> Progress:
    columns = ("{task.description}", BarColumn(), TaskProgressColumn(), "{task.fields[detail]}", TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True)
