"""
Files of jobs: inputs, results and what was rendered of them, each written whole or not at all.

One interface over two stores: a folder that service and workers share (worker/folder.py), and an S3 bucket where they
share no disk (worker/bucket.py). A file that is not there is a FileNotFoundError; a store that is full, away or closed
to us is another OSError, and never takes minutes to be one.
"""

import hashlib
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

BUCKETS = "s3://"
SCRATCH = ".part-"
JOB_ID = re.compile(r"[0-9a-f]{32}")
"""What `Jobs` names its folders."""


class Blobs(ABC):
    """
    A folder or a bucket with a subfolder a job. Thread-safe.

    Files' names are a job's id and a name, with a slash between. No reader ever sees half a file.
    """

    @staticmethod
    def of(url: str) -> "Blobs":
        """
        Files where a setting says; connects to nothing yet.

        Args:
            url: A folder, or ``s3://bucket/prefix?endpoint_override=http://host:port&region=...``.

        Raises:
            SettingError: It is neither.
        """
        if "://" in url:
            from worker.bucket import Bucket  # noqa: PLC0415 - its library takes 150 ms that a folder does not need

            return Bucket.of(url)
        from worker.folder import Folder  # noqa: PLC0415 - it imports us

        return Folder(Path(url))

    @property
    @abstractmethod
    def scratch_folder(self) -> Path:
        """A folder on a disk of this machine with room for uploads in progress."""

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """A file on this machine's disk; gone afterwards, and after a crash by `delete_scratch`."""
        self.scratch_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self.scratch_folder, prefix=SCRATCH) as file:
            yield file  # type: ignore[misc]

    @abstractmethod
    def create(self, name: str) -> AbstractContextManager[BinaryIO]:
        """A new file to write into; it is there once the block ends well, and never otherwise."""

    @abstractmethod
    def open_arrow(self, name: str, *, columns: Sequence[str] | None = None) -> pa.ipc.RecordBatchFileReader:
        """
        An Arrow file, of which a batch is read when it is asked for.

        Args:
            name: Of the file.
            columns: Those to read, in the file's order, if not all; the others' bytes are left where they are.
        """

    @abstractmethod
    def open(self, name: str) -> BinaryIO:
        """A file to read and seek in."""

    @abstractmethod
    def open_here(self, name: str, first: int, last: int) -> BinaryIO:
        """
        A part of a file, its first and last byte included, as a file with a descriptor that is open where it begins.

        The file itself, or a copy of the part on this machine that is gone once it is closed.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether a file is there."""

    @abstractmethod
    def size(self, name: str) -> int:
        """A file's length in bytes."""

    @abstractmethod
    def stamp(self, name: str) -> str:
        """Something that changes when a file does, as far as the store knows without reading it."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """A whole file."""

    @abstractmethod
    def delete_file(self, name: str) -> None:
        """Remove one file, if it is there, and its job's folder where that was the last."""

    @abstractmethod
    def delete(self, job_id: str) -> None:
        """Remove a job's folder with all that is in it; what cannot be removed now, `left_behind` finds again."""

    @abstractmethod
    def left_behind(self, *, older_than_s: float) -> list[str]:
        """Jobs' folders and uploads, and nothing else there is, that nothing has touched for some seconds."""

    def delete_scratch(self, name: str) -> bool:
        """Remove an upload that a crash left behind; false where the name is not one."""
        if not name.startswith(SCRATCH):
            return False
        (self.scratch_folder / name).unlink(missing_ok=True)
        return True


def sha256(content: bytes) -> str:
    """The digest by which the ledger knows a result file."""
    return hashlib.sha256(content).hexdigest()


def parts(file: BinaryIO, first: int, last: int, *, part_bytes: int) -> Iterator[bytes]:
    """The bytes of a file from one place to another, both of them included."""
    file.seek(first)
    left = last + 1 - first
    while left > 0 and (part := file.read(min(part_bytes, left))):
        yield part
        left -= len(part)


def open_columns(source: pa.NativeFile, columns: Sequence[str] | None) -> pa.ipc.RecordBatchFileReader:
    """An Arrow file of which those columns alone are read, or all."""
    reader = pa.ipc.open_file(source)
    if columns is None:
        return reader
    wanted = [place for place, name in enumerate(reader.schema.names) if name in set(columns)]
    return pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted))


def untouched(entries: Iterable[Path], *, since_s: float) -> list[str]:
    """Names of those entries of a folder that nothing has touched since a time; some may go while one looks."""
    names = []
    for entry in entries:
        with suppress(FileNotFoundError):
            if entry.stat().st_mtime < since_s:
                names.append(entry.name)
    return names
