"""Files of jobs in a folder: temporary name, sync, rename."""

# ruff: noqa: D102 - what the methods do is said where they are declared, in worker/blobs.py

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EIO
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from worker.blobs import JOB_ID, SCRATCH, Blobs, open_columns, untouched


class Folder(Blobs):
    """A folder that service and workers share."""

    def __init__(self, root: Path) -> None:
        """The folder, which is made with the first file."""
        self._root = root

    @property
    def scratch_folder(self) -> Path:
        return self._root

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=SCRATCH)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(target)
            _sync_folder(target.parent)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise

    def open_arrow(self, name: str, *, columns: Sequence[str] | None = None) -> pa.ipc.RecordBatchFileReader:
        """As for all stores; the file is mapped rather than read."""
        with self._there():
            return open_columns(pa.memory_map(str(self._root / name)), columns)

    def open(self, name: str) -> BinaryIO:
        with self._there():
            return (self._root / name).open("rb")

    def open_here(self, name: str, first: int, last: int) -> BinaryIO:  # noqa: ARG002 - what follows does no harm
        file = self.open(name)
        file.seek(first)
        return file

    def exists(self, name: str) -> bool:
        return (self._root / name).is_file()

    def size(self, name: str) -> int:
        with self._there():
            return (self._root / name).stat().st_size

    def stamp(self, name: str) -> str:
        with self._there():
            found = (self._root / name).stat()
        return f"{found.st_mtime_ns}-{found.st_ino}-{found.st_size}"

    def read(self, name: str) -> bytes:
        with self._there():
            return (self._root / name).read_bytes()

    def delete_file(self, name: str) -> None:
        (self._root / name).unlink(missing_ok=True)
        with suppress(OSError):  # it holds more, or is gone already
            (self._root / name).parent.rmdir()

    def delete(self, job_id: str) -> None:
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def left_behind(self, *, older_than_s: float) -> list[str]:
        if not self._root.is_dir():
            return []
        ours = (entry for entry in self._root.iterdir() if _is_ours(entry.name))
        return untouched(ours, since_s=time.time() - older_than_s)

    @contextmanager
    def _there(self) -> Iterator[None]:
        """A file that is not there is one thing; a disk that is not mounted must not make every job look lost."""
        try:
            yield
        except FileNotFoundError as error:
            if not self._root.is_dir():
                raise OSError(EIO, "the folder of the jobs is not there") from error
            raise


def _is_ours(name: str) -> bool:
    return name.startswith(SCRATCH) or JOB_ID.fullmatch(name) is not None


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
