"""What an ended job gives back: its chunks' results as one file, checked, in the order of its input, rendered once."""

import hashlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO, Literal, cast

import msgspec
import pyarrow as pa

from worker import results
from worker.answers import level_columns
from worker.blobs import Blobs, parts, sha256
from worker.chunks import input_name, read_result
from worker.errors import ResultsDamaged, StorageUnavailable
from worker.formats import Shape, check_format, open_writer
from worker.ledger import Done, Record
from worker.media_types import RESULT_SUFFIXES
from worker.reading.series import JOINED

PART_BYTES = 4 * 1024 * 1024
"""Of a download, what is in memory at once."""
RENDERING = 1
"""Raised when a change of this code makes other bytes of the same results."""
TURNS = 16
KNOWN_WHOLE = 4096

Kind = Literal["results", "errors"]


@dataclass(frozen=True, slots=True)
class Download:
    """
    A file that lies ready, the same bytes however often it is read.

    Attributes:
        size_bytes: Its length.
        etag: A strong one, the sha256 of its bytes in hexadecimal.
        media_type: One of `worker.formats.FORMATS`.
    """

    size_bytes: int
    etag: str
    media_type: str
    _name: str
    _blobs: Blobs

    def read(self, first: int, last: int) -> Iterator[bytes]:
        """
        Its bytes from one place to another, both included, as HTTP counts them; part by part.

        Raises:
            StorageUnavailable: It cannot be opened; nothing was read.
        """
        with storage():
            file = self._blobs.open(self._name)
        return _closing(file, first, last)

    def open_here(self, first: int, last: int) -> BinaryIO:
        """
        Its bytes from one place to another, both included, in a file with a descriptor, which whoever asked closes.

        The file may be longer, at both ends; it is open at the first of the bytes.

        Raises:
            StorageUnavailable: It cannot be opened, or copied here.
        """
        with storage():
            return self._blobs.open_here(self._name, first, last)


class _Rendered(msgspec.Struct, frozen=True):
    """What is recorded beside a rendered file."""

    sha256: str
    size_bytes: int


class Downloads:
    """Renders what ended jobs give back, once, into files beside their results. Thread-safe."""

    def __init__(self, blobs: Blobs) -> None:
        """In the jobs' own store."""
        self._blobs = blobs
        self._turns = [threading.Lock() for _ in range(TURNS)]
        self._whole: dict[str, str] = {}

    def forecasts(self, record: Record, done: Mapping[int, Done], media_type: str) -> Download:
        """
        Forecasts of a job; of a cancelled one, what was done.

        Args:
            record: Of a job that has ended.
            done: Its counted results, by chunk.
            media_type: One of `worker.formats.FORMATS`.

        Raises:
            UnsupportedFormat: The media type is none of them.
            ResultsDamaged: A file is missing or has changed.
            StorageUnavailable: The store is full or away.
        """
        return self._download("results", record, done, media_type)

    def errors(self, record: Record, done: Mapping[int, Done], media_type: str) -> Download:
        """Rows of a job that have an error; as `forecasts` otherwise."""
        return self._download("errors", record, done, media_type)

    def _download(self, kind: Kind, record: Record, done: Mapping[int, Done], media_type: str) -> Download:
        check_format(media_type)
        name = _rendered_name(kind, record, done, media_type)
        # Two requests at once wait for one rendering; two processes may both do it, to the same bytes.
        with self._turns[hash(name) % TURNS], storage():
            found = self._recorded(name)
            if found is None:
                found = self._render(name, kind, record, done, media_type)
        return Download(found.size_bytes, found.sha256, media_type, name, self._blobs)

    def _recorded(self, name: str) -> _Rendered | None:
        """What was rendered before, unless it is gone or damaged; its bytes are read once, and when they change."""
        try:
            found = msgspec.json.decode(self._blobs.read(_record_name(name)), type=_Rendered)
            stamp = self._blobs.stamp(name)
            if self._whole.get(name) == stamp:
                return found
            with self._blobs.open(name) as file:
                written = _Hashing(None)
                for part in parts(file, 0, found.size_bytes, part_bytes=PART_BYTES):
                    written.write(part)
        except (FileNotFoundError, msgspec.DecodeError, msgspec.ValidationError):
            return None
        if written.done() != found:
            return None
        self._remember(name, stamp)
        return found

    def _render(self, name: str, kind: Kind, record: Record, done: Mapping[int, Done], media_type: str) -> _Rendered:
        rows = _Rows(record, done, self._blobs)
        with self._blobs.create(name) as file, _Hashing(file) as sink:
            _write(rows, kind, media_type, cast(BinaryIO, sink))
        written = sink.done()
        with self._blobs.create(_record_name(name)) as file:
            file.write(msgspec.json.encode(written))
        self._remember(name, self._blobs.stamp(name))
        return written

    def _remember(self, name: str, stamp: str) -> None:
        if len(self._whole) >= KNOWN_WHOLE:
            self._whole.clear()
        self._whole[name] = stamp


