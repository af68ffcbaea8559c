"""
What the process does that reads one upload: from the upload's file to the job's input file.

It is a fork of a server that has imported this and nothing that runs models, so it is there at once, and what it falls
over is the upload's fault alone. It stands behind everybody else for the processor, so that forecasts come first.
"""

import ctypes
import gc
import io
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.abc import MetaPathFinder
from multiprocessing.connection import Connection
from multiprocessing.reduction import DupFd
from typing import Any, BinaryIO

import numpy.ma  # noqa: F401 - pyarrow imports it for its first array, which each process would do anew
import pyarrow as pa

from models.errors import NextdayError
from worker.errors import TableError, UploadTooLarge
from worker.job_requests import JobOptions
from worker.reading.formats import read
from worker.reading.grouping import Scattered
from worker.reading.limits import Limits
from worker.reading.sources import Source
from worker.references import Reference, open_reference
from worker.tables import Plan, write_chunks
from worker.writeback import WrittenBack

NICENESS = 5
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8  # of glibc's malloc.h


class _WithoutPandas(MetaPathFinder):
    """Where pandas is installed, pyarrow imports it to ask whether a list is pandas': a quarter of a second."""

    def find_spec(self, fullname: str, path: object, target: object = None) -> None:  # noqa: ARG002
        """Nothing, or an error for pandas."""
        if fullname == "pandas":
            raise ModuleNotFoundError("not needed here", name=fullname)


class Handle:
    """An open file that goes along to the process."""

    def __init__(self, number: int) -> None:
        """Of this process."""
        self.number = number

    def __reduce__(self) -> tuple[Any, ...]:
        return _received, (DupFd(self.number),)


