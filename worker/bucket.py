"""
Files of jobs in an S3 bucket, or in what speaks its protocol.

An object is there whole or not at all: S3 shows what is uploaded once it is complete. Whoever dies within a large
upload leaves its parts behind, unseen; docs/results.md has the bucket's rule that deletes them. Credentials are those
of the environment (``AWS_ACCESS_KEY_ID``, a profile, a role of the machine) and are never in an address.
"""

# ruff: noqa: D102 - what the methods do is said where they are declared, in worker/blobs.py

import logging
import mmap
import os
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from errno import EIO, ENOENT, EPERM
from functools import cached_property
from pathlib import Path
from stat import S_ISDIR
from typing import Any, BinaryIO, cast
from urllib.parse import parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from models.errors import SettingError
from worker.blobs import BUCKETS, JOB_ID, SCRATCH, Blobs, open_columns, parts, untouched

CONNECT_TIMEOUT_S, SILENCE_TIMEOUT_S, ATTEMPTS = 1.0, 3.0, 2
"""A bucket that does not answer is an error after one of the time-outs, as often as it is asked."""
PIECE_BYTES = 16 * 1024 * 1024
"""Of an upload, what is on its way at once and so in memory."""
OPTIONS = {"endpoint_override", "region", "scheme", "tls_ca_file_path"}
WANTED = (
    "a folder, or s3://bucket/prefix with any of endpoint_override=, region=, scheme= and tls_ca_file_path= after ?"
)
_SAID = re.compile(r"AWS Error (\w+)(?: \([^)]*\))? during (\w+) operation: ([^;(]{0,120})")

log = logging.getLogger(__name__)


