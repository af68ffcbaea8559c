"""A worker process: Celery takes the messages, threads score, a sweeper keeps the promises."""

import logging
import os
import socket
import sys
from typing import Any

import redis
from celery import Celery, signals
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from models.repository import Repository
from worker import tasks
from worker.app import KEY_PREFIX, create_app, publisher
from worker.blobs import Blobs
from worker.chunks import Chunks
from worker.ledger import Ledger
from worker.settings import WorkerSettings
from worker.sweeper import Sweeper

TIMEOUT_S = 5.0
"""Seconds that Redis may take to answer a worker."""

log = logging.getLogger(__name__)


def work(settings: WorkerSettings) -> None:
    """
    Become a Celery worker, recognisable as one in a process list; does not return.

    The new process reads its settings from the environment again, as `worker.entry` does.
    """
    # Threads: onnxruntime lets go of the interpreter's lock, and a session must not cross a fork.
    options = ["--pool", "threads", "--concurrency", str(settings.worker_threads), "--loglevel", "INFO"]
    quiet = ["--without-gossip", "--without-mingle", "--without-heartbeat", "--hostname", worker_name()]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", "worker.entry", "worker", *options, *quiet])


def create_worker(settings: WorkerSettings) -> Celery:
    """The Celery app of a worker: its task, and a sweeper that starts and stops with it."""
    app = create_app(settings, timeout_s=TIMEOUT_S)
    ledger = connect_ledger(settings)
    blobs = Blobs.of(settings.jobs_url)
    models = Repository(
        settings.store, device=settings.device, device_id=settings.device_id, threads=settings.run_threads
    )
    tasks.register(app, Chunks(settings, ledger, blobs, models))
    sweeper = Sweeper(settings, ledger, blobs, publisher(settings, timeout_s=TIMEOUT_S), worker_name())

    def start(**_: Any) -> None:
        models.load_newest()
        sweeper.start()

    def stop(**_: Any) -> None:
        sweeper.stop()

    signals.worker_ready.connect(start, weak=False)
    signals.worker_shutting_down.connect(stop, weak=False)
    return app


def connect_ledger(settings: WorkerSettings) -> Ledger:
    """The ledger over a connection that waits out a short absence of Redis."""
    connection = redis.Redis.from_url(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=2.0,
        socket_keepalive=True,
        health_check_interval=10,
        retry=Retry(ExponentialBackoff(cap=1.0, base=0.05), 5),
    )
    return Ledger(connection, prefix=KEY_PREFIX)


def worker_name() -> str:
    """The worker's name, the same for all that asks on its machine: one worker a machine or container."""
    return f"nextday@{socket.gethostname()}"


def is_alive(settings: WorkerSettings) -> bool:
    """Whether the worker on this machine has given a sign of life lately, for health checks."""
    try:
        return worker_name() in connect_ledger(settings).workers()
    except redis.RedisError:
        return False
