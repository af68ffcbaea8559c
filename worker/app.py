"""The Celery app with its settings, each with its reason, and how workers are told through it that there is work."""

from collections.abc import Callable

from celery import Celery
from kombu.entity import Queue

from worker.connections import KEY_PREFIX, QUEUE, broker
from worker.settings import WorkerSettings

WORK = "nextday.work"
"""The one task. Its message says that there is work and no more: which, the ledger says."""

Publish = Callable[[int], None]
"""Sends so many messages."""


def create_app(settings: WorkerSettings, *, timeout_s: float) -> Celery:
    """
    The app through which messages are sent and received.

    Args:
        settings: Where Redis is, and the lease that a chunk has.
        timeout_s: Seconds that Redis may take to answer; short in the service, which must say so rather than wait.
    """
    where = broker(settings, timeout_s=timeout_s)
    transport = where.pop("transport", {})
    app = Celery("nextday", set_as_current=False)
    app.conf.update(
        **where,
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
            **transport,
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
    """A function that sends messages; it raises `kombu.exceptions.OperationalError` where Redis is away."""
    app = create_app(settings, timeout_s=timeout_s)

    def publish(messages: int) -> None:
        if messages < 1:
            return
        # A connection of its own: one from a pool may have died with the Redis it led to.
        with app.connection_for_write() as connection, app.amqp.Producer(connection) as producer:
            for _ in range(messages):
                app.send_task(WORK, queue=QUEUE, producer=producer)

    return publish
