"""
Series in, chunks out: record batches of series become one Arrow file whose record batches are the job's chunks.

The first chunks are small, so that a job's first rows are there at once; then they grow with what came before, so that
a job of any size has some hundreds of them. The last ones become smaller and smaller, so that those who score them are
done at about the same time.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from models.errors import EmptyRequest
from models.ragged import Ints
from worker.errors import TableError
from worker.reading.limits import Limits
from worker.reading.series import JOINED, SERIES_FIELDS, lengths_of

CHUNK_SCHEMA = pa.schema([("row", pa.int64()), *SERIES_FIELDS])
"""Of a chunk, behind which the caller's own columns stand, named `joined.<name>`."""
FIRST_ROWS, FIRST_CLOSES = 4_000, 240_000
"""Of the first chunks: little more than a tenth of a second of work."""
SHARE = 256
"""A chunk is at most this part of what came before it, once that is more than the first ones'."""
LAST_PARTS = 4
"""Each of the last chunks takes one part of so many of what is left."""
LAST_ROWS, LAST_CLOSES = 2 * FIRST_ROWS, 2 * FIRST_CLOSES
"""What is kept back while more may come, since it may be the last."""
LEAST_ROWS, LEAST_CLOSES = 250, 15_000
"""Of the last chunks: some 10 ms of work, of which a chunk costs one."""


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


class _Waiting:
    """Series that are in no chunk yet, in their order."""

    def __init__(self) -> None:
        self._batches: deque[tuple[pa.RecordBatch, Ints]] = deque()  # each with the places where its series end
        self.rows = self.closes = 0

    def add(self, each: pa.RecordBatch) -> None:
        """Put some behind."""
        ends = np.cumsum(lengths_of(each["closes"]))
        self._batches.append((each, ends))
        self.rows += len(each)
        self.closes += int(ends[-1])

    def take(self, rows: int, closes: int) -> pa.RecordBatch:
        """The first ones: so many at most, and none behind the one with which they have so many closes."""
        parts = []
        while rows > 0 and closes > 0 and self._batches:
            each, ends = self._batches.popleft()
            count = min(rows, len(each), int(np.searchsorted(ends, closes, side="left")) + 1)
            parts.append(each.slice(0, count))
            taken = int(ends[count - 1])
            if count < len(each):
                self._batches.appendleft((each.slice(count), ends[count:] - taken))
            rows, closes = rows - count, closes - taken
            self.rows, self.closes = self.rows - count, self.closes - taken
        return parts[0] if len(parts) == 1 else pa.concat_batches(parts)


class _Writer:
    """Cuts batches into chunks and writes them."""

    def __init__(self, sink: BinaryIO, schema: pa.Schema, chunk_rows: int, chunk_closes: int, limits: Limits) -> None:
        self._schema = pa.schema([pa.field("row", pa.int64()), *schema])
        self._file = pa.ipc.new_file(sink, self._schema)
        self._most = chunk_rows, chunk_closes
        self._limits = limits
        self._rows = self._closes = self._chunks = 0
        self._waiting = _Waiting()

    def add(self, each: pa.RecordBatch) -> None:
        """Take some series, and write the chunks that are full, but for the last ones."""
        if each.schema != pa.schema([*self._schema][1:]):
            raise TableError("a column that is joined has another type further down; it has one type throughout")
        waiting = self._waiting
        waiting.add(each)
        self._limits.check_rows(self._rows + waiting.rows)
        self._limits.check_closes(self._closes + waiting.closes)
        while True:
            rows, closes = self._size()
            if waiting.rows < rows + LAST_ROWS and waiting.closes < closes + LAST_CLOSES:
                break
            self._write(rows, closes)

    def close(self) -> Plan:
        """Write what is left, and the file's end."""
        waiting = self._waiting
        while waiting.rows:
            rows, closes = self._size()
            self._write(
                min(rows, _part(waiting.rows, least=LEAST_ROWS)), min(closes, _part(waiting.closes, least=LEAST_CLOSES))
            )
        self._file.close()
        joined = tuple(name.removeprefix(JOINED) for name in self._schema.names[len(CHUNK_SCHEMA) :])
        return Plan(self._rows, self._chunks, self._closes, joined)

    def _size(self) -> tuple[int, int]:
        """Most rows of the next chunk, and closes after which it is closed."""
        most_rows, most_closes = self._most
        rows = min(max(self._rows // SHARE, FIRST_ROWS), most_rows)
        closes = min(max(self._closes // SHARE, FIRST_CLOSES), most_closes)
        return rows, closes

    def _write(self, rows: int, closes: int) -> None:
        before = self._waiting.closes
        chunk = self._waiting.take(rows, closes)
        numbers = pa.array(np.arange(self._rows, self._rows + len(chunk)))
        self._file.write_batch(pa.RecordBatch.from_arrays([numbers, *chunk.columns], schema=self._schema))
        self._rows += len(chunk)
        self._closes += before - self._waiting.closes
        self._chunks += 1


def _part(left: int, *, least: int) -> int:
    """How much of what is left the next of the last chunks takes."""
    return max(left // LAST_PARTS, least) if left >= 2 * least else max(left, 1)
