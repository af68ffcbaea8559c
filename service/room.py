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

    def __enter__(self) -> None:
        """
        Take a place.

        Raises:
            Overloaded: There is none.
        """
        if self.full:
            raise Overloaded(most=self.most)
        self.taken += 1

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Give it back."""
        self.taken -= 1
