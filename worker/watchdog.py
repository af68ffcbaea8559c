"""A worker that takes no messages though some wait ends, so that whoever started it starts it anew."""

import logging
import os
import time
from collections.abc import Callable

from worker.ledger import Swept

EXIT_CODE = 70
"""By which a wedged worker is known from one that was told to end or was killed."""

log = logging.getLogger(__name__)


def end_process() -> None:
    """End at once: threads that are wedged would hold up any other end. What they had leased is taken back."""
    logging.shutdown()
    os._exit(EXIT_CODE)


class Watchdog:
    """
    Ends a worker that no longer works: Celery's consumer may have lost Redis and not come back.

    It is told of each sweep, so while Redis is away it waits: only a worker that could work and does not is ended.
    """

    def __init__(
        self,
        moved_at: Callable[[], float],
        *,
        after_s: float,
        end: Callable[[], None] = end_process,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Watch.

        Args:
            moved_at: When a message or a chunk last moved on, by the clock.
            after_s: Seconds for which messages and work must wait, and nothing move.
            end: Ends the process.
            clock: Seconds that only go up.
        """
        self._moved_at = moved_at
        self._after_s = after_s
        self._end = end
        self._clock = clock
        self._looked_at = self._waits_since = clock()

    def look(self, swept: Swept) -> None:
        """Judge by what a sweep found; where none came for a while, as while Redis is away, the count begins anew."""
        now = self._clock()
        idle = not (swept.claimable and swept.queued)
        if idle or now - self._looked_at > self._after_s / 2:
            self._waits_since = now
        self._looked_at = now
        still_s = now - max(self._waits_since, self._moved_at())
        if still_s >= self._after_s:
            log.critical("for %.0f s no message was taken though %d wait: ending", still_s, swept.queued)
            self._end()
