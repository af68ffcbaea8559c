"""The bytes of an upload: unpacked as they are read, whole lines at a time, or as a file to jump about in."""

import io
import mmap
import os
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeVar

import numpy as np
import pyarrow as pa

from worker.errors import TableError, UnsupportedFormat
from worker.reading.limits import MAX_LINE_BYTES, Limits

ENCODINGS = ("", "gzip", "zstd")
BLOCK_BYTES = 2 * 1024 * 1024
"""What is read of a stream at a time, and about what is parsed at a time."""
KEPT_BYTES = 16 * 1024 * 1024
"""Of a mapped file, what stays in memory behind what is read, at least: it may not be written elsewhere yet."""
_LINE_END = ord("\n")
_MADV_POPULATE_READ = 22  # of Linux' mman.h, since 5.14

Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class Source:
    """
    An upload to be read.

    Attributes:
        file: At its start. A local file, a file in memory, or one of pyarrow's.
        encoding: One of `ENCODINGS`.
        limits: That it is held to.
        folder: Where scratch files go; the system's folder for them if None.
        side_by_side: Whether the rows of a series are expected so in a table that has a row a day; where they are not,
            `worker.reading.grouping.Scattered` is raised.
    """

    file: Any
    encoding: str
    limits: Limits
    folder: str | None = None
    side_by_side: bool = False

    def stream(self) -> "Stream":
        """
        Its bytes as they are once unpacked, from the start.

        Raises:
            UnsupportedFormat: There is no such encoding.
        """
        if self.encoding not in ENCODINGS:
            raise UnsupportedFormat(given=self.encoding, known=ENCODINGS[1:])
        unpacked = pa.CompressedInputStream(_Lent(self.file), self.encoding) if self.encoding else self.file
        return Stream(unpacked, self.encoding, self.limits)

    def random_access(self) -> "RandomAccess":
        """
        Its bytes, once unpacked, as a file of pyarrow's; a local one is mapped rather than read.

        What is mapped is given back to the system as it is read, however large a piece the file says is one.
        """
        if self.encoding:
            stream = self.stream()
            with self.scratch() as unpacked:
                while part := stream.read(BLOCK_BYTES):
                    unpacked.write(part)
                unpacked.flush()
                return _mapped(unpacked)
        if isinstance(self.file, pa.NativeFile):
            return RandomAccess(self.file)
        return _mapped(self.file)

    def scratch(self) -> BinaryIO:
        """A file without a name, gone with the process that has it."""
        return tempfile.TemporaryFile(dir=self.folder)


class _Lent(io.RawIOBase):
    """A file whose reader may close what it has: the file stays open, to be read from the start again."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        part: bytes = self._file.read(size)
        return part


class RandomAccess:
    """
    A file to jump about in, of which some mebibytes at most are in this process's memory if it is mapped.

    Attributes:
        file: One of pyarrow's.
        mapped: Whether it is mapped into memory rather than read.
    """

    def __init__(self, file: Any, mapped: mmap.mmap | None = None) -> None:
        """A file of pyarrow's; or what `mapped` holds, and then `file` lies in that memory."""
        self.file = file
        self.mapped = mapped is not None
        self._memory = mapped
        self._begin = pa.py_buffer(mapped).address if mapped else 0
        self._released = 0

    def release(self) -> None:
        """Take what was read out of this process's memory; it can be read again."""
        if self._memory:
            self._memory.madvise(mmap.MADV_DONTNEED)

    def fetch(self, numbers: pa.Array) -> bool:
        """
        Take a column of numbers that lies in the file into memory, at once and not page by page as it is looked at.

        What is written elsewhere straight from the file so takes half the time. What lies far before it is released.

        Returns:
            Whether it lies in the file; else nothing was done.
        """
        if self._memory is None or (data := numbers.buffers()[-1]) is None:
            return False
        begin = data.address - self._begin + numbers.offset * numbers.type.bit_width // 8
        if not 0 <= begin <= begin + numbers.nbytes <= len(self._memory):  # it was unpacked
            return False
        begin, end = begin // mmap.PAGESIZE * mmap.PAGESIZE, begin + numbers.nbytes
        if begin - self._released > 2 * KEPT_BYTES:
            self._released = begin - KEPT_BYTES
            self._memory.madvise(mmap.MADV_DONTNEED, 0, self._released)
        with suppress(OSError):  # a system that does not know how
            self._memory.madvise(_MADV_POPULATE_READ, begin, end - begin)
        return True


