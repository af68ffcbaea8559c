"""What a worker does with a message: work for a while, then hand the rest on."""

from celery import Celery

from worker.app import WORK, Publish
from worker.chunks import Chunks


def register(app: Celery, chunks: Chunks, publish: Publish, *, turn_s: float) -> None:
    """Give the app its one task."""

    @app.task(name=WORK)  # type: ignore[untyped-decorator]
    def work() -> None:
        if chunks.turn(turn_s):
            publish(1)
