"""Files of jobs: inputs and results, each written whole or not at all."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

_SCRATCH = ".part-"
_OURS = re.compile(r"[0-9a-f]{32}|\.part-.*")
"""What `Jobs` and `Blobs` name their folders and uploads."""


class Blobs:
    """
    A folder that service and workers share, a subfolder a job.

    A file is written under a temporary name, synced, and renamed: no reader ever sees half of one.
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextmanager
    def scratch(self) -> Iterator[BinaryIO]:
        """A file on the same disk for an upload in progress; gone afterwards, and after a crash by `sweep`."""
        self._root.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=self._root, prefix=_SCRATCH) as file:
            yield file  # type: ignore[misc]

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """
        A new file to write into; it is there once the block ends well, and never otherwise.

        Args:
            name: Job id and file name, with a slash between.
        """
        target = self._root / name
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=target.parent, prefix=_SCRATCH)
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

    def open_arrow(self, name: str) -> pa.ipc.RecordBatchFileReader:
        """An Arrow file, mapped rather than read; FileNotFoundError where there is none."""
        return pa.ipc.open_file(pa.memory_map(str(self._root / name)))

    def exists(self, name: str) -> bool:
        """Whether a file is there."""
        return (self._root / name).is_file()

    def read(self, name: str) -> bytes:
        """A whole file; FileNotFoundError where there is none."""
        return (self._root / name).read_bytes()

    def delete_file(self, name: str) -> None:
        """Remove one file, if it is there, and its job's folder where that was the last."""
        (self._root / name).unlink(missing_ok=True)
        if (folder := (self._root / name).parent).is_dir() and not any(folder.iterdir()):
            folder.rmdir()

    def delete(self, job_id: str) -> None:
        """Remove a job's folder with all that is in it."""
        shutil.rmtree(self._root / job_id, ignore_errors=True)

    def left_behind(self, *, older_than_s: float) -> list[str]:
        """Jobs' folders and uploads, and nothing else there is, that nothing has touched for some seconds."""
        if not self._root.is_dir():
            return []
        oldest = time.time() - older_than_s
        ours = [entry for entry in self._root.iterdir() if _OURS.fullmatch(entry.name)]
        return [entry.name for entry in ours if entry.stat().st_mtime < oldest]

    def delete_scratch(self, name: str) -> bool:
        """Remove an upload that a crash left behind; false where the name is not one."""
        if not name.startswith(_SCRATCH):
            return False
        (self._root / name).unlink(missing_ok=True)
        return True


def sha256(content: bytes) -> str:
    """The digest by which the ledger knows a result file."""
    return hashlib.sha256(content).hexdigest()


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
