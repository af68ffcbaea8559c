"""Parts of an upload that are made while the one before is worked on."""

from collections.abc import Iterator
from threading import Event, current_thread, main_thread

import pytest

from worker.errors import TableError
from worker.reading.sources import made_ahead

WAIT_S = 30


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [0, 1, 5])
def test_parts_come_in_their_order(count: int, threads: int) -> None:
    assert list(made_ahead(iter(range(count)), threads)) == list(range(count))


def test_the_next_part_is_made_while_its_user_has_the_one_before() -> None:
    begun = Event()

    def parts() -> Iterator[int]:
        yield 1
        begun.set()
        assert current_thread() is not main_thread()
        yield 2

    made = made_ahead(parts(), 2)

    assert next(made) == 1
    assert begun.wait(WAIT_S)
    assert list(made) == [2]


@pytest.mark.parametrize("threads", [1, 2])
def test_what_cannot_be_made_is_said_after_what_came_before_it(threads: int) -> None:
    def parts() -> Iterator[int]:
        yield 1
        raise TableError("page 2 is damaged")

    made = made_ahead(parts(), threads)

    assert next(made) == 1
    with pytest.raises(TableError, match="page 2 is damaged"):
        next(made)


def test_parts_that_nobody_wants_any_more_are_not_made() -> None:
    parts = iter(range(100))

    made = made_ahead(parts, 2)
    next(made)
    made.close()

    assert next(parts) <= 2
