import io
from pathlib import Path

import pytest

from worker import writeback
from worker.writeback import WrittenBack


@pytest.mark.parametrize("begins", [True, False], ids=["begins", "cannot begin"])
def test_what_is_written_is_there_and_the_system_is_asked_to_begin_with_each_piece_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(writeback, "PIECE_BYTES", 1000)
    monkeypatch.setattr(
        writeback, "_begin", (lambda _file, first, count, _how: asked.append((first, count))) if begins else None
    )
    parts = [bytes([number]) * size for number, size in enumerate([1, 999, 0, 2500, 400, 700, 3])]

    with io.BufferedWriter(WrittenBack(tmp_path / "file", "wb"), buffer_size=16) as file:
        for part in parts:
            file.write(part)

    assert (tmp_path / "file").read_bytes() == b"".join(parts)
    assert asked == ([(0, 1000), (1000, 2500), (3500, 1100)] if begins else [])


def test_the_system_takes_what_it_is_asked(tmp_path: Path) -> None:
    if writeback._begin is None:
        pytest.skip("this system has no sync_file_range")

    with WrittenBack(tmp_path / "file", "wb") as file:
        file.write(bytes(writeback.PIECE_BYTES))

        assert writeback._begin(file.fileno(), 0, writeback.PIECE_BYTES, writeback._WRITE) == 0
