"""Room for those that are let in: how many, and how many while more come than can be served."""

from contextlib import ExitStack

import pytest

from service.errors import Overloaded
from service.room import NarrowingRoom, Room


def come(room: NarrowingRoom, many: int) -> int:
    """How many of those who come at once are let in; all of them go before this ends."""
    with ExitStack() as let_in:
        for place in range(many):
            try:
                let_in.enter_context(room)
            except Overloaded:
                continue
            assert room.taken == place + 1
        return room.taken


def test_a_room_lets_in_as_many_as_it_has_places_and_takes_them_back() -> None:
    room = Room(2)

    with room, room, pytest.raises(Overloaded, match="try again in a second"), room:
        pass

    assert room.taken == 0


@pytest.mark.parametrize(("most", "fewer"), [(64, 16), (5, 1), (1, 1)])
def test_a_room_narrows_where_many_are_turned_away_and_widens_once_none_is(most: int, fewer: int) -> None:
    room = NarrowingRoom(most)

    assert come(room, 2 * most) == most
    room.look()
    assert come(room, 2 * most) == fewer
    room.look()
    assert come(room, fewer) == fewer
    room.look()
    assert come(room, most) == most


def test_a_burst_of_which_few_are_turned_away_narrows_nothing() -> None:
    room = NarrowingRoom(64)

    for _ in range(3):
        assert come(room, 64 + 16) == 64
        room.look()


def test_a_narrow_room_stays_so_while_any_are_turned_away() -> None:
    room = NarrowingRoom(64)
    come(room, 128)
    room.look()

    for _ in range(3):
        assert come(room, 17) == 16
        room.look()
