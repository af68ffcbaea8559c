"""The formats in which results and errors are read: tables in, a file out, part by part and in bounded memory."""

import base64
import re
from typing import Any, BinaryIO, Protocol

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from worker.answers import encode
from worker.errors import UnsupportedFormat
from worker.media_types import ARROW_FILE, CSV, NDJSON, PARQUET, RESULT_SUFFIXES

FORMATS = tuple(RESULT_SUFFIXES)

ROW_GROUP_ROWS = 65_536
"""Of a Parquet file: enough for a reader to skip by, few enough to hold in memory."""
_FORMULA = r"^[\s\p{Z}\p{Cc}\p{Cf}]*[=+\-@\x{FF1D}\x{FF0B}\x{FF0D}\x{FF20}]|^[\t\r\n]"
"""What a spreadsheet may take for a formula, whatever blanks are before it; the wide ones are those of East Asia."""
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"


def check_format(media_type: str) -> None:
    """
    Say so where results cannot be had in a format.

    Raises:
        UnsupportedFormat: It is none of `FORMATS`.
    """
    if media_type not in RESULT_SUFFIXES:
        raise UnsupportedFormat(given=media_type, known=FORMATS)


class Shape:
    """
    What the rows of a file are like.

    Attributes:
        schema: Its columns: ours, then those joined from the upload.
        joined: How many of the columns are joined ones, under their own names.
        line: An NDJSON line with a gap a column.
    """

    def __init__(self, schema: pa.Schema, joined: list[str], object_line: bytes) -> None:
        """
        Of the columns that the file has.

        Args:
            schema: As the attribute.
            joined: The joined columns' own names, which are the last of the schema unless one of ours is called so.
            object_line: JSON of a row without its joined columns, with a gap a column.
        """
        self.schema = schema
        self.joined = joined
        gaps = b",".join(encode(name).replace(b"%", b"%%") + b":%b" for name in joined)
        own = object_line.removesuffix(b"}")
        self.line = (own + b',"joined":{%b}}\n' % gaps) if joined else object_line + b"\n"


class Writer(Protocol):
    """Takes tables of one schema and writes them into a file, which is whole after `close`."""

    def write(self, table: pa.Table) -> None:
        """Append rows."""

    def close(self) -> None:
        """Write what is left."""


def open_writer(media_type: str, sink: BinaryIO, shape: Shape) -> Writer:
    """
    A writer of one of `FORMATS`. The same tables give the same bytes.

    Args:
        media_type: Which.
        sink: Where the file goes; stays open.
        shape: Of the tables to come.
    """
    if media_type == NDJSON:
        return _Lines(sink, shape)
    if media_type == CSV:
        return _Csv(sink, shape)
    if media_type == PARQUET:
        return _Parquet(sink, shape)
    return _Arrow(media_type, sink, shape)


class _Lines:
    """NDJSON. Columns are written in one go and put together row by row, which takes a fifth of an object at a time."""

    def __init__(self, sink: BinaryIO, shape: Shape) -> None:
        self._sink = sink
        self._line = shape.line

    def write(self, table: pa.Table) -> None:
        columns = [json_texts(column) for column in table.columns]
        self._sink.write(b"".join([self._line % row for row in zip(*columns, strict=True)]))

    def close(self) -> None:
        pass


class _Csv:
    """CSV in which no text can be taken for a formula, and a float32 has its shortest digits."""

    def __init__(self, sink: BinaryIO, shape: Shape) -> None:
        names = safe(pa.chunked_array([pa.array(shape.schema.names, pa.string())])).to_pylist()
        sink.write(",".join(map(_header, names)).encode() + b"\n")
        self._sink = sink

    def write(self, table: pa.Table) -> None:
        # An id is a name: that of `-1` is kept from becoming a number, too.
        columns = [
            safe(plain(column), numbers=name != "id")
            for name, column in zip(table.column_names, table.columns, strict=True)
        ]
        text = pa.table(columns, names=[str(place) for place in range(len(columns))])
        options = pacsv.WriteOptions(include_header=False, quoting_style="needed", batch_size=8192)
        pacsv.write_csv(text, self._sink, options)

    def close(self) -> None:
        pass


