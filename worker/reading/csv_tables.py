"""
CSV: one series a row, long, or wide; parsed by blocks of whole lines.

A block whose rows are all right is converted by its types. One that has a fault is read again as text, so that the
fault can be quoted as it stands in the upload, with its line.
"""

import csv
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from models import panel
from models.cells import LONGEST_QUOTE, days_of, doubles_of, quoted
from models.errors import DataError
from worker.errors import TableError
from worker.reading.closes import lists_of_cells
from worker.reading.grouping import NO_DAY, Cells, coded_ids, grouped
from worker.reading.limits import check_columns
from worker.reading.series import Batches, batch, check_joined
from worker.reading.sources import Lines, Source, in_order, line_blocks

_MAX_HEADER_BYTES = 1024 * 1024
_WHAT = "a CSV table has a row a series and day, or a row a series"
LAYOUTS = f"a row a series (id, closes), or {panel.LAYOUTS}"


@dataclass(frozen=True, slots=True)
class Header:
    """
    A table's columns.

    Attributes:
        columns: As they stand in the table.
        layout: rows, long or wide.
        places: Where `id`, `date`, `close`, `closes` and `as_of` are, of those that the layout has.
    """

    columns: list[str]
    layout: str
    places: dict[str, int]


def header_of(columns: Sequence[str]) -> Header:
    """
    What a table with those columns is.

    Raises:
        TableError: It is no table of closes.
    """
    check_columns(len(columns))
    names = [column.strip().lower() for column in columns]
    named = next((name for name in panel.ID_COLUMNS if name in names), "")
    if "closes" in names and named:
        wanted = [name for name in ("closes", "as_of", named) if name in names]
        if twice := [name for name in wanted if names.count(name) > 1]:
            raise TableError(f"column {twice[0]!r} is there twice; each name stands once")
        return Header(list(columns), "rows", {"id" if name == named else name: names.index(name) for name in wanted})
    if "date" not in names and "closes" not in names and "close" not in names:
        first = ", ".join(repr(column[:LONGEST_QUOTE]) for column in columns[:10])
        more = ", ..." if len(columns) > 10 else ""
        raise TableError(f"found the columns {first}{more}; a table of closes is {LAYOUTS}")
    try:
        layout = panel.layout(columns)
    except DataError as error:
        raise TableError(str(error)) from error
    if layout == "wide":
        return Header(list(columns), layout, {"date": names.index("date")})
    places = {"id": names.index(named), "date": names.index("date"), "close": names.index("close")}
    return Header(list(columns), layout, places)


def read_csv(source: Source, join: Sequence[str]) -> Batches:
    """
    The series of a CSV table.

    Raises:
        TableError: It is none; the message names the line.
        UploadTooLarge: It has more than is taken.
    """
    blocks = line_blocks(source.stream(), what=_WHAT)
    header, blocks = _behind_header(blocks)
    named = _joined_places(header, join)
    if header.layout == "rows":
        parse: Callable[[Lines], pa.RecordBatch] = functools.partial(_series_rows, header, named)
        yield from in_order(parse, blocks, source.limits.threads)
        return
    if header.layout == "wide":  # each block has all series
        source = replace(source, side_by_side=False)
    cells = functools.partial(_long_cells if header.layout == "long" else _wide_cells, header, named)
    yield from grouped(source, in_order(cells, blocks, source.limits.threads))


def _joined_places(header: Header, join: Sequence[str]) -> dict[str, int]:
    if header.layout == "wide":
        check_joined(join, [])
        return {}
    there = {column: at for at, column in enumerate(header.columns) if at not in header.places.values()}
    check_joined(join, list(there))
    return {name: there[name] for name in join}


