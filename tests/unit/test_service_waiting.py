"""What a server holds for bodies on their way: how long it waits for them, and how much of the disk they get."""

import asyncio
import io
from pathlib import Path

import pytest

from service.errors import DiskBusy
from service.patience import LOOK_S, Patience
from service.spool import Spool, Spooled
from worker.errors import StorageUnavailable


@pytest.mark.slow
def test_who_brings_something_is_waited_for_and_who_stalls_is_not() -> None:
    async def bring(patience: Patience, parts: int) -> int:
        brought, task = 0, patience.begin(2 * LOOK_S)
        try:
            while brought < parts:
                await asyncio.sleep(LOOK_S)
                patience.prolong(LOOK_S, most_s=2 * LOOK_S)
                brought += 1
            await asyncio.sleep(10 * LOOK_S)
        except asyncio.CancelledError:
            assert patience.end(task)
        return brought

    async def both() -> list[int]:
        patience = Patience(asyncio.get_running_loop())
        return await asyncio.gather(bring(patience, 6), bring(patience, 1))

    assert asyncio.run(both()) == [6, 1]


def test_much_that_came_buys_no_more_than_the_longest_stall() -> None:
    async def stall() -> float:
        loop = asyncio.get_running_loop()
        patience, began = Patience(loop), loop.time()
        patience.begin(LOOK_S)
        patience.prolong(1000.0, most_s=LOOK_S)
        with pytest.raises(asyncio.CancelledError):
            await asyncio.sleep(10 * LOOK_S)
        return loop.time() - began

    assert asyncio.run(stall()) < 4 * LOOK_S


def test_bodies_on_disk_are_together_no_larger_than_is_taken_and_give_their_room_back(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "jobs", most_bytes=10)

    with spool.open() as first, spool.open() as second:
        first.write(b"1234567")
        with pytest.raises(DiskBusy, match="10 bytes"):
            second.write(b"1234")
        second.write(b"123")
        first.seek(0)
        assert first.read() == b"1234567"
        assert spool.held_bytes == 10
    first.close()

    assert spool.held_bytes == 0
    assert list((tmp_path / "jobs").iterdir()) == []


def test_a_body_on_a_full_disk_fails_when_it_is_written_and_not_when_it_is_closed() -> None:
    spool = Spool(Path("unused"), most_bytes=100)
    body = Spooled(spool, io.FileIO("/dev/full", "r+"))
    body.write(b"that the buffer holds")

    with pytest.raises(OSError, match="No space left"):
        body.seek(0)
    body.close()

    assert (body.closed, spool.held_bytes) == (True, 0)


def test_a_folder_that_cannot_be_made_is_a_disk_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StorageUnavailable):
        Spool(tmp_path / "file" / "jobs", most_bytes=1).open()
