"""Room for so many at a time: whoever finds none is turned away at once, since a queue that only grows helps nobody."""

from types import TracebackType

from service.errors import Overloaded


class Room:
    """
    A place for each of those that are let in; used as ``with room:``. Belongs to one thread.

    Attributes:
        taken: How many are in it.
    """

    def __init__(self, most: int) -> None:
        """Room for so many."""
        self.taken = 0
        self._most = most

    def __enter__(self) -> None:
        """
        Take a place.

        Raises:
            Overloaded: There is none.
        """
        if self.taken >= self._most:
            raise Overloaded(most=self._most)
        self.taken += 1

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Give it back."""
        self.taken -= 1
