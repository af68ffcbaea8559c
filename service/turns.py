"""
Whether a thread of this process that wakes may interrupt the one that runs: not while requests come together.

Each body and each answer wakes the server's own thread. Where cores are few, that would push the event loop aside in
the middle of a batch, more than once a request; under Linux's SCHED_BATCH it takes its turn when the loop waits, or at
the next tick. But then it also waits for whatever else is at work on the core: 8 ms in place of 0.6 for a request that
comes alone while two other programs hold both cores. So those that come alone may interrupt.
"""

import os
from contextlib import suppress
from pathlib import Path

TOGETHER, ALONE = 2.0, 1.5
"""Requests a run from which on they come together, and below which they come alone again."""
_THREADS = Path("/proc/self/task")


class Turns:
    """How the threads of this process take turns. Belongs to one thread; does nothing where there is no SCHED_BATCH."""

    def __init__(self) -> None:
        """Whoever wakes may interrupt."""
        self._seen = (0, 0)
        self._together = False

    def heed(self, requests: int, runs: int) -> None:
        """
        Look how requests come.

        Args:
            requests: That have run, since the process began.
            runs: That they had.
        """
        more_requests, more_runs = requests - self._seen[0], runs - self._seen[1]
        self._seen = (requests, runs)
        together = more_requests >= more_runs * (ALONE if self._together else TOGETHER) > 0
        if together != self._together:
            self._together = together
            _let_interrupt(allowed=not together)


def _let_interrupt(*, allowed: bool) -> None:
    if not hasattr(os, "SCHED_BATCH"):
        return
    policy = os.SCHED_OTHER if allowed else os.SCHED_BATCH
    with suppress(OSError):  # of a sandbox that shows no threads: this and what follows cost speed alone
        for thread in _THREADS.iterdir():
            with suppress(OSError):  # it has just ended; or it is forbidden
                os.sched_setscheduler(int(thread.name), policy, os.sched_param(0))
