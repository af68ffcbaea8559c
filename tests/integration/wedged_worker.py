"""A worker whose consumer stands still once it is ready, as one does that lost Redis and never came back."""

import threading
from typing import Any

from celery import signals

from worker.entry import app

__all__ = ["app"]


@signals.worker_ready.connect(weak=False)
def stand_still(**_: Any) -> None:
    """Keep the thread that takes the messages."""
    threading.Event().wait()
