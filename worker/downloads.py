"""What an ended job gives back: its chunks' stored results, checked and in the order of its input."""

from collections.abc import Iterator

import msgspec
import pyarrow as pa

from worker import results
from worker.answers import level_columns
from worker.blobs import Blobs, sha256
from worker.chunks import result_name
from worker.errors import ResultsDamaged
from worker.ledger import Done, Record


def forecasts(record: Record, done: dict[int, Done], media_type: str, blobs: Blobs) -> Iterator[bytes]:
    """
    Forecasts of a job, a part a chunk; of a cancelled one, what was done.

    Raises:
        UnsupportedFormat: The media type is none of `worker.results.FORMATS`.
        ResultsDamaged: A file is missing; while reading: a file has changed.
    """
    levels = level_columns(_levels(record.levels), _levels(record.model_levels))
    tables = _tables(record.id, done, media_type, blobs)
    return (results.forecasts(table, media_type, levels, first=first) for first, table in tables)


def errors(record: Record, done: dict[int, Done], media_type: str, blobs: Blobs) -> Iterator[bytes]:
    """Rows of a job that have an error; raises as `forecasts` does."""
    tables = _tables(record.id, done, media_type, blobs)
    return (results.errors(table, media_type, first=first) for first, table in tables)


def _tables(job_id: str, done: dict[int, Done], media_type: str, blobs: Blobs) -> Iterator[tuple[bool, pa.Table]]:
    results.check_format(media_type)
    for chunk, result in done.items():
        if not blobs.exists(result_name(job_id, chunk, result.sha256)):
            raise ResultsDamaged(job_id=job_id, chunk=chunk)
    return _read(job_id, done, blobs)


def _read(job_id: str, done: dict[int, Done], blobs: Blobs) -> Iterator[tuple[bool, pa.Table]]:
    """Each chunk's stored results, once their bytes are those that the ledger knows; and whether it is the first."""
    for place, (chunk, result) in enumerate(done.items()):
        content = blobs.read(result_name(job_id, chunk, result.sha256))
        if sha256(content) != result.sha256:
            raise ResultsDamaged(job_id=job_id, chunk=chunk)
        yield place == 0, pa.ipc.open_file(content).read_all()


def _levels(text: str) -> list[float]:
    return msgspec.json.decode(text, type=list[float])