class Bucket(Blobs):
    """A bucket that service and workers share, below a prefix. Made anew in each process, like all connections."""

    def __init__(self, bucket: str, prefix: str, options: dict[str, str]) -> None:
        """Connects to nothing yet; the options are those of `pyarrow.fs.S3FileSystem`."""
        self._bucket = bucket
        self._root = f"{bucket}/{prefix}".rstrip("/")
        self._options = options
        self._touched: dict[str, float] = {}

    @classmethod
    def of(cls, url: str) -> "Bucket":
        """
        A bucket by its address, ``s3://bucket/prefix?region=...``.

        Raises:
            SettingError: It is no such address; one with credentials in it is none.
        """
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        scheme, _, address = options.get("endpoint_override", "").rpartition("://")
        if address:
            own = {"endpoint_override": address.rstrip("/"), **({"scheme": scheme} if scheme else {})}
            options = {"region": "us-east-1", **options, **own}
        fits = url.startswith(BUCKETS) and parts.netloc and "@" not in parts.netloc and options.keys() <= OPTIONS
        if not fits or options.get("scheme", "https") not in ("http", "https"):
            shown = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"  # no secret goes into a log
            raise SettingError(variable="NEXTDAY_JOBS_URL", value=shown, wanted=f"it is {WANTED}; credentials go apart")
        return cls(parts.netloc, unquote(parts.path).strip("/"), options)

    @property
    def scratch_folder(self) -> Path:
        return self._scratch_folder

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        """As for all stores; it lies on this machine's disk first, since an upload cannot be called off."""
        with self.scratch() as file:
            yield file
            file.flush()
            self._put(name, file)

    def open_arrow(self, name: str, *, columns: Sequence[str] | None = None) -> pa.ipc.RecordBatchFileReader:
        with self._in_words(name):
            return open_columns(self._files.open_input_file(self._path(name)), columns)

    def open(self, name: str) -> BinaryIO:
        with self._in_words(name):
            return cast(BinaryIO, self._files.open_input_file(self._path(name)))

    def open_here(self, name: str, first: int, last: int) -> BinaryIO:
        file = tempfile.TemporaryFile(dir=self.scratch_folder)  # noqa: SIM115 - whoever asked for it closes it
        try:
            with self._in_words(name), self._files.open_input_file(self._path(name)) as source:
                for part in parts(source, first, last, part_bytes=PIECE_BYTES):
                    file.write(part)
            file.seek(0)
        except BaseException:
            file.close()
            raise
        return cast(BinaryIO, file)

    def exists(self, name: str) -> bool:
        try:
            self._info(name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        return int(self._info(name).size)

    def stamp(self, name: str) -> str:
        found = self._info(name)
        return f"{found.mtime_ns}-{found.size}"

    def read(self, name: str) -> bytes:
        with self._in_words(name), self._files.open_input_file(self._path(name)) as source:
            return cast(bytes, source.readall())

    def delete_file(self, name: str) -> None:
        folder = name.partition("/")[0]
        with self._in_words(name), suppress(FileNotFoundError):
            self._files.delete_file(self._path(name))
        with self._in_words(folder):
            if not self._files.get_file_info(fs.FileSelector(self._path(folder), allow_not_found=True)):
                self._delete_folder(folder)

    def delete(self, job_id: str) -> None:
        try:
            with self._in_words(job_id):
                self._delete_folder(job_id)
        except OSError as error:
            log.warning("the files of job %s stay for now: %s", job_id, error)

    def left_behind(self, *, older_than_s: float) -> list[str]:
        """As for all stores; a job's files are looked at once, since its listing costs a request."""
        oldest = time.time() - older_than_s
        with self._in_words("the jobs"):
            listed = self._files.get_file_info(fs.FileSelector(self._root, allow_not_found=True))
            jobs = [each.base_name for each in listed if JOB_ID.fullmatch(each.base_name)]
            self._touched = {job: self._touched.get(job) or self._touched_at(job) for job in jobs}
        uploads = untouched(self.scratch_folder.glob(f"{SCRATCH}*"), since_s=oldest)
        return [job for job, touched_at in self._touched.items() if touched_at < oldest] + uploads

    @cached_property
    def _files(self) -> Any:
        return fs.S3FileSystem(
            **self._options,
            connect_timeout=CONNECT_TIMEOUT_S,
            request_timeout=SILENCE_TIMEOUT_S,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
            allow_delayed_open=True,  # what is small takes one request
        )

    @cached_property
    def _scratch_folder(self) -> Path:
        folder = Path(tempfile.gettempdir()) / f"nextday-{os.getuid()}"
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        if not S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise OSError(EPERM, "the folder for uploads in progress is somebody else's", str(folder))
        return folder

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _put(self, name: str, file: BinaryIO) -> None:
        size_bytes = os.fstat(file.fileno()).st_size
        with self._in_words(name):
            stream = self._files.open_output_stream(self._path(name))
            try:
                if size_bytes:
                    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
                        _send(content, stream)
            except OSError:  # the store's; such a stream remembers it, and completes nothing when it is closed
                with suppress(OSError):
                    stream.close()
                raise
            except BaseException:  # ours; a stream cannot be called off, and passes what was sent for the whole
                with suppress(OSError):
                    stream.close()
                self._files.delete_file(self._path(name))
                raise
            stream.close()

    def _info(self, name: str) -> Any:
        with self._in_words(name):
            found = self._files.get_file_info(self._path(name))
            if found.type != fs.FileType.File:
                raise FileNotFoundError
            return found

    def _touched_at(self, job_id: str) -> float:
        files = self._files.get_file_info(fs.FileSelector(self._path(job_id), allow_not_found=True))
        return max((file.mtime_ns / 1e9 for file in files if file.mtime_ns), default=0.0)

    def _delete_folder(self, folder: str) -> None:
        with suppress(FileNotFoundError):
            self._files.delete_dir(self._path(folder))

    @contextmanager
    def _in_words(self, name: str) -> Iterator[None]:
        """The store's errors with what happened in few words, as an operator or a caller may read it."""
        try:
            yield
        except FileNotFoundError as error:
            if self._files_are_away():
                raise OSError(EIO, f"there is no bucket {self._bucket}, or none that may be seen") from error
            raise FileNotFoundError(ENOENT, "there is no such file in the bucket", name) from error
        except (OSError, pa.ArrowException) as error:
            if isinstance(error, pa.ArrowInvalid):  # a damaged file, which is not the store's fault
                raise
            raise OSError(EIO, f"bucket {self._bucket}: {_short(error)}") from error

    def _files_are_away(self) -> bool:
        try:
            return bool(self._files.get_file_info(self._bucket).type == fs.FileType.NotFound)
        except OSError:
            return True


def _send(content: mmap.mmap, stream: Any) -> None:
    """Piece by piece; each is there before the next is sent."""
    view = memoryview(content)
    try:
        for start in range(0, len(view), PIECE_BYTES):
            with view[start : start + PIECE_BYTES] as piece:
                stream.write(piece)
            stream.flush()
    finally:
        view.release()


def _short(error: Exception) -> str:
    if found := _SAID.search(str(error)):
        return f"{found[1]} in {found[2]} ({found[3].strip()})"
    return type(error).__name__
