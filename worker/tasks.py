"""What a worker does with a message and between messages: one call each into `worker.chunks`."""

import logging

from celery import Celery

from worker.app import SCORE_CHUNK
from worker.chunks import Chunks

log = logging.getLogger(__name__)


def register(app: Celery, chunks: Chunks) -> None:
    """Give the app its one task."""

    @app.task(name=SCORE_CHUNK)  # type: ignore[untyped-decorator]
    def score_chunk(job_id: str, chunk: int) -> None:
        outcome = chunks.work_on(job_id, chunk)
        log.info("job %s chunk %d: %s", job_id, chunk, outcome)
