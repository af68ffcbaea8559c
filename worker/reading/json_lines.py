"""
NDJSON: one series a line, or one object a series and day.

A block of lines is decoded at once where each of its lines is right; where not, line by line, so that one that is wrong
costs its own series and is named.
"""

import datetime
import functools
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.json as pajson

from models import panel
from models.cells import day
from models.errors import InputError
from worker import requests
from worker.errors import TableError
from worker.reading.alike import days_by_quotes
from worker.reading.grouping import NO_DAY, Cells, coded_ids, grouped, quoting
from worker.reading.series import CLOSES, Batches, batch, check_joined, lists, scalar_text
from worker.reading.sources import Lines, Source, in_order, line_blocks

_ROWS = pa.schema([("id", pa.string()), ("closes", CLOSES), ("as_of", pa.string())])
_EXACT = "error"
"""What Arrow is to do about a field that is not in the schema."""
_EPOCH = datetime.date(1970, 1, 1)


def read_ndjson(source: Source, join: tuple[str, ...]) -> Batches:
    """
    The series of some NDJSON.

    Raises:
        TableError: A line is too long, or a column that is to be joined is in none.
        UploadTooLarge: It has more than is taken.
    """
    blocks = line_blocks(source.stream())
    first = next(blocks, None)
    if first is None:
        return
    fields = _first_fields(first)
    all_blocks = chain([first], blocks)
    if named := _long_id(fields):
        check_joined(join, [name for name in fields if name not in (named, "date", "close")])
        yield from _days(source, all_blocks, named, join)
        return
    check_joined(join, [name for name in fields if name not in _ROWS.names])
    yield from in_order(functools.partial(_series, join), all_blocks, source.limits.threads)


def _first_fields(block: Lines) -> list[str]:
    """The fields of the first line that is an object."""
    for line in block.text.split(b"\n", 1000):
        try:
            fields = requests.parse(line)
        except InputError:
            continue
        if isinstance(fields, dict):
            return list(fields)
    return []


def _long_id(fields: Sequence[str]) -> str | None:
    """The field that names the series, where objects with those fields are one a day."""
    if "closes" in fields or not {"date", "close"} <= set(fields):
        return None
    return next((name for name in panel.ID_COLUMNS if name in fields), None)


def _series(join: tuple[str, ...], block: Lines) -> pa.RecordBatch:
    if not join and (made := _series_at_once(block)) is not None:
        return made
    decoded = requests.decode_block(block.text, join) if _is_dense(block.text) else None
    return series_batch(decoded, {}, join) if decoded is not None else _series_by_line(block, join)


def _series_at_once(block: Lines) -> pa.RecordBatch | None:
    """A block in which nothing is wrong; None where something may be."""
    table = _arrow(block, _ROWS)
    if table is None:
        return None
    ids, closes, as_ofs = table.columns
    values = closes.flatten()
    if ids.null_count or closes.null_count or values.null_count:
        return None
    if not np.isfinite(values.to_numpy(zero_copy_only=False)).all():
        return None
    made = batch(ids, as_ofs, closes, {})
    return None if made["fault"].null_count < len(made) else made


def _arrow(block: Lines, schema: pa.Schema) -> pa.RecordBatch | None:
    """
    A block by Arrow's reader, where that is as strict as JSON; None where it may not be.

    It takes two objects in a line, and an object over two: so each line has to begin and end with a brace.
    """
    if not _is_dense(block.text):
        return None
    try:
        table = pajson.read_json(
            pa.BufferReader(block.text),
            pajson.ReadOptions(use_threads=False, block_size=len(block.text) + 1),
            pajson.ParseOptions(explicit_schema=schema, unexpected_field_behavior=_EXACT, newlines_in_values=False),
        )
        (made,) = table.combine_chunks().select(schema.names).to_batches()
        made.validate(full=True)
    except (pa.ArrowException, UnicodeDecodeError, ValueError):
        return None
    return made if len(made) == block.text.count(b"\n") + (not block.text.endswith(b"\n")) else None


def _is_dense(text: bytes) -> bool:
    """Whether each line begins and ends with a brace, and none is empty."""
    lines = text.count(b"\n") + (not text.endswith(b"\n"))
    between = text.count(b"}\n{") or text.count(b"}\r\n{")
    return text[:1] == b"{" and text[-3:].rstrip(b"\r\n")[-1:] == b"}" and between == lines - 1


def _series_by_line(block: Lines, join: tuple[str, ...]) -> pa.RecordBatch:
    decoded: list[requests.Series] = []
    faults: dict[int, str] = {}
    kind = requests.series_type(join)
    for number, line in enumerate(block.text.split(b"\n"), block.first):
        if not line or line.isspace():
            continue
        try:
            decoded.append(requests.decode_series(line, join))
        except InputError as error:
            faults[len(decoded)] = f"line {number}: {error}"
            decoded.append(kind("", []))
    return series_batch(decoded, faults, join)


