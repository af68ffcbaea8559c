"""
Parquet and Arrow: one series a row, or long.

What such a file says of itself is looked at before anything is decoded, and is not believed: series and closes are
counted again as they come, and every batch is validated before one of its cells is touched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from models.cells import doubles_of, quoted
from models.errors import DataError, NextdayError
from worker.errors import TableError
from worker.reading.csv_tables import Header, day_numbers, header_of
from worker.reading.grouping import Cells, Grouping, coded_ids
from worker.reading.limits import Limits, check_columns
from worker.reading.series import CLOSES, Batches, batch, check_joined, lengths_of, lists
from worker.reading.sources import RandomAccess, Source, made_ahead

BATCH_CLOSES = 240_000
"""Closes that are decoded at a time, by what the file says of itself."""
_LONG_ROWS = 32 * 1024
_BUFFER_BYTES = 1024 * 1024

_LISTS = (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray)

Open = Callable[[Source, Callable[[Sequence[str]], list[str]]], Iterator[pa.RecordBatch]]


def read_columnar(source: Source, open_batches: Open, what: str, join: Sequence[str]) -> Batches:
    """
    The series of a columnar file.

    Args:
        source: The file.
        open_batches: One of `parquet`, `arrow_file` and `arrow_stream`.
        what: The format, for people.
        join: Columns that are joined to the results.

    Raises:
        TableError: It cannot be read.
        UploadTooLarge: It has more than is taken.
        Scattered: As for `Grouping`.
    """
    found: list[Header] = []

    def choose(columns: Sequence[str]) -> list[str]:
        header = header_of(columns)
        found.append(header)
        if header.layout == "wide":
            raise TableError(f"a {what} table is long (id, date, close) or has a row a series (id, closes)")
        own = [header.columns[at] for at in header.places.values()]
        check_joined(join, [name for name in header.columns if name not in own])
        wanted = [*own, *join]
        if twice := [name for name in wanted if header.columns.count(name) > 1]:
            raise TableError(f"column {twice[0][:60]!r} is there twice; each name stands once")
        return wanted

    with _readable(what), closing(Grouping(source)) as grouping:
        for each in open_batches(source, choose):
            if found[0].layout == "rows":
                yield _series(found[0], each, join)
            else:
                grouping.add(_long(found[0], each, join))
                yield from grouping.whole()
        yield from grouping.batches()


def parquet(source: Source, choose: Callable[[Sequence[str]], list[str]]) -> Iterator[pa.RecordBatch]:
    """The batches of a Parquet file, decoded page by page."""
    opened = source.random_access()
    file = pq.ParquetFile(opened.file, buffer_size=_BUFFER_BYTES, pre_buffer=False)
    metadata = file.metadata
    check_columns(metadata.num_columns)
    wanted = choose(file.schema_arrow.names)
    closes = _declared(metadata, wanted, source.limits)
    by_rows = "closes" in [name.strip().lower() for name in wanted]
    a_row = max(1, closes // max(1, metadata.num_rows))
    size = max(1, min(_LONG_ROWS, BATCH_CLOSES // a_row)) if by_rows else _LONG_ROWS
    threads = source.limits.threads
    for each in made_ahead(file.iter_batches(size, columns=wanted, use_threads=threads > 1), threads):
        each.validate(full=True)
        yield each
        opened.release()


def arrow_file(source: Source, choose: Callable[[Sequence[str]], list[str]]) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file."""
    opened = source.random_access()
    wanted, options = _chosen(pa.ipc.open_file(opened.file).schema, choose, mapped=opened.mapped)
    opened.file.seek(0)
    reader = pa.ipc.open_file(opened.file, options=options)
    batches = (reader.get_batch(number).select(wanted) for number in range(reader.num_record_batches))
    yield from _pieces(batches, opened)


def arrow_stream(source: Source, choose: Callable[[Sequence[str]], list[str]]) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow stream."""
    opened = source.random_access()
    wanted, options = _chosen(pa.ipc.open_stream(opened.file).schema, choose, mapped=opened.mapped)
    opened.file.seek(0)
    batches = (each.select(wanted) for each in pa.ipc.open_stream(opened.file, options=options))
    yield from _pieces(batches, opened)


def _chosen(
    schema: pa.Schema, choose: Callable[[Sequence[str]], list[str]], *, mapped: bool
) -> tuple[list[str], pa.ipc.IpcReadOptions]:
    check_columns(len(schema.names))
    wanted = choose(schema.names)
    # Of a mapped file only what is looked at is read; to read some columns of it would be to copy them.
    places = [] if mapped else [schema.names.index(name) for name in wanted]
    return wanted, pa.ipc.IpcReadOptions(included_fields=places, use_threads=False)


def _pieces(batches: Iterable[pa.RecordBatch], opened: RandomAccess) -> Iterator[pa.RecordBatch]:
    """Batches by parts, so that what is made of one is bounded; each is validated before a cell of it is touched."""
    for whole in batches:
        whole.validate()
        values = sum(column.values.nbytes for column in whole.columns if isinstance(column, _LISTS))
        size = max(1, min(_LONG_ROWS, BATCH_CLOSES * len(whole) // max(1, values // 8)))
        for begin in range(0, len(whole), size):
            piece = whole.slice(begin, size)
            piece.validate(full=True)
            fetched = [opened.fetch(column.flatten()) for column in piece.columns if _lies_in_one(column)]
            yield piece
            if not any(fetched):
                opened.release()


def _lies_in_one(column: pa.Array) -> bool:
    """Whether a column's numbers are one piece of memory, of which `flatten` makes no copy."""
    return isinstance(column, _LISTS) and pa.types.is_primitive(column.type.value_type) and not column.null_count


