"""A mapped file whose columns are taken into memory piece by piece."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

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

    file.fetch(piece)

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

    file.fetch(elsewhere)
    RandomAccess(pa.BufferReader(b"")).fetch(elsewhere)

    assert elsewhere.to_pylist() == list(range(10))


def held_of_files() -> int:
    """Bytes of files that this process has mapped and in memory."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile")) * 1024
