"""
Uploads in, chunks out: JSON, NDJSON and CSV become one Arrow file whose record batches are the job's chunks.

A series that cannot be read keeps its place with its fault, so that one bad series costs one row and not the job.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as pacsv

from models.errors import DataError, EmptyRequest, InputError, SeriesFault
from models.forecaster import MAX_DAYS
from models.panel import panel, read_csv
from models.ragged import Ragged
from worker import requests
from worker.errors import TableError, UnsupportedFormat

JSON, NDJSON, CSV = "application/json", "application/x-ndjson", "text/csv"
MEDIA_TYPES = (JSON, NDJSON, CSV)
MAX_JSON_BYTES = 64 * 1024 * 1024
"""Largest JSON document, which is read whole; the other formats are read piece by piece."""
MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longest NDJSON line: a series of the most days has a tenth of it."""

CHUNK_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("as_of", pa.string()),
        ("closes", pa.list_(pa.float64())),
        ("fault", pa.string()),
    ]
)
Closes = Sequence[float] | npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Entry:
    """One series of an upload; where it has a fault, its closes do not count."""

    id: str | None
    as_of: str | None
    closes: Closes
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How an upload was cut: series in all, and record batches in the file."""

    total: int
    chunks: int


def write_chunks(entries: Iterable[Entry], sink: BinaryIO, *, chunk_rows: int, chunk_closes: int) -> Plan:
    """
    Write series as one Arrow file, a chunk a record batch, in their order.

    Args:
        entries: The series, consumed once.
        sink: Where the file goes.
        chunk_rows: Most series in a chunk.
        chunk_closes: Closes after which a chunk is closed.

    Raises:
        EmptyRequest: There is no series.
    """
    total = chunks = 0
    with pa.ipc.new_file(sink, CHUNK_SCHEMA) as writer:
        for chunk in _cut(map(_bounded, entries), chunk_rows, chunk_closes):
            writer.write_batch(_record_batch(chunk, first_row=total))
            total += len(chunk)
            chunks += 1
    if not total:
        raise EmptyRequest
    return Plan(total, chunks)


def read_upload(file: BinaryIO, media_type: str) -> tuple[Iterable[Entry], requests.Options | None]:
    """
    The series of an upload, and what it says beside them, which only a JSON document can.

    Raises:
        UnsupportedFormat: The media type is none of `MEDIA_TYPES`.
        InputError: The upload as a whole cannot be read; for NDJSON and CSV, while the series are consumed.
    """
    if media_type == JSON:
        document = file.read(MAX_JSON_BYTES + 1)
        if len(document) > MAX_JSON_BYTES:
            raise TableError(f"a JSON document has at most {MAX_JSON_BYTES} bytes; send more as NDJSON or CSV")
        request, faults = requests.decode(document)
        if request.horizon != 1:
            wanted = "a job forecasts the next day; leave `horizon` out, or ask POST /v1/forecasts"
            raise requests.InvalidRequest(faults=[requests.Fault("/horizon", wanted)])
        return _from_request(request, faults), request
    if media_type == NDJSON:
        return _from_ndjson(file), None
    if media_type == CSV:
        return _from_csv(file), None
    raise UnsupportedFormat(given=media_type, known=MEDIA_TYPES)


def _from_request(request: requests.ForecastRequest, faults: Mapping[int, SeriesFault]) -> Iterator[Entry]:
    for place, series in enumerate(request.series):
        fault = faults.get(place)
        yield Entry(series.id or None, series.as_of, series.closes, fault.within if fault else None)


def _from_ndjson(file: BinaryIO) -> Iterator[Entry]:
    number = 0
    while line := file.readline(MAX_LINE_BYTES + 1):
        number += 1
        if len(line) > MAX_LINE_BYTES:
            raise TableError(f"line {number} is longer than {MAX_LINE_BYTES} bytes; NDJSON has one series a line")
        if line.isspace():
            continue
        try:
            series = requests.decode_series(line)
        except InputError as error:
            yield Entry(None, None, (), f"line {number}: {error}")
        else:
            yield Entry(series.id, series.as_of, series.closes)


def _from_csv(file: BinaryIO) -> Iterator[Entry]:
    header = file.readline(MAX_LINE_BYTES)
    file.seek(0)
    if header.removeprefix(codecs.BOM_UTF8).strip().lower().replace(b'"', b"") == b"id,closes":
        yield from _from_lists(file)
        return
    try:
        series = panel(read_csv(file))
    except DataError as error:
        raise TableError(str(error)) from error
    for row, closes in enumerate(series.closes):
        days = series.dates_of(row)
        as_of = str(days[-1]) if len(days) else None
        yield Entry(series.ids[row], as_of, closes, series.faults.get(row))


def _from_lists(file: BinaryIO) -> Iterator[Entry]:
    """CSV with one series a row: ``id,closes``, the closes in one cell with blanks or semicolons between."""
    line = 1
    text = pacsv.ConvertOptions(column_types={"id": pa.string(), "closes": pa.string()}, strings_can_be_null=False)
    names = pacsv.ReadOptions(column_names=["id", "closes"], skip_rows=1)
    try:
        for batch in pacsv.open_csv(file, read_options=names, convert_options=text):
            for series_id, cell in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                line += 1
                yield _from_cell(series_id, cell, line)
    except pa.ArrowInvalid as error:
        raise TableError(f"line {line + 1} or after: {error}") from error


def _from_cell(series_id: str, cell: str, line: int) -> Entry:
    try:
        return Entry(series_id, None, [_number(close) for close in re.split(r"[\s;]+", cell.strip()) if close])
    except ValueError as error:
        return Entry(series_id, None, (), f"line {line}: {error}; closes are numbers with blanks between")


def _number(text: str) -> float:
    if "_" in text or not text.isascii():  # which Python takes in a number
        raise ValueError(f"could not read {text!r} as a number")
    return float(text)


def _bounded(entry: Entry) -> Entry:
    name = entry.id or ""
    if len(name) > requests.MAX_ID_LENGTH or not name.isprintable():
        shown = name[: requests.MAX_ID_LENGTH].encode("unicode_escape").decode()
        wanted = f"an id has at most {requests.MAX_ID_LENGTH} printable characters"
        return Entry(shown, entry.as_of, (), f"has the id {shown[:60]!r}; {wanted}")
    if entry.fault or len(entry.closes) <= MAX_DAYS:
        return entry
    return Entry(entry.id, entry.as_of, (), f"has {len(entry.closes)} closes; at most {MAX_DAYS} are taken")


def _cut(entries: Iterable[Entry], chunk_rows: int, chunk_closes: int) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    closes = 0
    for entry in entries:
        chunk.append(entry)
        closes += len(entry.closes)
        if len(chunk) >= chunk_rows or closes >= chunk_closes:
            yield chunk
            chunk, closes = [], 0
    if chunk:
        yield chunk


def _record_batch(chunk: Sequence[Entry], *, first_row: int) -> pa.RecordBatch:
    closes = Ragged.of([() if entry.fault else entry.closes for entry in chunk])
    return pa.RecordBatch.from_arrays(
        [
            pa.array(range(first_row, first_row + len(chunk)), pa.int64()),
            pa.array([entry.id for entry in chunk], pa.string()),
            pa.array([entry.as_of for entry in chunk], pa.string()),
            pa.ListArray.from_arrays(pa.array(closes.offsets, pa.int32()), pa.array(closes.values)),
            pa.array([entry.fault for entry in chunk], pa.string()),
        ],
        schema=CHUNK_SCHEMA,
    )
