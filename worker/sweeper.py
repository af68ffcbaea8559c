"""Between chunks: send again what was promised and not done, delete what has expired, give a sign of life."""

import logging
import threading

import redis

from worker.app import KEY_PREFIX, QUEUE, Publish
from worker.blobs import Blobs
from worker.ledger import Ledger
from worker.settings import WorkerSettings

LONGEST_WAIT_S = 600.0
"""Seconds after which a chunk is sent again even while the queue is busy: its message may be lost."""
CLEAN_EVERY_S = 60.0
LEFT_BEHIND_AFTER_S = 24 * 3600.0

log = logging.getLogger(__name__)


class Sweeper:
    """A background thread of every worker; many may run, since the ledger takes one step at a time."""

    def __init__(self, settings: WorkerSettings, ledger: Ledger, blobs: Blobs, publish: Publish, worker: str) -> None:
        """
        Prepare, and do nothing yet.

        Args:
            settings: How often to look.
            ledger: Says what is due.
            blobs: Where expired jobs' files are.
            publish: Sends chunks' messages.
            worker: Name under which the sign of life is given.
        """
        self._settings = settings
        self._ledger = ledger
        self._blobs = blobs
        self._publish = publish
        self._worker = worker
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sweeper", daemon=True)

    def start(self) -> None:
        """Sweep until `stop`."""
        self._thread.start()

    def stop(self) -> None:
        """Sweep no more."""
        self._stop.set()

    def sweep(self) -> int:
        """Send again, once; how many chunks were."""
        due = self._ledger.sweep(
            queue_key=KEY_PREFIX + QUEUE, again_s=self._settings.resend_s, longest_wait_s=LONGEST_WAIT_S
        )
        if due:
            log.info("sent again, as job and chunk: %s", due)
            self._publish(due)
        return len(due)

    def clean(self) -> None:
        """Delete expired jobs, files first and ledger last, and what crashes left behind."""
        for job_id in self._ledger.expired():
            self._blobs.delete(job_id)
            self._ledger.forget(job_id)
        for name in self._blobs.left_behind(older_than_s=LEFT_BEHIND_AFTER_S):
            if not self._blobs.delete_scratch(name) and self._ledger.record(name) is None:
                self._blobs.delete(name)

    def _run(self) -> None:
        since_clean_s = CLEAN_EVERY_S
        while not self._stop.wait(self._settings.sweep_s):
            try:
                self._ledger.report_alive(self._worker, for_s=10 * self._settings.sweep_s)
                self.sweep()
                since_clean_s += self._settings.sweep_s
                if since_clean_s >= CLEAN_EVERY_S:
                    self.clean()
                    since_clean_s = 0.0
            except (redis.RedisError, OSError) as error:
                log.warning("the sweep failed and will be tried again: %s", error)
            except Exception:  # a sweeper that died would leave promises unkept for ever
                log.exception("the sweep failed and will be tried again")
