"""Room for so many at a time: whoever finds none is turned away at once, since a queue that only grows helps nobody."""

from types import TracebackType

from service.errors import Overloaded


class Room:
    """
    A place for each of those that are let in; used as ``with room:``. Belongs to one thread.

    Attributes:
        taken: How many are in it.
        most: How many it has places for.
    """

    def __init__(self, most: int) -> None:
        """Room for so many."""
        self.taken = 0
        self.most = most

    @property
    def full(self) -> bool:
        """Whether whoever comes now is turned away."""
        return self.taken >= self.most

    def turns_away(self) -> bool:
        """Whether there is no place for one who comes now."""
        return self.full

    def __enter__(self) -> None:
        """
        Take a place.

        Raises:
            Overloaded: There is none.
        """
        if self.turns_away():
            raise Overloaded
        self.taken += 1

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Give it back."""
        self.taken -= 1


class NarrowingRoom(Room):
    """
    Room that is narrower while many are turned away.

    A burst finds all its places. Where more come than can be served, for however long, every place is always taken, and
    with few places as many are served as with all, each of them sooner.
    """

    NARROW_SHARE = 1 / 4
    """Of its places that are left."""
    MANY_SHARE = 1 / 4
    """Turned away, beside those let in: by less, those who come could be served if they came evenly."""

    def __init__(self, most: int) -> None:
        """Room for so many, or for fewer."""
        super().__init__(most)
        self._widest, self._narrowest = most, max(1, int(most * self.NARROW_SHARE))
        self._let_in = self._turned_away = 0

    def turns_away(self) -> bool:
        """Whether there is no place for one who comes now; takes note of each."""
        self._turned_away += self.full
        return self.full

    def __enter__(self) -> None:
        """As for any room; takes note of whoever is let in."""
        super().__enter__()
        self._let_in += 1

    def look(self) -> None:
        """Narrow or widen by what has come since the last look; to be called at even intervals."""
        if self._turned_away > self.MANY_SHARE * self._let_in:
            self.most = self._narrowest
        elif not self._turned_away:
            self.most = self._widest
        self._let_in = self._turned_away = 0
