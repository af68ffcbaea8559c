"""Who scores at a time: many chunks side by side, or alone one that may take its worker down with it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Company:
    """
    Lets threads in together, or one by itself.

    A chunk over which a worker died may be the one that killed it, or may have run beside that one. Alone, the innocent
    ones are scored, and only the one that kills dies again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._alone = False

    @contextmanager
    def among(self, *, alone: bool) -> Iterator[None]:
        """A time inside, with others or without; waits until that can be."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            if alone:
                self._alone = True
                self._changed.wait_for(lambda: self._inside == 0)
            else:
                self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                if alone:
                    self._alone = False
                else:
                    self._inside -= 1
                self._changed.notify_all()
