"""The end of a server, in the order that loses nothing: not ready, then no new connections, then what runs may end."""

import multiprocessing
import threading
from ctypes import c_bool
from multiprocessing.sharedctypes import Synchronized
from types import FrameType
from typing import Any, cast

LOOK_S = 0.05
"""How often a process looks whether it is to drain."""


class Drain:
    """
    Whether the processes of a server are about to end; the server says so, and they look.

    One byte of shared memory without a lock, so that none of them can block the others by dying.
    """

    def __init__(self) -> None:
        """Not yet."""
        self._flag = cast("Synchronized[bool]", multiprocessing.get_context("spawn").RawValue(c_bool, False))

    @property
    def begun(self) -> bool:
        """Whether they are."""
        return self._flag.value

    def begin(self) -> None:
        """Say so."""
        self._flag.value = True


def drain_first(server: Any, drain: Drain, notice_s: float) -> None:
    """
    Let a server, once it is told to stop, first say that it drains, and close its port some seconds later.

    In these seconds balancers see that it is not ready, and callers are told to open their next connection elsewhere.
    Told a second time, it closes the port at once.

    Args:
        server: Granian's, not yet started.
        drain: Where its processes look.
        notice_s: How long the port stays open.
    """
    close = server.signal_handler_interrupt

    def stop(_number: int, _frame: FrameType | None) -> None:
        if drain.begun or not notice_s:
            close()
            return
        drain.begin()
        waiting = threading.Timer(notice_s, close)
        waiting.daemon = True
        waiting.start()

    server.signal_handler_interrupt = stop  # what its signals call
