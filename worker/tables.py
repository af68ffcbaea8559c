"""
Series in, chunks out: record batches of series become one Arrow file whose record batches are the job's chunks.

The first chunks are small, so that a job's first rows are there at once; then they grow with what came before, so that
a job of any size has some hundreds of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from models.errors import EmptyRequest
from worker.errors import TableError
from worker.reading.limits import Limits
from worker.reading.series import JOINED, SERIES_FIELDS, lengths_of

CHUNK_SCHEMA = pa.schema([("row", pa.int64()), *SERIES_FIELDS])
"""Of a chunk, behind which the caller's own columns stand, named `joined.<name>`."""
FIRST_ROWS, FIRST_CLOSES = 4_000, 240_000
"""Of the first chunks: little more than a tenth of a second of work."""
SHARE = 128
"""A chunk is at most this part of what came before it, once that is more than the first ones'."""


@dataclass(frozen=True, slots=True)
class Plan:
    """
    How an upload was cut.

    Attributes:
        total: Series in all.
        chunks: Record batches in the file.
        closes: Over all series.
        joined: Names of the caller's own columns, without what marks them in the file.
    """

    total: int
    chunks: int
    closes: int = 0
    joined: tuple[str, ...] = ()


def write_chunks(
    batches: Iterable[pa.RecordBatch],
    sink: BinaryIO,
    *,
    chunk_rows: int,
    chunk_closes: int,
    limits: Limits | None = None,
) -> Plan:
    """
    Write series as one Arrow file, a chunk a record batch, in their order.

    Args:
        batches: As `worker.reading.series.schema` has them, consumed once.
        sink: Where the file goes.
        chunk_rows: Most series in a chunk.
        chunk_closes: Closes after which a chunk is closed.
        limits: That series and closes are held to.

    Raises:
        EmptyRequest: There is no series.
        UploadTooLarge: There are more series or closes than are taken.
    """
    writer: _Writer | None = None
    for each in batches:
        if len(each):
            writer = writer or _Writer(sink, each.schema, chunk_rows, chunk_closes, limits or Limits())
            writer.add(each)
    if writer is None:
        raise EmptyRequest
    return writer.close()


class _Writer:
    """Cuts batches into chunks and writes them."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, chunk_rows: int, chunk_closes: int, limits: Limits) -> None:
        self._schema = pa.schema([pa.field("row", pa.int64()), *schema])
        self._file = pa.ipc.new_file(sink, self._schema)
        self._most = chunk_rows, chunk_closes
        self._limits = limits
        self._rows = self._closes = self._chunks = 0
        self._open: list[pa.RecordBatch] = []
        self._open_rows = self._open_closes = 0

    def add(self, each: pa.RecordBatch) -> None:
        """Take some series, and write the chunks that are full."""
        if each.schema != pa.schema([*self._schema][1:]):
            raise TableError("a column that is joined has another type further down; it has one type throughout")
        ends = np.cumsum(lengths_of(each["closes"]))
        self._limits.check_rows(self._rows + self._open_rows + len(each))
        self._limits.check_closes(self._closes + self._open_closes + int(ends[-1]))
        begin = 0
        while begin < len(each):
            rows, closes = self._room()
            before = int(ends[begin - 1]) if begin else 0
            # The chunk is closed by the row with which it has its closes, or by its last row.
            full = int(np.searchsorted(ends, before + closes, side="left")) + 1
            end = min(begin + rows, full, len(each))
            self._open.append(each.slice(begin, end - begin))
            self._open_rows += end - begin
            self._open_closes += int(ends[end - 1]) - before
            begin = end
            if end == full or self._room()[0] <= 0:
                self._write()

    def close(self) -> Plan:
        """Write what is left, and the file's end."""
        if self._open:
            self._write()
        self._file.close()
        joined = tuple(name.removeprefix(JOINED) for name in self._schema.names[len(CHUNK_SCHEMA) :])
        return Plan(self._rows, self._chunks, self._closes, joined)

    def _room(self) -> tuple[int, int]:
        """Rows and closes that the open chunk still takes."""
        most_rows, most_closes = self._most
        rows = min(max(self._rows // SHARE, FIRST_ROWS), most_rows)
        closes = min(max(self._closes // SHARE, FIRST_CLOSES), most_closes)
        return rows - self._open_rows, closes - self._open_closes

    def _write(self) -> None:
        whole = self._open[0] if len(self._open) == 1 else pa.concat_batches(self._open)
        numbers = pa.array(np.arange(self._rows, self._rows + len(whole)))
        self._file.write_batch(pa.RecordBatch.from_arrays([numbers, *whole.columns], schema=self._schema))
        self._rows += len(whole)
        self._closes += self._open_closes
        self._chunks += 1
        self._open, self._open_rows, self._open_closes = [], 0, 0