class _Parquet:
    """
    Parquet in row groups of one size.

    zstd at its lowest level: a fifth smaller than snappy, and no slower to read back. Pages have checksums, since a
    bit that flips in one would otherwise be another number.
    """

    def __init__(self, sink: BinaryIO, shape: Shape) -> None:
        text = [field.name for field in shape.schema if pa.types.is_string(field.type) and field.name != "id"]
        self._writer = pq.ParquetWriter(
            sink,
            shape.schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=text,
            write_page_checksum=True,
        )
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def write(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += len(table)
        while self._rows >= ROW_GROUP_ROWS:
            self._write_group()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._writer.close()

    def _write_group(self) -> None:
        waiting = pa.concat_tables(self._waiting)
        group, left = waiting.slice(0, ROW_GROUP_ROWS), waiting.slice(ROW_GROUP_ROWS)
        self._writer.write_table(group, row_group_size=ROW_GROUP_ROWS)
        self._waiting, self._rows = [left], len(left)


class _Arrow:
    """Arrow, as a file or as a stream; a record batch is a chunk of the job."""

    def __init__(self, media_type: str, sink: BinaryIO, shape: Shape) -> None:
        opened = pa.ipc.new_file if media_type == ARROW_FILE else pa.ipc.new_stream
        self._writer = opened(sink, shape.schema)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table.combine_chunks())

    def close(self) -> None:
        self._writer.close()


def safe(column: pa.ChunkedArray, *, numbers: bool = True) -> pa.ChunkedArray:
    """
    A column whose texts no spreadsheet takes for a formula: an apostrophe goes before those that it might.

    Args:
        column: Of a table; where it holds no texts it stays as it is.
        numbers: Whether texts that are numbers stay as they are, since what a spreadsheet makes of ``-1.5`` is -1.5.
    """
    if not pa.types.is_string(column.type):
        return column
    risky = pc.match_substring_regex(column, _FORMULA)
    if not pc.any(risky).as_py():
        return column
    if numbers:
        risky = pc.and_not(risky, pc.match_substring_regex(column, _NUMBER))
    return pc.if_else(risky, pc.binary_join_element_wise("'", column, ""), column)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as numbers, truth values or strings, which is all that CSV and JSON have."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(column.cast(kind.value_type))
    if pa.types.is_float16(kind):
        return column.cast(pa.float32())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind) or pa.types.is_string(kind):
        return column
    try:
        return column.cast(pa.string())  # dates, times and decimals, as Arrow writes them; other kinds of string
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        texts = [None if value is None else orjson.dumps(value, default=_text).decode() for value in column.to_pylist()]
        return pa.chunked_array([pa.array(texts, pa.string())])


def json_texts(column: pa.ChunkedArray) -> list[bytes]:
    """The values of a column as JSON, those of numbers all at once."""
    column = plain(column)
    if not len(column):
        return []
    if pa.types.is_string(column.type):
        return _json_strings(column)
    if pa.types.is_floating(column.type) or (pa.types.is_integer(column.type) and not column.null_count):
        # A null among floats is a NaN in numpy, and a NaN is null in JSON.
        return encode(column.to_numpy())[1:-1].split(b",")
    return orjson.dumps(column.to_pylist())[1:-1].split(b",")


def _json_strings(column: pa.ChunkedArray) -> list[bytes]:
    """
    Strings as JSON, written in one go and then taken apart, which one by one takes ten times as long.

    JSON has no character below a blank within a string, so these can stand for what is in the way: a quote that is
    still there ends a string. The search begins within the first one, or a string of a comma would be mistaken.
    """
    inner = orjson.dumps(column.fill_null("").to_pylist())[2:-2]
    inner = inner.replace(rb"\\", b"\0").replace(rb"\"", b"\1").replace(b'","', b'"\n"')
    texts = (b'"' + inner.replace(b"\1", rb"\"").replace(b"\0", rb"\\") + b'"').split(b"\n")
    if column.null_count:
        for place in np.flatnonzero(column.is_null().to_numpy()).tolist():
            texts[place] = b"null"
    return texts


def _text(value: Any) -> str:
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _header(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if re.search(r'[",\r\n]', name) else name