def series_batch(decoded: Sequence[requests.Series], faults: dict[int, str], join: tuple[str, ...]) -> pa.RecordBatch:
    """
    Decoded series as a batch.

    Args:
        decoded: B series; those at fault have an empty id where theirs is not known.
        faults: By row.
        join: The fields that are joined.
    """
    closes = [series.closes for series in decoded]
    lengths = np.fromiter(map(len, closes), np.int64, len(closes))
    values = np.fromiter(chain.from_iterable(closes), np.float64, int(lengths.sum()))
    joined = {
        name: pa.array([scalar_text(getattr(each, f"joined_{place}")) for each in decoded], pa.string())
        for place, name in enumerate(join)
    }
    ids = pa.array([series.id or None for series in decoded], pa.string())
    as_ofs = pa.array([series.as_of for series in decoded], pa.string())
    return batch(ids, as_ofs, lists(values, lengths), faults, joined)


def _days(source: Source, blocks: Any, named: str, join: tuple[str, ...]) -> Batches:
    parse = functools.partial(_day_cells, named, join)
    found = in_order(parse, blocks, source.limits.threads)
    yield from grouped(source, (([cells], refused) for cells, refused in found))


def _day_cells(named: str, join: tuple[str, ...], block: Lines) -> tuple[Cells, list[tuple[str, str]]]:
    if not join:
        cells = days_by_quotes(named, block.text) or _days_at_once(named, block)
        if cells is not None:
            return cells, []
    return days_of_lines(
        ((number, line) for number, line in enumerate(block.text.split(b"\n"), block.first)), named, join
    )


def _days_at_once(named: str, block: Lines) -> Cells | None:
    """Objects a day in which nothing is wrong; None where something may be."""
    made = _arrow(block, pa.schema([(named, pa.string()), ("date", pa.string()), ("close", pa.float64())]))
    if made is None or any(column.null_count for column in made.columns):
        return None
    ids, dates, closes = made.columns
    values = closes.to_numpy()
    if len(values) and not (values.min() > 0 and np.isfinite(values.max())):
        return None
    try:
        days = dates.cast(pa.date32()).cast(pa.int32()).to_numpy()
    except pa.ArrowInvalid:
        return None
    return Cells(coded_ids(ids), days, values, None, lambda at: (str(values[at]), repr(dates[at].as_py())))


def days_of_lines(
    lines: Any, named: str, join: tuple[str, ...], *, what: str = "line"
) -> tuple[Cells, list[tuple[str, str]]]:
    """
    Objects a day, one by one.

    Args:
        lines: Numbers and texts of lines.
        named: The field that names the series.
        join: The fields that are joined.
        what: A line is called.

    Returns:
        What could be read, and what is wrong with the rest: the series' name, and in words.
    """
    rows: list[tuple[str, int, float, Any, Any, list[str | None]]] = []
    refused = []
    for number, line in lines:
        if not line or line.isspace():
            continue
        try:
            rows.append(_day(requests.parse(line), named, join))
        except InputError as error:
            refused.append((_name_in(line, named), f"{what} {number}: {error}"))
    ids, days, closes, dates, given, extras = zip(*rows, strict=True) if rows else ((),) * 6
    values = np.array(closes, np.float64)
    joined = {name: pa.array([extra[place] for extra in extras], pa.string()) for place, name in enumerate(join)}
    blank = np.array([each is None for each in given], bool)
    cells = Cells(
        coded_ids(pa.array(ids, pa.string())), np.array(days, np.int32), values, blank, quoting(given, dates), joined
    )
    return cells, refused


def _day(item: Any, named: str, join: tuple[str, ...]) -> tuple[str, int, float, Any, Any, list[str | None]]:
    """An object a day: id, day, close, date and close as given, and what is joined."""
    wanted = f"an object a day has `{named}`, `date` and `close`"
    if not isinstance(item, dict):
        raise TableError(f"it is no object; {wanted}")
    known = {named, "date", "close", *join}
    if unknown := [name for name in item if name not in known]:
        raise TableError(f"`{requests.token(unknown[0])}` is no field of it; {wanted}")
    name, date, close = item.get(named), item.get("date"), item.get("close")
    if not isinstance(name, str) or not isinstance(date, str):
        raise TableError(f"`{named}` and `date` are text; {wanted}")
    if close is not None and type(close) not in (int, float):
        raise TableError(f"`close` is {requests.shown(close)}; {requests.CLOSE}")
    extras = [item.get(field) for field in join]
    if any(isinstance(extra, (dict, list, requests.NotJson)) for extra in extras):
        raise TableError("a field that is joined is text, a number, true, false or null")
    found = day(date)
    number = NO_DAY if found is None else (found - _EPOCH).days
    return name, number, np.nan if close is None else float(close), repr(date), close, [*map(scalar_text, extras)]


def _name_in(line: bytes, named: str) -> str:
    """The series that a faulty line is of, as far as it can be told."""
    try:
        item = requests.parse(line)
    except InputError:
        return ""
    name = item.get(named) if isinstance(item, dict) else None
    return name if isinstance(name, str) else ""