def _behind_header(blocks: Iterator[Lines]) -> tuple[Header, Iterator[Lines]]:
    first = next(blocks, Lines(b"", 1))
    head, _, rest = first.text.partition(b"\n")
    if len(head) > _MAX_HEADER_BYTES:
        raise TableError(f"its first line is longer than {_MAX_HEADER_BYTES} bytes; a table of closes is {LAYOUTS}")
    try:
        text = head.decode("utf-8-sig").strip()
        if not text:
            raise TableError(f"its first line is empty, where column names belong; a table of closes is {LAYOUTS}")
        columns = next(csv.reader([text], strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise TableError(f"line 1 is not a header of CSV: {error}") from error

    def behind() -> Iterator[Lines]:
        if rest:
            yield Lines(rest, 2)
        yield from blocks

    return header_of(columns), behind()


@dataclass(slots=True)
class _Rows:
    """A block's rows of the right number of columns as text, and the others: line, cells' text, and what is wrong."""

    table: pa.Table
    lines: npt.NDArray[np.int64]
    refused: list[tuple[int, str, str]]


def _parsed(
    header: Header,
    block: Lines,
    types: dict[int, pa.DataType],
    on_bad_row: Callable[[pacsv.InvalidRow], str] | None = None,
) -> pa.Table:
    """Some columns of a block, named by their places, of some types; ArrowInvalid where they cannot be of those."""
    names = [str(at) for at in range(len(header.columns))]
    return pacsv.read_csv(
        pa.BufferReader(block.text),
        pacsv.ReadOptions(use_threads=False, column_names=names, block_size=len(block.text) + 1),
        pacsv.ParseOptions(newlines_in_values=False, invalid_row_handler=on_bad_row),
        pacsv.ConvertOptions(
            include_columns=[str(at) for at in types],
            column_types={str(at): kind for at, kind in types.items()},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _rows(header: Header, block: Lines, kind: pa.DataType, places: Sequence[int]) -> _Rows:
    """
    Some columns of a block as text.

    Raises:
        TableError: A quote is not closed, or a line is no text.
    """
    _check_quotes(block)
    wrong: list[tuple[int, int, str]] = []

    def skip(row: pacsv.InvalidRow) -> str:
        wrong.append((row.number - 1, row.actual_columns, row.text))
        return "skip"

    try:
        table = _parsed(header, block, dict.fromkeys(places, kind), skip)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if not block.text.strip(b"\r\n"):
            return _Rows(pa.table({str(at): pa.array([], kind) for at in places}), np.empty(0, np.int64), [])
        raise TableError(f"{_where_no_text(block)}: it is not a CSV table in UTF-8: {error}") from error
    lines = _line_numbers(block)
    taken = np.ones(len(lines), bool)
    taken[[at for at, _, _ in wrong]] = False
    count = len(header.columns)
    refused = [
        (int(lines[at]), text, f"line {lines[at]}: has {found} columns, where the header has {count}")
        for at, found, text in wrong
    ]
    return _Rows(table, lines[taken], refused)


def _line_numbers(block: Lines) -> npt.NDArray[np.int64]:
    """Lines of a block that are not empty, as the parser counts its rows."""
    lines = block.text.split(b"\n")
    there = [at for at, line in enumerate(lines) if line not in (b"", b"\r")]
    return np.array(there, np.int64) + block.first


def _check_quotes(block: Lines) -> None:
    if b'"' not in block.text:
        return
    text = np.frombuffer(block.text, np.uint8)
    quotes, ends = np.flatnonzero(text == ord('"')), np.flatnonzero(text == ord("\n"))
    odd = np.flatnonzero(np.diff(np.searchsorted(quotes, ends), prepend=0, append=len(quotes)) % 2)
    if len(odd):
        raise TableError(f"line {block.first + odd[0]} has a quote that is not closed in the line; a cell has one line")


def _where_no_text(block: Lines) -> str:
    try:
        block.text.decode()
    except UnicodeDecodeError as error:
        return f"line {block.first + block.text.count(10, 0, error.start)}"
    return f"line {block.first} or after"


def _series_rows(header: Header, joined: dict[str, int], block: Lines) -> pa.RecordBatch:
    """One series a row."""
    places = header.places
    rows = _rows(header, block, pa.string(), [*places.values(), *joined.values()])

    def column(at: int) -> pa.Array:
        return rows.table[str(at)].combine_chunks()

    cells = pc.fill_null(column(places["closes"]), "")
    closes, faults = lists_of_cells(cells)
    as_ofs = column(places["as_of"]) if "as_of" in places else None
    told = {row: f"line {rows.lines[row]}: {fault}" for row, fault in faults.items()}
    made = batch(
        pc.fill_null(column(places["id"]), ""), as_ofs, closes, told, {name: column(at) for name, at in joined.items()}
    )
    return _put_back(made, rows) if rows.refused else made


def _put_back(made: pa.RecordBatch, rows: _Rows) -> pa.RecordBatch:
    """The rows whose number of columns is wrong, as faults, at their places among the others."""
    count = len(rows.refused)
    nothing = {name: pa.nulls(count, kind) for name, kind in zip(made.schema.names, made.schema.types, strict=True)}
    nothing["closes"] = pa.array([[]] * count, made.schema.field("closes").type)
    nothing["fault"] = pa.array([fault for _, _, fault in rows.refused], pa.string())
    both = pa.concat_batches([made, pa.RecordBatch.from_pydict(nothing, schema=made.schema)])
    order = np.argsort(np.r_[rows.lines, [line for line, _, _ in rows.refused]], kind="stable")
    return both.take(pa.array(order))


_Parts = tuple[list[Cells], list[tuple[str, str]]]


def _long_cells(header: Header, joined: dict[str, int], block: Lines) -> _Parts:
    """A row a series and day."""
    at_id, at_date, at_close = (header.places[name] for name in ("id", "date", "close"))
    ids = pa.dictionary(pa.int32(), pa.string())
    types = {at_id: ids, at_date: pa.date32(), at_close: pa.float64(), **dict.fromkeys(joined.values(), pa.string())}
    try:
        if b'"' in block.text:
            _check_quotes(block)
        table = _parsed(header, block, types).combine_chunks()
    except (pa.ArrowException, UnicodeDecodeError):
        return _long_text(header, joined, block)
    closes, dates = table[str(at_close)], table[str(at_date)]
    values = closes.to_numpy()
    if closes.null_count or dates.null_count or not (values.min(initial=np.inf) > 0 and values.max(initial=1) < np.inf):
        return _long_text(header, joined, block)
    days = dates.cast(pa.int32()).to_numpy()
    columns = {name: table[str(at)].combine_chunks() for name, at in joined.items()}
    ids = coded_ids(_one(table[str(at_id)]))
    return [Cells(ids, days, values, None, lambda at: (str(values[at]), str(dates[at])), columns)], []


def _long_text(header: Header, joined: dict[str, int], block: Lines) -> _Parts:
    """The same, so that what is wrong can be quoted."""
    at_id, at_date, at_close = (header.places[name] for name in ("id", "date", "close"))
    rows = _rows(header, block, pa.string(), [at_id, at_date, at_close, *joined.values()])
    closes, dates = rows.table[str(at_close)], rows.table[str(at_date)]
    values, blank = doubles_of("close", closes)
    cells = Cells(
        coded_ids(_one(rows.table[str(at_id)])),
        day_numbers(dates),
        values,
        blank,
        lambda at: (quoted(closes, at), quoted(dates, at)),
        {name: rows.table[str(at)].combine_chunks() for name, at in joined.items()},
    )
    return [cells], [(_cell(text, at_id), fault) for _, text, fault in rows.refused]


def _wide_cells(header: Header, _: dict[str, int], block: Lines) -> _Parts:
    """A row a day, a column a series."""
    at_date = header.places["date"]
    ids = [at for at in range(len(header.columns)) if at != at_date]
    try:
        if b'"' in block.text:
            _check_quotes(block)
        table = _parsed(header, block, {at_date: pa.date32(), **dict.fromkeys(ids, pa.float64())})
    except (pa.ArrowException, UnicodeDecodeError):
        rows = _rows(header, block, pa.string(), [at_date, *ids])
        if rows.refused:
            raise TableError(rows.refused[0][2]) from None
        table = rows.table
    days, dates = day_numbers(table[str(at_date)]), table[str(at_date)]
    columns = [doubles_of(header.columns[at], table[str(at)]) for at in ids]
    count = len(table)
    codes = pa.DictionaryArray.from_arrays(
        pa.array(np.repeat(np.arange(len(ids), dtype=np.int32), count)), pa.array([header.columns[at] for at in ids])
    )
    cells = Cells(
        codes,
        np.tile(days, len(ids)),
        np.concatenate([values for values, _ in columns]),
        np.concatenate([blank for _, blank in columns]),
        lambda at: (quoted(table[str(ids[at // count])], at % count), quoted(dates, at % count)),
    )
    return [cells] if count else [], []


def day_numbers(column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
    """A column of dates as days since 1970, `NO_DAY` where one cannot be read. Shape ``(N,)``."""
    days = days_of(column)
    return np.where(np.isnat(days), NO_DAY, days.astype(np.int64)).astype(np.int32)


def _one(column: pa.ChunkedArray) -> pa.Array:
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _cell(text: str, at: int) -> str:
    """A cell of a row of too few or too many, the empty text where it is not there."""
    try:
        cells = next(csv.reader([text]), [])
    except csv.Error:
        return ""
    return cells[at] if at < len(cells) else ""