class Stream:
    """Unpacked bytes, counted, whose faults are errors of ours."""

    def __init__(self, raw: Any, encoding: str, limits: Limits) -> None:
        """Nothing is read yet."""
        self._raw = raw
        self._encoding = encoding
        self._limits = limits
        self._count = 0

    def read(self, size: int) -> bytes:
        """
        At most so many bytes; none at the end.

        Raises:
            TableError: They do not unpack.
            UploadTooLarge: There are more than are taken.
        """
        try:
            part: bytes = self._raw.read(size)
        except (OSError, pa.ArrowException) as error:
            if not self._encoding:
                raise
            raise TableError(f"the upload is not {self._encoding}, as its encoding says: {error}") from error
        self._count += len(part)
        self._limits.check_decoded(self._count)
        return part


@dataclass(frozen=True, slots=True)
class Lines:
    """
    Whole lines.

    Attributes:
        text: Their bytes; the last line of an upload may have no line end.
        first: Number of the first one in the upload, from 1.
    """

    text: bytes
    first: int


def line_blocks(stream: Stream, *, what: str = "NDJSON has one series a line") -> Iterator[Lines]:
    """
    A stream's lines, some megabytes at a time.

    Raises:
        TableError: A line is longer than `MAX_LINE_BYTES`; what right looks like is `what`.
    """
    first, rest = 1, b""
    while part := stream.read(BLOCK_BYTES):
        end = part.find(b"\n")
        if len(rest) + (end if end >= 0 else len(part)) > MAX_LINE_BYTES:
            raise TableError(f"line {first} is longer than {MAX_LINE_BYTES} bytes; {what}")
        cut = part.rfind(b"\n") + 1
        if not cut:
            rest += part
            continue
        text = b"".join((rest, memoryview(part)[:cut]))
        yield Lines(text, first)
        first += int(np.count_nonzero(np.frombuffer(text, np.uint8) == _LINE_END))
        rest = part[cut:]
    if rest:
        yield Lines(rest, first)


def in_order(parse: Callable[[Lines], Parsed], blocks: Iterable[Lines], threads: int) -> Iterator[Parsed]:
    """What comes of each block, in their order, of which some are parsed ahead on threads."""
    if threads < 2:
        yield from map(parse, blocks)
        return
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Parsed]] = deque()
        try:
            for block in blocks:
                waiting.append(pool.submit(parse, block))
                if len(waiting) > threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for each in waiting:
                each.cancel()


def made_ahead(parts: Iterator[Parsed], threads: int) -> Iterator[Parsed]:
    """The same parts; each is made on a thread while its user still works on the one before."""
    if threads < 2:
        yield from parts
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, parts, None)
        while (part := coming.result()) is not None:
            coming = pool.submit(next, parts, None)
            yield part


def _mapped(file: Any) -> RandomAccess:
    try:
        handle = file.fileno()
    except OSError:  # io.UnsupportedOperation: a file in memory
        return RandomAccess(pa.BufferReader(file.read()))
    if os.fstat(handle).st_size == 0:
        return RandomAccess(pa.BufferReader(b""))
    mapped = mmap.mmap(handle, 0, access=mmap.ACCESS_READ)
    return RandomAccess(pa.BufferReader(pa.py_buffer(mapped)), mapped)
