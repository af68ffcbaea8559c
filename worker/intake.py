"""
An upload taken in: from a stream of bytes, or a file by reference, to the job's input file, cut into chunks.

Its bytes go to disk as they come. Then a process of its own reads them, watched for memory and time, so that nothing
that an upload holds can harm who answers requests. Small texts are read here, since they are harmless and a process
takes longer than they do.
"""

import functools
import hashlib
import io
import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import BinaryIO, cast

from worker.blobs import Blobs
from worker.chunks import input_name
from worker.digests import BodyDigests
from worker.errors import IntakeBusy, TableError, UnsupportedFormat, UploadTooLarge
from worker.intake_process import Handle, Report, Task, convert, raised, run, too_much_memory
from worker.job_requests import JobOptions
from worker.reading.formats import MEDIA_TYPES, TEXT_TYPES
from worker.reading.limits import Limits
from worker.reading.sources import ENCODINGS
from worker.references import Reference, check_prefixes
from worker.settings import WorkerSettings
from worker.tables import Plan

COPY_BYTES = 1024 * 1024
SMALL_BYTES = 1024 * 1024
"""Texts up to this size are read in this process."""
LOOK_S = 0.05
"""Seconds between two looks at a process that reads."""

_context = multiprocessing.get_context("forkserver")


@dataclass(frozen=True, slots=True)
class Upload:
    """
    A body as it comes in, read to its end.

    Attributes:
        body: Its bytes.
        media_type: One of `worker.reading.formats.MEDIA_TYPES`.
        encoding: How it is packed: "", gzip or zstd.
        content_digest: The header Content-Digest; "" where there is none.
        on_disk: Whether the body is a file on this machine, at its start, that nobody writes to any more: it is read
            where it lies, and not copied.
    """

    body: BinaryIO
    media_type: str
    encoding: str = ""
    content_digest: str = ""
    on_disk: bool = False


@dataclass(frozen=True, slots=True)
class Stored:
    """
    An upload taken in.

    Attributes:
        plan: How it was cut.
        sha256: Of its media type, encoding, joined columns and bytes; for a reference, of what tells the file from
            others and from itself at another time.
        options: That it brings itself, as a JSON document does; None where it says nothing.
        input_bytes: As it was sent, or as the referenced file is stored.
        source: Media type or URI, for people.
    """

    plan: Plan
    sha256: str
    options: JobOptions | None
    input_bytes: int
    source: str


def start(settings: WorkerSettings) -> None:
    """
    Start the server that processes which read are forked from, if there is none yet.

    Raises:
        SettingError: The settings name places for files that cannot be.
    """
    check_prefixes(settings.input_prefixes)
    _start_server()


def _start_server() -> None:
    """
    It imports what the processes need, and no model: a session of onnxruntime must not cross a fork.

    Each process imports the program's own module anew, which is the command line's: with click there, in half the time.
    """
    _context.set_forkserver_preload(["worker.intake_memory", "worker.intake_process", "click"])
    forkserver.ensure_running()


def take(
    source: Upload | Reference, *, job_id: str, blobs: Blobs, settings: WorkerSettings, join: tuple[str, ...]
) -> Stored:
    """
    Write an upload's series into the job's input file; where it raises, there is no such file.

    Raises:
        InputError: The upload cannot be read, has no series, or has more than is taken.
        IntakeBusy: As many others as may be are being read.
        OSError: It cannot be written.
    """
    try:
        return _take(source, job_id, blobs, settings, join)
    except BaseException:
        blobs.delete(job_id)
        raise


def _take(
    source: Upload | Reference, job_id: str, blobs: Blobs, settings: WorkerSettings, join: tuple[str, ...]
) -> Stored:
    blobs.scratch_folder.mkdir(parents=True, exist_ok=True)
    task = _task(source, settings, join, str(blobs.scratch_folder))
    if isinstance(source, Upload):
        return _take_upload(source, task, job_id, blobs, settings)
    with blobs.create(input_name(job_id)) as sink:
        report = _in_process(task, None, sink, settings)
    sha256 = hashlib.sha256(f"{_kind(source, join)}{report.fingerprint}".encode()).hexdigest()
    return Stored(report.plan, sha256, report.options, report.size_bytes, source.uri)


def _take_upload(source: Upload, task: Task, job_id: str, blobs: Blobs, settings: WorkerSettings) -> Stored:
    _check_type(source)
    digests = BodyDigests(_kind(source, task.join).encode(), source.content_digest)
    with ExitStack() as opened:
        if source.on_disk:
            file = source.body
            _check_size(_size_of(file), settings.max_job_bytes)
            opened.enter_context(_read_beside(file, digests))
        else:
            file = opened.enter_context(blobs.scratch())
            _copy(source, file, digests, settings.max_job_bytes)
        size_bytes = _size_of(file)
        with blobs.create(input_name(job_id)) as sink:
            if task.media_type in TEXT_TYPES and not task.encoding and size_bytes <= SMALL_BYTES:
                report = convert(task, file, sink)
            else:
                report = _in_process(task, file, sink, settings)
    return Stored(report.plan, digests.sha256(), report.options, size_bytes, source.media_type)