class _Rows:
    """A job's stored results and what is joined to them, chunk by chunk."""

    def __init__(self, record: Record, done: Mapping[int, Done], blobs: Blobs) -> None:
        self._job_id = record.id
        self._done = done
        self._blobs = blobs
        self._levels = level_columns(_floats(record.levels), _floats(record.model_levels))
        columns = [JOINED + name for name in msgspec.json.decode(record.joined, type=list[str])]
        self._input = self._open_input(columns) if columns else None
        self._joined = [self._input.schema.field(name) for name in columns] if self._input else []

    def shape(self, kind: Kind) -> Shape:
        """What the file is like."""
        joined = [field.with_name(field.name.removeprefix(JOINED)) for field in self._joined]
        return results.forecasts_shape(self._levels, joined) if kind == "results" else results.errors_shape(joined)

    def tables(self, kind: Kind, shape: Shape) -> Iterator[pa.Table]:
        """Each chunk's rows of the file, in the input's order; ResultsDamaged where its bytes are not the ledger's."""
        for chunk in sorted(self._done):
            stored = self._stored(chunk)
            joined = self._joined_to(chunk, stored)
            if kind == "results":
                yield results.forecasts(stored, joined, self._levels, shape)
            else:
                yield results.errors(stored, joined, shape)

    def _stored(self, chunk: int) -> pa.Table:
        try:
            content = read_result(self._blobs, self._job_id, chunk, self._done[chunk].sha256)
        except FileNotFoundError as error:
            raise ResultsDamaged(job_id=self._job_id, chunk=chunk) from error
        if content is None:
            raise ResultsDamaged(job_id=self._job_id, chunk=chunk)
        return pa.ipc.open_file(content).read_all()

    def _joined_to(self, chunk: int, stored: pa.Table) -> pa.Table:
        if not self._input:
            return stored.select([])
        try:
            batch = self._input.get_batch(chunk)
        except (pa.ArrowException, IndexError, ValueError) as error:
            raise ResultsDamaged(job_id=self._job_id, chunk=chunk) from error
        if not batch["row"].equals(stored["row"].combine_chunks()):
            raise ResultsDamaged(job_id=self._job_id, chunk=chunk)
        return pa.Table.from_batches([batch.select([field.name for field in self._joined])])

    def _open_input(self, columns: list[str]) -> Any:
        try:
            reader = self._blobs.open_arrow(input_name(self._job_id), columns=["row", *columns])
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            raise ResultsDamaged(job_id=self._job_id, chunk=0) from error
        if not {"row", *columns} <= {*reader.schema.names}:
            raise ResultsDamaged(job_id=self._job_id, chunk=0)
        return reader


class _Hashing:
    """
    A file that is only written to, and remembers the length and the sha256 of what was; or these alone.

    After its block it takes what comes and keeps nothing: a writer that failed writes once more as it is dropped.
    """

    closed = False

    def __init__(self, file: BinaryIO | None) -> None:
        self._file: BinaryIO | None = file
        self._sha256 = hashlib.sha256()
        self._size_bytes = 0

    def __enter__(self) -> "_Hashing":
        return self

    def __exit__(self, *_: object) -> None:
        self._file = None

    def write(self, part: bytes) -> int:
        self._sha256.update(part)
        self._size_bytes += len(part)
        if self._file:
            self._file.write(part)
        return len(part)

    def flush(self) -> None:
        """Nothing: whoever opened the file does that."""

    def close(self) -> None:
        """Nothing either."""

    def done(self) -> _Rendered:
        return _Rendered(self._sha256.hexdigest(), self._size_bytes)


def _write(rows: _Rows, kind: Kind, media_type: str, sink: BinaryIO) -> None:
    shape = rows.shape(kind)
    writer = open_writer(media_type, sink, shape)
    for table in rows.tables(kind, shape):
        writer.write(table)
    writer.close()


def _rendered_name(kind: Kind, record: Record, done: Mapping[int, Done], media_type: str) -> str:
    """A name that says what went into the file, so that a job which was resumed gives what it has now."""
    chunks = [(chunk, done[chunk].sha256) for chunk in sorted(done)]
    made_of = [RENDERING, record.levels, record.model_levels, record.joined, chunks]
    return f"{record.id}/rendered-{kind}-{sha256(msgspec.json.encode(made_of))[:16]}.{RESULT_SUFFIXES[media_type]}"


def _record_name(name: str) -> str:
    return f"{name}.json"


def _closing(file: BinaryIO, first: int, last: int) -> Iterator[bytes]:
    with file:
        yield from parts(file, first, last, part_bytes=PART_BYTES)


def _floats(text: str) -> list[float]:
    return msgspec.json.decode(text, type=list[float])


@contextmanager
def storage() -> Iterator[None]:
    """The store's errors as one of ours."""
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(reason=error.strerror or type(error).__name__) from error
