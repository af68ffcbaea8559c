"""The same prices in every format, layout and encoding, and how uploads are read in tests."""

import csv
import datetime
import gzip
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from worker.media_types import ARROW_FILE, ARROW_STREAM, CSV, JSON, NDJSON, PARQUET
from worker.reading.formats import read
from worker.reading.limits import Limits
from worker.reading.sources import Source

Series = tuple[str, list[float]]
Made = tuple[bytes, str]


def records(body: bytes, media_type: str, encoding: str = "", join: tuple[str, ...] = (), **limits: int) -> list[dict]:
    """The series of an upload, a dict a series."""
    batches, _ = read(Source(io.BytesIO(body), encoding, Limits(**limits)), media_type, join)
    return [row for batch in batches for row in batch.to_pylist()]


def day(number: int) -> datetime.date:
    return datetime.date(2024, 1, 2) + datetime.timedelta(number)


def table_of(series: Sequence[Series], extra: dict[str, list[Any]] | None = None) -> pa.Table:
    ids, closes = [name for name, _ in series], [own for _, own in series]
    return pa.table(
        {"id": pa.array(ids, pa.string()), "closes": pa.array(closes, pa.list_(pa.float64())), **(extra or {})}
    )


def long_table_of(series: Sequence[Series]) -> pa.Table:
    rows = [(name, day(at), close) for name, closes in series for at, close in enumerate(closes)]
    ids, dates, closes = zip(*rows, strict=True) if rows else ((), (), ())
    return pa.table(
        {
            "id": pa.array(ids, pa.string()),
            "date": pa.array(dates, pa.date32()),
            "close": pa.array(closes, pa.float64()),
        }
    )


def parquet(table: pa.Table, **options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def arrow(table: pa.Table, opened: Callable[..., Any] = pa.ipc.new_file) -> bytes:
    sink = io.BytesIO()
    with opened(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return sink.getvalue()


def csv_text(rows: Sequence[Sequence[Any]]) -> bytes:
    sink = io.StringIO()
    csv.writer(sink, lineterminator="\n").writerows(rows)
    return sink.getvalue().encode()


def lines(objects: Sequence[dict]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in objects)


def _wide(series: Sequence[Series]) -> bytes:
    days = max((len(closes) for _, closes in series), default=0)
    columns = [[*closes, *[""] * (days - len(closes))] for _, closes in series]
    header = ["date", *(name for name, _ in series)]
    return csv_text([header, *([day(at), *(own[at] for own in columns)] for at in range(days))])


def _objects(series: Sequence[Series]) -> list[dict]:
    return [{"id": name, "closes": closes} for name, closes in series]


def _days(series: Sequence[Series]) -> list[dict]:
    return [
        {"id": name, "date": str(day(at)), "close": close} for name, closes in series for at, close in enumerate(closes)
    ]


def _cells(series: Sequence[Series]) -> bytes:
    return csv_text([["id", "closes"], *([name, " ".join(map(repr, closes))] for name, closes in series)])


def _long(series: Sequence[Series]) -> bytes:
    rows = [list(each.values()) for each in _days(series)]
    return csv_text([["id", "date", "close"], *rows])


WAYS: dict[str, Callable[[Sequence[Series]], Made]] = {
    "json rows": lambda series: (json.dumps({"series": _objects(series)}).encode(), JSON),
    "json long": lambda series: (json.dumps({"days": _days(series)}).encode(), JSON),
    "ndjson rows": lambda series: (lines(_objects(series)), NDJSON),
    "ndjson long": lambda series: (lines(_days(series)), NDJSON),
    "csv rows": lambda series: (_cells(series), CSV),
    "csv long": lambda series: (_long(series), CSV),
    "csv wide": lambda series: (_wide(series), CSV),
    "parquet rows": lambda series: (parquet(table_of(series)), PARQUET),
    "parquet long": lambda series: (parquet(long_table_of(series)), PARQUET),
    "arrow rows": lambda series: (arrow(table_of(series)), ARROW_FILE),
    "arrow long": lambda series: (arrow(long_table_of(series)), ARROW_FILE),
    "stream rows": lambda series: (arrow(table_of(series), pa.ipc.new_stream), ARROW_STREAM),
    "stream long": lambda series: (arrow(long_table_of(series), pa.ipc.new_stream), ARROW_STREAM),
}
"""Every format in each of its layouts."""
PACKED: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    "gzip": gzip.compress,
    "zstd": lambda body: pa.Codec("zstd").compress(body, asbytes=True),
}