def _kind(source: Upload | Reference, join: tuple[str, ...]) -> str:
    """What the same bytes may mean something else by."""
    parts = (source.media_type or "", source.encoding if isinstance(source, Upload) else "by reference", *join)
    return "\0".join(parts).rstrip("\0")


def _check_type(source: Upload) -> None:
    if source.media_type not in MEDIA_TYPES:
        raise UnsupportedFormat(given=source.media_type, known=MEDIA_TYPES)
    if source.encoding not in ENCODINGS:
        raise UnsupportedFormat(given=source.encoding, known=ENCODINGS[1:])


def _copy(source: Upload, scratch: BinaryIO, digests: BodyDigests, most: int) -> None:
    """Write an upload to disk, and check that it is what it says it is."""
    size_bytes = 0
    while part := source.body.read(COPY_BYTES):
        size_bytes += len(part)
        _check_size(size_bytes, most)
        digests.update(part)
        scratch.write(part)
    digests.check()
    scratch.flush()
    scratch.seek(0)


@contextmanager
def _read_beside(file: BinaryIO, digests: BodyDigests) -> Iterator[None]:
    """
    An upload's digests are found while it is read; that it is not what it says it is goes before all else about it.

    The file's own position, which other processes share that have it open, is let be.
    """

    def read() -> None:
        at = 0
        while part := os.pread(file.fileno(), COPY_BYTES, at):
            digests.update(part)
            at += len(part)
        digests.check()

    with ThreadPoolExecutor(1, thread_name_prefix="digests") as pool:
        reading = pool.submit(read)
        try:
            yield
        finally:
            reading.result()


def _size_of(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _check_size(size_bytes: int, most: int) -> None:
    if size_bytes > most:
        raise UploadTooLarge(what=f"has {size_bytes} bytes or more", most=most, setting="max_job_bytes")


def _task(source: Upload | Reference, settings: WorkerSettings, join: tuple[str, ...], folder: str) -> Task:
    limits = Limits(
        rows=settings.max_job_rows,
        closes=settings.max_job_closes,
        decoded_bytes=settings.max_job_decoded_bytes,
        threads=min(4, os.cpu_count() or 1),
    )
    upload = source if isinstance(source, Upload) else None
    return Task(
        media_type=upload.media_type if upload else "",
        encoding=upload.encoding if upload else "",
        join=join,
        limits=limits,
        folder=folder,
        chunk_rows=settings.chunk_rows,
        chunk_closes=settings.chunk_closes,
        max_bytes=settings.max_job_bytes,
        memory_bytes=settings.intake_mib * 1024**2,
        reference=None if isinstance(source, Upload) else source,
        prefixes=settings.input_prefixes,
    )


@functools.cache
def _slots(at_a_time: int) -> threading.BoundedSemaphore:
    return threading.BoundedSemaphore(at_a_time)


@contextmanager
def _slot(at_a_time: int, wait_s: float) -> Iterator[None]:
    """One of the uploads that are read at a time; waited for, but not for ever."""
    if not _slots(at_a_time).acquire(timeout=wait_s):
        raise IntakeBusy(at_a_time=at_a_time, waited_s=wait_s)
    try:
        yield
    finally:
        _slots(at_a_time).release()


def _in_process(task: Task, file: BinaryIO | None, sink: BinaryIO, settings: WorkerSettings) -> Report:
    """What a process of its own makes of a task."""
    with _slot(settings.intakes, settings.intake_wait_s):
        upload = None if file is None else Handle(file.fileno())
        report = _supervised(task, upload, Handle(sink.fileno()), settings)
    sink.seek(0, io.SEEK_END)
    return report


def _supervised(task: Task, upload: Handle | None, sink: Handle, settings: WorkerSettings) -> Report:
    _start_server()
    answers, answer = _context.Pipe(duplex=False)
    process = _context.Process(target=run, args=(task, upload, sink, answer), name="intake", daemon=True)
    process.start()
    answer.close()
    try:
        found = _watched(process, answers, task, settings.intake_s)
    finally:
        process.kill()
        process.join()
        process.close()
        answers.close()
    if error := raised(found):
        raise error
    return cast(Report, found)


def _watched(process: ForkServerProcess, answers: Connection, task: Task, most_s: float) -> object:
    """
    The answer of a process that reads.

    Raises:
        UploadTooLarge: It took more memory or time than it may.
        TableError: It died of what it read.
    """
    end = time.monotonic() + most_s
    while not answers.poll(LOOK_S):
        if held_bytes(process.pid or 0) > task.memory_bytes:
            raise too_much_memory(task.memory_bytes)
        if time.monotonic() > end:
            raise UploadTooLarge(what="takes more seconds to read than it may", most=most_s, setting="intake_s")
    try:
        return answers.recv()
    except EOFError:
        raise TableError("the upload is damaged: the process that read it died of it") from None


def held_bytes(pid: int) -> int:
    """
    Memory that a process holds and the system cannot take back; 0 where that cannot be told.

    The pages of files are not counted: a file that is mapped costs no memory that somebody else needs.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    sizes = dict(line.split(":", 1) for line in status.splitlines() if line.startswith(("RssAnon", "RssShmem")))
    return sum(int(size.split()[0]) for size in sizes.values()) * 1024
