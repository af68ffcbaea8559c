"""The formats of uploads: their media types, and who reads which."""

import functools
from pathlib import PurePosixPath

from worker.errors import UnsupportedFormat
from worker.job_requests import JobOptions, check_join
from worker.media_types import (
    ARROW_FILE,
    ARROW_STREAM,
    BY_SUFFIX,
    CSV,
    ENCODINGS_BY_SUFFIX,
    JSON,
    NDJSON,
    PARQUET,
)
from worker.reading.columnar import arrow_file, arrow_stream, parquet, read_columnar
from worker.reading.csv_tables import read_csv
from worker.reading.documents import read_document
from worker.reading.json_lines import read_ndjson
from worker.reading.series import Batches
from worker.reading.sources import Source

TEXT_TYPES = (JSON, NDJSON, CSV)
COLUMNAR_TYPES = (PARQUET, ARROW_FILE, ARROW_STREAM)
MEDIA_TYPES = (*TEXT_TYPES, *COLUMNAR_TYPES)

_COLUMNAR = {
    PARQUET: functools.partial(read_columnar, open_batches=parquet, what="Parquet"),
    ARROW_FILE: functools.partial(read_columnar, open_batches=arrow_file, what="Arrow file"),
    ARROW_STREAM: functools.partial(read_columnar, open_batches=arrow_stream, what="Arrow stream"),
}


def read(source: Source, media_type: str, join: tuple[str, ...] = ()) -> tuple[Batches, JobOptions | None]:
    """
    The series of an upload, and what it says beside them, which only a JSON document can.

    Args:
        source: The upload.
        media_type: One of `MEDIA_TYPES`.
        join: Columns, or fields, that are carried to the results.

    Raises:
        UnsupportedFormat: The media type or the encoding is not taken.
        InputError: The upload as a whole cannot be read; for all but JSON, while the series are consumed.
    """
    check_join(join)
    if media_type == JSON:
        return read_document(source, join)
    if media_type == NDJSON:
        return read_ndjson(source, join), None
    if media_type == CSV:
        return read_csv(source, join), None
    if media_type in _COLUMNAR:
        return _COLUMNAR[media_type](source, join=join), None
    raise UnsupportedFormat(given=media_type, known=MEDIA_TYPES)


def by_suffix(path: str) -> tuple[str | None, str]:
    """Media type, None where the suffix says none, and encoding of a file by its name."""
    name = PurePosixPath(path.lower())
    encoding = ENCODINGS_BY_SUFFIX.get(name.suffix, "")
    return BY_SUFFIX.get(PurePosixPath(name.stem).suffix if encoding else name.suffix), encoding
