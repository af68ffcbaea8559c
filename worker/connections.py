"""Ways to Redis: one URL for the queue and the ledger, of a server or of sentinels; a cluster is refused."""

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from worker.ledger import Ledger
from worker.settings import WorkerSettings

QUEUE = "work"
"""Key of the queue's list, without the prefix."""
KEY_PREFIX = "nextday:"
"""Of every key in Redis, the broker's and the ledger's, so that a database may be shared."""


def connect(settings: WorkerSettings, *, timeout_s: float, retries: int) -> redis.Redis:
    """
    A client of the settings' Redis, which connects on first use.

    Args:
        settings: Where it is.
        timeout_s: Seconds that it may take to answer.
        retries: How often a call is made again whose connection broke: 0 in the service, which must say so at once.
    """
    return redis.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=min(timeout_s, 2.0),
        socket_keepalive=True,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), retries),
    )


def open_ledger(connection: redis.Redis) -> Ledger:
    """The ledger over a client."""
    return Ledger(connection, prefix=KEY_PREFIX, queue=QUEUE)
