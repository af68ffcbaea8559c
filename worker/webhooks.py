"""
Webhooks: whoever asked for one is told that a job has ended, at least once, signed.

The ledger holds what is due, so nothing is lost with a process; a message that was delivered and not noted comes again
with the same ``webhook-id``.
"""

import hashlib
import http.client
import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, Protocol

import msgspec
import redis

from worker.errors import WebhookRefused
from worker.posting import WHOLE_S, post
from worker.receivers import Receiver, Resolve, look_up
from worker.settings import WorkerSettings

AGAIN_S = (5.0, 30.0, 120.0, 600.0, 3600.0, 21600.0, 86400.0)
"""Seconds after each failed try until the next; after the last one there is none."""
JITTER = 0.2
LONGEST_RETRY_AFTER_S = 86400.0
GONE = 410
AT_A_TIME = 4
"""Deliveries that one worker has on their way at a time, each in a thread of its own."""
LOOK_S = 1.0
"""Seconds between two looks at the ledger while nothing is due."""
EVENTS = ("completed", "failed", "cancelled", "expired")

log = logging.getLogger(__name__)
_random = random.SystemRandom()


class Hooks(Protocol):
    """What of the ledger this needs."""

    def hooks_due(self, limit: int) -> list[tuple[str, int]]:
        """Jobs whose webhook is due, each with how often it was tried; leased for a minute."""

    def hook_tried(self, job_id: str, *, delivered: bool, status: int, again_s: float | None) -> None:
        """Note a try: the receiver's status or 0, and after how many seconds the next is due; None for never."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An ended job: the URL to tell, and the job as ``GET /v1/jobs/{id}`` shows it."""

    url: str
    job: Mapping[str, Any]


class Message(NamedTuple):
    """What is sent: the same at each try, so that a receiver knows it again by its id."""

    id: str
    body: bytes


class Tried(NamedTuple):
    """What came of a try: the receiver's status, or 0 and why; and what it says about when to come again."""

    status: int
    why: str = ""
    retry_after_s: float = 0.0
    final: bool = False

    @property
    def delivered(self) -> bool:
        """Whether the receiver took it."""
        return 200 <= self.status < 300


def check(url: str, settings: WorkerSettings) -> Receiver:
    """
    The webhook of a submission, looked at.

    Raises:
        WebhookRefused: This service would not call that URL; the message says what it takes.
    """
    if not settings.webhook_secret.keys or not settings.webhook_hosts.entries:
        raise WebhookRefused(reason="this service sends none; its operator has to set it up")
    return settings.webhook_hosts.receiver(url)


def message(job: Mapping[str, Any]) -> Message | None:
    """
    What a receiver is told of a job, or None where the job has not ended.

    The webhook itself is left out: it changes from try to try.
    """
    status = job["status"]
    if status not in EVENTS:
        return None
    at = job["expires_at"] if status == "expired" else job["finished_at"]
    told = {name: value for name, value in job.items() if name != "webhook"}
    # A job that is resumed ends a second time, and that is another message.
    identity = hashlib.sha256(f"{job['id']} {status} {at}".encode()).hexdigest()[:32]
    body = msgspec.json.encode({"type": f"job.{status}", "timestamp": at, "data": told})
    return Message(f"msg_{identity}", body)


