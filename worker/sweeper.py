"""Between chunks: take back what was promised and not done, delete what has expired, give a sign of life."""

import logging
import threading
from collections.abc import Callable

import redis
from kombu.exceptions import OperationalError

from worker.app import Publish
from worker.blobs import Blobs
from worker.ledger import Ledger, Swept
from worker.pins import Pins
from worker.settings import WorkerSettings

CLEAN_EVERY_S = 60.0
LEFT_BEHIND_AFTER_S = 24 * 3600.0
TOLD_FOR_S = 24 * 3600.0
"""Seconds for which an expired job is still told of."""

log = logging.getLogger(__name__)


class Sweeper:
    """A background thread of every worker; many may run, since the ledger takes one step at a time."""

    def __init__(
        self,
        settings: WorkerSettings,
        ledger: Ledger,
        blobs: Blobs,
        publish: Publish,
        worker: str,
        *,
        pins: Pins,
        seen: Callable[[Swept], None] = lambda _: None,
    ) -> None:
        """
        Prepare, and do nothing yet.

        Args:
            settings: How often to look.
            ledger: Says what waits.
            blobs: Where expired jobs' files are.
            publish: Sends messages.
            worker: Name under which the sign of life is given.
            pins: Which models the worker lacks.
            seen: Told of each sweep.
        """
        self._settings = settings
        self._ledger = ledger
        self._blobs = blobs
        self._publish = publish
        self._worker = worker
        self._pins = pins
        self._seen = seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Sweep until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stop.set()

    def sweep(self) -> int:
        """Take back, once; how many messages were sent to make up for those that were lost."""
        swept = self._ledger.sweep(window=self._settings.window, lacking=self._pins.lacking())
        if swept.taken_back:
            log.info("taken back, as job and chunk: %s", swept.taken_back)
        self._publish(swept.hints)
        self._seen(swept)
        return swept.hints

    def clean(self) -> None:
        """Delete expired jobs, files first and ledger last, and what crashes left behind."""
        for job_id, buried in self._ledger.expired():
            if buried:
                self._ledger.forget(job_id)
            else:
                self._blobs.delete(job_id)
                self._ledger.bury(job_id, for_s=TOLD_FOR_S)
        left = self._blobs.left_behind(older_than_s=LEFT_BEHIND_AFTER_S)
        jobs = [name for name in left if not self._blobs.delete_scratch(name)]
        for name in self._ledger.unknown(jobs):
            self._blobs.delete(name)

    def _run(self) -> None:
        since_clean_s = CLEAN_EVERY_S
        while not self._stop.wait(self._settings.sweep_s):
            try:
                self._report_alive()
                self.sweep()
                since_clean_s += self._settings.sweep_s
                if since_clean_s >= CLEAN_EVERY_S:
                    self.clean()
                    since_clean_s = 0.0
            except (redis.RedisError, OperationalError, OSError) as error:
                log.warning("the sweep failed and will be tried again: %s", error)
            except Exception:  # a sweeper that died would leave promises unkept for ever
                log.exception("the sweep failed and will be tried again")
        self._report_gone()

    def _report_alive(self) -> None:
        settings = self._settings
        self._ledger.report_alive(
            self._worker, for_s=10 * settings.sweep_s, threads=settings.worker_threads, lacking=self._pins.missed()
        )

    def _report_gone(self) -> None:
        try:
            self._ledger.report_gone(self._worker)
        except redis.RedisError:
            log.info("the queue is away, so the worker's sign of life runs out by itself")