def _received(passed: Any) -> Handle:
    return Handle(passed.detach())


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    One upload to be read.

    Attributes:
        media_type: What it holds.
        encoding: How it is packed.
        join: Columns that are carried to the results.
        limits: That it is held to.
        folder: For scratch files.
        chunk_rows: Most series in a chunk.
        chunk_closes: Closes after which a chunk is closed.
        max_bytes: Most bytes of a referenced file.
        memory_bytes: That reading may take.
        reference: The file in the upload's place.
        prefixes: Where such a file may be.
    """

    media_type: str
    encoding: str
    join: tuple[str, ...]
    limits: Limits
    folder: str
    chunk_rows: int
    chunk_closes: int
    max_bytes: int
    memory_bytes: int
    reference: Reference | None = None
    prefixes: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """
    What came of an upload.

    Attributes:
        plan: How it was cut.
        options: That it brought.
        fingerprint: Of a referenced file, else empty.
        size_bytes: Of a referenced file, else 0.
        peak_bytes: Memory that reading took, what Python and its libraries take included.
    """

    plan: Plan
    options: JobOptions | None
    fingerprint: str = ""
    size_bytes: int = 0
    peak_bytes: int = 0


def convert(task: Task, upload: BinaryIO | None, sink: BinaryIO) -> Report:
    """
    Read an upload and write the job's input file.

    Args:
        task: What to read.
        upload: Its bytes, at their start; None where there is a reference.
        sink: Where the file goes.

    Raises:
        InputError: The upload cannot be read, has no series, or has more than is taken.
        OSError: The file cannot be written.
    """
    file: Any = upload
    media_type, encoding, fingerprint, size_bytes = task.media_type, task.encoding, "", 0
    if task.reference:
        opened = open_reference(task.reference, task.prefixes)
        if opened.size_bytes > task.max_bytes:
            what = f"has {opened.size_bytes} bytes"
            raise UploadTooLarge(what=what, most=task.max_bytes, setting="max_job_bytes")
        file, media_type, encoding = opened.file, opened.media_type, opened.encoding
        fingerprint, size_bytes = opened.fingerprint, opened.size_bytes
    source = Source(file, encoding, task.limits, task.folder, side_by_side=True)
    with _in_memory(task.memory_bytes):
        written = None
        with suppress(Scattered):  # whose traceback holds all that was read, and is gone behind this
            written = _written(source, media_type, task, sink)
        if written is None:
            for each in (file, sink):
                each.seek(0)
            sink.truncate()
            written = _written(replace(source, side_by_side=False), media_type, task, sink)
        plan, options = written
    if task.reference and open_reference(task.reference, task.prefixes).fingerprint != fingerprint:
        raise TableError(f"{task.reference.uri[:200]!r} changed while it was read; try again")
    return Report(plan, options, fingerprint, size_bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _written(source: Source, media_type: str, task: Task, sink: BinaryIO) -> tuple[Plan, JobOptions | None]:
    batches, options = read(source, media_type, task.join)
    plan = write_chunks(batches, sink, chunk_rows=task.chunk_rows, chunk_closes=task.chunk_closes, limits=task.limits)
    return plan, options


def run(task: Task, upload: Handle | None, sink: Handle, answer: Connection) -> None:
    """The process: convert, and answer with a report or with an error."""
    os.nice(NICENESS)
    gc.freeze()  # what came with the fork stays, and needs no looking through
    sys.meta_path.insert(0, _WithoutPandas())
    _keep_freed_memory()
    # What is mapped takes address space and no memory.
    _limit_memory(task.memory_bytes, mapped_bytes=task.max_bytes + task.limits.decoded_bytes)
    try:
        with io.BufferedWriter(WrittenBack(sink.number, "wb")) as target:
            source = os.fdopen(upload.number, "rb") if upload else None
            report = convert(task, source, target)
        found: object = report
    except (NextdayError, OSError) as error:
        found = _packed(error)
    except Exception as error:  # a bug of ours; whoever waits is to have it in the log
        found = _packed(RuntimeError(f"{type(error).__name__}: {error}"))
    with suppress(BrokenPipeError):  # nobody waits any more
        answer.send(found)


def _keep_freed_memory() -> None:
    """
    Let glibc, where it is used, keep what is freed for the next block of lines, in one heap for all threads.

    By itself it gives pieces of that size back at once, and gets new pages, which are zeroed, for the next: twice the
    page faults of a text. A heap for each thread takes 50 MiB more of a Parquet file of 2 GB, and no less time.
    """
    if mallopt := getattr(ctypes.CDLL(None), "mallopt", None):
        mallopt(_M_ARENA_MAX, 1)
        mallopt(_M_MMAP_THRESHOLD, 32 * 1024**2)
        mallopt(_M_TRIM_THRESHOLD, 64 * 1024**2)


def raised(answer: Any) -> Exception | None:
    """The error of an answer, None where it is a report."""
    if isinstance(answer, Report):
        return None
    kind, args, state = answer
    error: Exception = kind.__new__(kind, *args) if issubclass(kind, OSError) else kind.__new__(kind)
    error.args = args
    error.__dict__.update(state)
    return error


def _packed(error: Exception) -> tuple[type[Exception], tuple[Any, ...], dict[str, Any]]:
    """An error as what can be sent: ours take keywords, which pickle does not know of."""
    kind = type(error)
    if isinstance(error, OSError):  # pyarrow has kinds of its own
        kind, args = OSError, (error.errno, error.strerror or str(error)[:200])
        return kind, args, {}
    return kind, error.args, dict(error.__dict__)


@contextmanager
def _in_memory(memory_bytes: int) -> Iterator[None]:
    try:
        yield
    except MemoryError as error:
        raise too_much_memory(memory_bytes) from error
    except pa.ArrowCapacityError as error:
        raise TableError(f"the upload has a column or cell beyond what can be read: {str(error)[:200]}") from error


def too_much_memory(memory_bytes: int) -> UploadTooLarge:
    """The error of an upload that takes more memory to read than there may be taken."""
    what = "takes more MiB of memory to read than it may; smaller batches or row groups, or another format, take less"
    return UploadTooLarge(what=what, most=memory_bytes // 1024**2, setting="intake_mib")


def _limit_memory(memory_bytes: int, *, mapped_bytes: int) -> None:
    """Address space for what may be taken, twice over: whoever watches is to notice first."""
    with suppress(OSError, ValueError):
        pages = int(open("/proc/self/statm").read().split()[0])  # noqa: SIM115, PTH123 - gone with the process
        most = pages * resource.getpagesize() + 2 * memory_bytes + 1024**3 + mapped_bytes
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
