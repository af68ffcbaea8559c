"""Stored results of chunks as what callers read: NDJSON and CSV, forecasts apart from errors."""

from io import BytesIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from worker.answers import Levels, encode
from worker.answers import forecasts as json_forecasts
from worker.errors import UnsupportedFormat
from worker.tables import CSV, NDJSON

FORMATS = (NDJSON, CSV)


def check_format(media_type: str) -> None:
    """
    Say so where results cannot be had in a format.

    Raises:
        UnsupportedFormat: It is none of `FORMATS`.
    """
    if media_type not in FORMATS:
        raise UnsupportedFormat(given=media_type, known=FORMATS)


def forecasts(results: pa.Table, media_type: str, levels: Levels, *, first: bool) -> bytes:
    """
    A chunk's forecasts; the rows with an error are not among them.

    Args:
        results: As `worker.scoring.RESULT_SCHEMA` has them.
        media_type: One of `FORMATS`.
        levels: Which quantiles.
        first: Whether this is the job's first chunk, which has the CSV's header.
    """
    good = results.filter(pc.is_null(results["error"]))
    quantiles = good["quantiles"].combine_chunks().flatten().to_numpy().reshape(len(good), levels.known)
    if media_type == CSV:
        return _csv(_columns(good, quantiles, levels), first=first)
    last_closes = good["last_close"].to_numpy()
    lines = json_forecasts(good["id"].to_pylist(), good["as_of"].to_pylist(), last_closes, quantiles, levels)
    return b"".join(line + b"\n" for line in lines)


def errors(results: pa.Table, media_type: str, *, first: bool) -> bytes:
    """A chunk's rows that have an error: their place among the job's series from 0, id, and what is wrong."""
    bad = results.filter(pc.is_valid(results["error"])).select(["row", "id", "error"])
    if media_type == CSV:
        return _csv(bad, first=first)
    return b"".join(encode(row) + b"\n" for row in bad.to_pylist())


def _columns(
    good: pa.Table, quantiles: "np.ndarray[tuple[int, int], np.dtype[np.float32]]", levels: Levels
) -> pa.Table:
    columns = {name: good[name] for name in ("id", "as_of", "last_close")}
    columns["median"] = quantiles[:, levels.median]
    for key, column in zip(levels.keys, levels.columns, strict=True):
        columns[key] = quantiles[:, column]
    return pa.table(columns)


def _csv(table: pa.Table, *, first: bool) -> bytes:
    """CSV in which no id or message can be taken for a formula, and a float32 has its shortest digits."""
    for name in ("id", "error"):
        if name in table.column_names:
            safe = pc.replace_substring_regex(table[name], r"^([=+\-@\t\r])", r"'\1")
            table = table.set_column(table.column_names.index(name), name, safe)
    sink = BytesIO()
    pacsv.write_csv(
        table, sink, pacsv.WriteOptions(include_header=first, quoting_style="needed", quoting_header="none")
    )
    return sink.getvalue()