class Webhooks:
    """Background threads of every worker; many may run, since the ledger leases each delivery to one of them."""

    def __init__(
        self,
        settings: WorkerSettings,
        ledger: Hooks,
        look: Callable[[str], Ended | None],
        *,
        resolve: Resolve = look_up,
        whole_s: float = WHOLE_S,
    ) -> None:
        """
        Prepare, and do nothing yet.

        Args:
            settings: Who may be told, and what with messages are signed.
            ledger: Says what is due.
            look: A job by its id, whatever its status; None where there is none any more.
            resolve: Looks up names.
            whole_s: Seconds that a delivery may take.
        """
        self._settings = settings
        self._ledger = ledger
        self._look = look
        self._resolve = resolve
        self._whole_s = whole_s
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, name=f"webhooks-{number}", daemon=True) for number in range(AT_A_TIME)
        ]

    def start(self) -> None:
        """Deliver until `stop`."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin no further delivery; one on its way may be cut off by the end of the process, and comes again."""
        self._stop.set()

    def deliver_due(self, limit: int = 1) -> int:
        """Deliver what is due, one after the other, once; how many were tried."""
        due = self._ledger.hooks_due(limit)
        for job_id, attempts in due:
            self._deliver(job_id, attempts)
        return len(due)

    def _deliver(self, job_id: str, attempts: int) -> None:
        try:
            tried = self._try(job_id)
        except redis.RedisError:
            raise
        except Exception as error:  # one that makes us stumble must not come again for ever
            log.exception("the webhook of job %s", job_id)
            tried = Tried(0, type(error).__name__)
        again_s = None if tried.delivered or tried.final else _again_s(attempts, tried.retry_after_s)
        self._ledger.hook_tried(job_id, delivered=tried.delivered, status=tried.status, again_s=again_s)
        # Never the URL: its path may be all that a receiver knows a caller by.
        said = str(tried.status) if tried.status else tried.why
        then = "delivered" if tried.delivered else "given up" if again_s is None else f"again in {again_s:.0f} s"
        log.info("webhook of job %s, try %d: %s, %s", job_id, attempts + 1, said, then)

    def _try(self, job_id: str) -> Tried:
        ended = self._look(job_id)
        told = message(ended.job) if ended and ended.url else None
        if ended is None or told is None:
            return Tried(0, "there is nothing to tell any more", final=True)
        try:
            receiver = check(ended.url, self._settings)
        except WebhookRefused as error:  # the operator has changed what is allowed
            return Tried(0, str(error), final=True)
        return self._send(receiver, told)

    def _send(self, receiver: Receiver, told: Message) -> Tried:
        try:
            addresses = self._settings.webhook_hosts.addresses(receiver, self._resolve)
            status, retry_after = post(receiver, addresses, told.body, self._headers(told), whole_s=self._whole_s)
        except WebhookRefused as error:
            return Tried(0, str(error))
        except (OSError, http.client.HTTPException, ValueError) as error:
            return Tried(0, f"{type(error).__name__}: {error}"[:200])
        return Tried(status, "", _retry_after_s(retry_after), final=status == GONE)

    def _headers(self, told: Message) -> dict[str, str]:
        now_s = int(time.time())
        return {
            "Content-Type": "application/json",
            "User-Agent": "nextday",
            "Connection": "close",
            "webhook-id": told.id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": self._settings.webhook_secret.sign(told.id, now_s, told.body),
        }

    def _run(self) -> None:
        wait_s = 0.0
        while not self._stop.wait(wait_s):
            wait_s = LOOK_S
            try:
                if self.deliver_due():
                    wait_s = 0.0
            except (redis.RedisError, OSError) as error:
                log.warning("webhooks wait for the ledger: %s", error)
            except Exception:  # a thread that died would leave promises unkept for ever
                log.exception("webhooks failed and will be tried again")


def _again_s(attempts: int, retry_after_s: float) -> float | None:
    """Seconds until the next try after so many before this one, none of them at the same moment as others'."""
    if attempts >= len(AGAIN_S):
        return None
    return max(AGAIN_S[attempts], retry_after_s) * _random.uniform(1.0, 1.0 + JITTER)


def _retry_after_s(text: str) -> float:
    """Seconds that a header Retry-After asks for, in seconds or as a date; 0 where it says nothing."""
    try:
        wanted = float(text) if text.isdecimal() else (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return 0.0
    return min(max(wanted, 0.0), LONGEST_RETRY_AFTER_S) if math.isfinite(wanted) else 0.0
