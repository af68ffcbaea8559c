"""An upload taken in: from a stream of bytes to the job's input file, cut into chunks."""

import hashlib
import threading
from contextlib import nullcontext
from dataclasses import dataclass
from typing import BinaryIO

from worker.blobs import Blobs
from worker.chunks import input_name
from worker.requests import Options
from worker.settings import WorkerSettings
from worker.tables import Plan, read_upload, write_chunks

COPY_BYTES = 1024 * 1024
LARGE_BYTES = 8 * 1024 * 1024
"""Uploads over this are read one at a time, since a table in memory takes many times its bytes on disk."""

_turn = threading.Lock()


@dataclass(frozen=True, slots=True)
class Upload:
    """A body as it comes in, read to its end, and one of `worker.tables.MEDIA_TYPES`."""

    body: BinaryIO
    media_type: str


@dataclass(frozen=True, slots=True)
class Stored:
    """An upload on disk: how it was cut, the sha256 of its bytes, and the options that hold for it."""

    plan: Plan
    sha256: str
    options: Options


def take(source: Upload, *, job_id: str, blobs: Blobs, settings: WorkerSettings, options: Options) -> Stored:
    """
    Write an upload's series into the job's input file; where it raises, a part of it may be left in the job's folder.

    Raises:
        InputError: The upload cannot be read or has no series.
        OSError: It cannot be written.
    """
    digest = hashlib.sha256(source.media_type.encode())
    with blobs.scratch() as upload:
        while part := source.body.read(COPY_BYTES):
            digest.update(part)
            upload.write(part)
        large = upload.tell() > LARGE_BYTES
        upload.seek(0)
        with _turn if large else nullcontext(), blobs.create(input_name(job_id)) as sink:
            entries, own_options = read_upload(upload, source.media_type)
            plan = write_chunks(entries, sink, chunk_rows=settings.chunk_rows, chunk_closes=settings.chunk_closes)
    return Stored(plan, digest.hexdigest(), own_options or options)
