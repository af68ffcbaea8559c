"""A worker process: Celery takes the messages, threads score, a sweeper keeps the promises."""

import logging
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

import msgspec
import redis
from celery import Celery, signals

from models.repository import Repository
from worker import tasks
from worker.app import create_app, publisher
from worker.blobs import Blobs
from worker.chunks import Chunks
from worker.connections import check_redis, open_ledger
from worker.ledger import Ledger
from worker.settings import WorkerSettings
from worker.sweeper import Sweeper
from worker.views import view
from worker.watchdog import Watchdog
from worker.webhooks import Ended, Webhooks

TIMEOUT_S = 5.0
"""Seconds that Redis may take to answer a worker."""
RETRIES = 5

log = logging.getLogger(__name__)


def work(settings: WorkerSettings) -> None:
    """
    Become a Celery worker, recognisable as one in a process list; does not return.

    The new process reads its settings from the environment again, as `worker.entry` does.

    Raises:
        RedisIsCluster: The Redis of the settings is one.
        SettingError: Its URL is none.
    """
    check_redis(settings)
    # Threads: onnxruntime lets go of the interpreter's lock, and a session must not cross a fork.
    options = ["--pool", "threads", "--concurrency", str(settings.worker_threads), "--loglevel", "INFO"]
    name = worker_name(settings)
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--hostname", name]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "worker.entry", "worker", *options, *quiet])


def create_worker(settings: WorkerSettings) -> Celery:
    """The Celery app of a worker: its task, and a sweeper that starts and stops with it."""
    app = create_app(settings, timeout_s=TIMEOUT_S)
    ledger = connect_ledger(settings)
    blobs = Blobs.of(settings.jobs_url)
    models = Repository(
        settings.store, device=settings.device, device_id=settings.device_id, threads=settings.run_threads, in_bulk=True
    )
    chunks = Chunks(settings, ledger, blobs, models)
    publish = publisher(settings, timeout_s=TIMEOUT_S)
    tasks.register(app, chunks, publish, turn_s=settings.turn_s)
    watchdog = Watchdog(lambda: chunks.moved_at, after_s=settings.wedged_s)
    sweeper = Sweeper(settings, ledger, blobs, publish, worker_name(settings), pins=chunks.pins, seen=watchdog.look)

    webhooks = Webhooks(settings, ledger, ended(ledger))

    def start(**_: Any) -> None:
        models.load_newest()
        sweeper.start()
        webhooks.start()

    def stop(**_: Any) -> None:
        chunks.stop()
        sweeper.stop()
        webhooks.stop()

    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
    return app


def ended(ledger: Ledger) -> Callable[[str], Ended | None]:
    """A function that looks a job up for its webhook, whatever its status."""

    def look(job_id: str) -> Ended | None:
        record = ledger.record(job_id)
        return Ended(record.webhook, msgspec.to_builtins(view(record))) if record else None

    return look


def connect_ledger(settings: WorkerSettings) -> Ledger:
    """The ledger over a connection that waits out a short absence of Redis."""
    return open_ledger(settings, timeout_s=TIMEOUT_S, retries=RETRIES)


def worker_name(settings: WorkerSettings) -> str:
    """The worker's name among all: the setting, or else one that no other on its machine or in its container has."""
    return f"{settings.worker_name or f'nextday-{os.getpid()}'}@{socket.gethostname()}"


def is_alive(settings: WorkerSettings) -> bool:
    """
    Whether a worker on this machine has given a sign of life lately, for health checks.

    Where workers have names by the settings, the one of that name; in a container there is but one.
    """
    here = f"@{socket.gethostname()}"
    try:
        alive = connect_ledger(settings).workers()
    except redis.RedisError:
        return False
    return worker_name(settings) in alive if settings.worker_name else any(name.endswith(here) for name in alive)