def _declared(metadata: Any, wanted: Sequence[str], limits: Limits) -> int:
    """
    Closes that a Parquet file says it has.

    Raises:
        UploadTooLarge: They, or its rows, are more than are taken.
    """
    first = next(
        (at for at in range(metadata.num_columns) if metadata.schema.column(at).path.split(".")[0] == wanted[0]), 0
    )
    if "closes" in (name.strip().lower() for name in wanted):
        limits.check_rows(metadata.num_rows)
    else:
        limits.check_closes(metadata.num_rows)
    total = sum(metadata.row_group(group).column(first).num_values for group in range(metadata.num_row_groups))
    limits.check_closes(total)
    return int(total)


@contextmanager
def _readable(what: str) -> Iterator[None]:
    """
    Errors of a reader as one of ours.

    A damaged file makes it raise nearly anything: what of our own code may fail while it reads, fails as that too.
    """
    try:
        yield
    except DataError as error:
        raise TableError(str(error)) from error
    except (NextdayError, MemoryError, GeneratorExit):
        raise
    except Exception as error:
        raise TableError(f"the upload is not a {what} table that can be read: {str(error)[:200]}") from error


def _series(header: Header, each: pa.RecordBatch, join: Sequence[str]) -> pa.RecordBatch:
    names = {role: header.columns[at] for role, at in header.places.items()}
    ids = _text(each[names["id"]], names["id"])
    as_ofs = _days_text(each[names["as_of"]], names["as_of"]) if "as_of" in names else None
    closes, faults = _closes(each[names["closes"]])
    return batch(ids, as_ofs, closes, faults, _joined(each, join))


def _long(header: Header, each: pa.RecordBatch, join: Sequence[str]) -> Cells:
    names = {role: header.columns[at] for role, at in header.places.items()}
    dates, closes = (pa.chunked_array([_plain(each[names[role]])]) for role in ("date", "close"))
    values, blank = doubles_of("close", closes)
    return Cells(
        coded_ids(_text(each[names["id"]], names["id"])),
        day_numbers(_dates(dates)),
        values,
        blank if blank.any() else None,
        lambda at: (quoted(closes, at), quoted(dates, at)),
        _joined(each, join),
    )


def _joined(each: pa.RecordBatch, join: Sequence[str]) -> dict[str, pa.Array]:
    """The caller's own columns, of types that hold one value a row."""
    columns = {}
    for name in join:
        column = _plain(each[name])
        if pa.types.is_nested(column.type) or pa.types.is_null(column.type):
            raise TableError(
                f"column {name[:60]!r} holds {str(column.type)[:60]}; a column that is joined holds one value a row"
            )
        columns[name] = column
    return columns


def _plain(column: pa.Array) -> pa.Array:
    """A column without a dictionary or an extension of its own."""
    if isinstance(column, pa.ExtensionArray):
        column = column.storage
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_run_end_encoded(column.type):
        column = pc.run_end_decode(column)
    return column


def _text(column: pa.Array, name: str) -> pa.Array:
    column = _plain(column)
    if pa.types.is_nested(column.type) or pa.types.is_floating(column.type):
        raise TableError(f"column {name[:60]!r} holds {str(column.type)[:60]}; ids are text or whole numbers")
    texts = column.cast(pa.string())
    return pc.fill_null(texts, "") if texts.null_count else texts


def _days_text(column: pa.Array, name: str) -> pa.Array:
    """A column of days as text: those of a type of dates are written, others stay as they are."""
    column = _plain(column)
    if pa.types.is_timestamp(column.type) or pa.types.is_date(column.type):
        if pa.types.is_timestamp(column.type) and column.type.tz:
            column = pc.local_timestamp(column)
        return column.cast(pa.date32(), safe=False).cast(pa.string())
    return _text(column, name)


def _dates(column: pa.ChunkedArray) -> pa.ChunkedArray:
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_temporal(kind):
        return column
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind):
        return column.cast(pa.string())
    raise TableError(f"column `date` holds {str(kind)[:60]}; dates are dates, timestamps or text like 2026-11-20")


def _closes(column: pa.Array) -> tuple[pa.ListArray, dict[int, str]]:
    """Lists of numbers of any type as lists of float64; what is null is a fault."""
    column = _plain(column)
    kind = column.type
    numbers = getattr(kind, "value_type", None)
    if numbers is None or not (
        pa.types.is_integer(numbers) or pa.types.is_floating(numbers) or pa.types.is_decimal(numbers)
    ):
        raise TableError(f"column `closes` holds {str(kind)[:60]}; closes are lists of numbers")
    faults = dict.fromkeys(np.flatnonzero(column.is_null()).tolist(), "has no closes") if column.null_count else {}
    if pa.types.is_decimal(numbers):
        column = column.cast(pa.list_(pa.string()))  # which is read back to the nearest float64
    whole = column.cast(CLOSES, safe=False)
    if whole.null_count:
        lengths = np.where(np.asarray(whole.is_null()), 0, np.diff(whole.offsets.to_numpy()))
        whole = lists(whole.flatten().to_numpy(zero_copy_only=False), lengths)
    values = whole.flatten()
    if values.null_count:
        at = np.flatnonzero(values.is_null())
        owners = np.searchsorted(np.cumsum(lengths_of(whole)), at, side="right")
        begins = np.cumsum(lengths_of(whole)) - lengths_of(whole)
        rows, first = np.unique(owners, return_index=True)
        for row, place in zip(rows.tolist(), at[first].tolist(), strict=True):
            faults[row] = f"close {place - begins[row]} is null; a close is a positive, finite number"
        whole = lists(values.to_numpy(zero_copy_only=False), lengths_of(whole))
    return whole, faults
