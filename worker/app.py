"""The Celery app with its settings, each with its reason, and how a chunk is sent through it."""

from collections.abc import Callable, Iterable

from celery import Celery
from kombu.entity import Queue

from worker.settings import WorkerSettings

QUEUE = "chunks"
KEY_PREFIX = "nextday:"
"""Of every key in Redis, the broker's and the ledger's, so that a database may be shared."""
SCORE_CHUNK = "nextday.score_chunk"
"""The one task: a job's id and a chunk's number, never data."""

Publish = Callable[[Iterable[tuple[str, int]]], None]
"""Sends the messages of chunks, each a job's id and a chunk's number."""


def create_app(settings: WorkerSettings, *, timeout_s: float) -> Celery:
    """
    The app through which chunks are sent and received.

    Args:
        settings: Where Redis is, and the lease that a chunk has.
        timeout_s: Seconds that Redis may take to answer; short in the service, which must say so rather than wait.
    """
    app = Celery("nextday", broker=settings.redis_url, set_as_current=False)
    app.conf.update(
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        # The ledger counts and finishes; results in Celery would be a second truth.
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        result_accept_content=["json"],
        # A message is acknowledged after its work, and comes again when its worker died; the ledger masks doubles.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_send_task_events=False,
        worker_hijack_root_logger=False,
        # Nobody tells a worker anything but through the ledger; so its Redis user needs no channels.
        worker_enable_remote_control=False,
        task_publish_retry=True,
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1},
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": KEY_PREFIX,
            "visibility_timeout": max(600, int(10 * settings.lease_s)),
            "unacked_restore_interval": 5,
            "unacked_restore_throttle": 1,
            "socket_timeout": timeout_s,
            "socket_connect_timeout": min(timeout_s, 2),
            "socket_keepalive": True,
            "health_check_interval": 10,
            "max_retries": 1,
            "interval_start": 0,
            "interval_step": 0.1,
            "interval_max": 0.1,
        },
    )
    return app


def publisher(settings: WorkerSettings, *, timeout_s: float) -> Publish:
    """A function that sends chunks; it raises `kombu.exceptions.OperationalError` where Redis is away."""
    app = create_app(settings, timeout_s=timeout_s)

    def publish(chunks: Iterable[tuple[str, int]]) -> None:
        # A connection of its own: one from a pool may have died with the Redis it led to.
        with app.connection_for_write() as connection:
            for job_id, chunk in chunks:
                app.send_task(SCORE_CHUNK, args=(job_id, chunk), queue=QUEUE, connection=connection)

    return publish
