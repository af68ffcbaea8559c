"""A mapped file whose columns are taken into memory piece by piece."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.ragged import Doubles
from worker.reading.columnar import arrow_file, arrow_stream
from worker.reading.limits import Limits
from worker.reading.sources import KEPT_BYTES, RandomAccess, Source

PIECE = 256 * 1024
PIECES = 40
MIB = 1024 * 1024


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[tuple[RandomAccess, pa.Array]]:
    """80 MiB of numbers in an Arrow file, mapped."""
    path = tmp_path / "numbers.arrow"
    numbers = pa.array(np.arange(PIECE * PIECES, dtype=np.float64))
    with pa.ipc.new_file(str(path), pa.schema([("numbers", pa.float64())])) as writer:
        writer.write_batch(pa.record_batch([numbers], names=["numbers"]))
    with path.open("rb") as file:
        found = Source(file, "", Limits()).random_access()
        yield found, pa.ipc.open_file(found.file).get_batch(0)["numbers"]


def test_what_is_fetched_is_in_memory_before_it_is_looked_at(opened: tuple[RandomAccess, pa.Array]) -> None:
    file, numbers = opened
    piece = numbers.slice(PIECE, PIECE)
    before = held_of_files()

    assert file.fetch(piece)

    assert held_of_files() - before >= piece.nbytes


def test_what_lies_far_behind_is_let_go_and_can_be_read_again(opened: tuple[RandomAccess, pa.Array]) -> None:
    file, numbers = opened
    before = held_of_files()
    most = 0
    for begin in range(0, len(numbers), PIECE):
        file.fetch(numbers.slice(begin, PIECE))
        most = max(most, held_of_files() - before)

    assert most < 2 * KEPT_BYTES + 8 * MIB < len(numbers) * 8
    assert numbers[0].as_py() == 0.0


def test_what_is_not_in_the_file_is_let_be(opened: tuple[RandomAccess, pa.Array]) -> None:
    file, _ = opened
    elsewhere = pa.array(np.arange(10.0))

    assert not file.fetch(elsewhere)
    assert not RandomAccess(pa.BufferReader(b"")).fetch(elsewhere)
    assert elsewhere.to_pylist() == list(range(10))


@pytest.mark.parametrize("made", ["with gaps", "packed", "long"])
@pytest.mark.parametrize("kind", [pa.ipc.new_file, pa.ipc.new_stream])
def test_what_cannot_be_fetched_is_let_go_as_it_is_read(made: str, kind: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "series.arrow"
    values = np.random.default_rng(1).uniform(1, 2, PIECE * PIECES)
    table = long_table(values) if made == "long" else table_of_lists(values, gaps=made == "with gaps")
    options = pa.ipc.IpcWriteOptions(compression="lz4" if made == "packed" else None)
    with path.open("wb") as out, kind(out, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=len(table) // PIECES)
    open_batches = arrow_file if kind is pa.ipc.new_file else arrow_stream

    with path.open("rb") as file:
        before, most = held_of_files(), 0
        for _ in open_batches(Source(file, "", Limits()), list):
            most = max(most, held_of_files() - before)

    assert most < 2 * KEPT_BYTES + 8 * MIB < path.stat().st_size


def table_of_lists(closes: Doubles, *, gaps: bool) -> pa.Table:
    """Series of 256 closes, one a row; with gaps every hundredth is null, and its numbers are there all the same."""
    ends = np.arange(0, len(closes) + 1, 256, np.int32)
    rows = np.arange(len(ends) - 1)
    lists = pa.ListArray.from_arrays(pa.array(ends), pa.array(closes), mask=pa.array(gaps & (rows % 100 == 0)))
    return pa.table({"id": [f"S{row}" for row in rows], "closes": lists})


def long_table(closes: Doubles) -> pa.Table:
    """One close a row."""
    days = pa.array(np.arange(len(closes), dtype=np.int32) % 256 + 19_000).cast(pa.date32())
    ids = pa.array(np.repeat(np.arange(len(closes) // 256), 256))
    return pa.table({"id": ids, "date": days, "close": closes})


def held_of_files() -> int:
    """Bytes of files that this process has mapped and in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) * 1024
