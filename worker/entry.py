"""What ``celery -A worker.entry worker`` finds; the one module here that reads the environment when imported."""

from models.settings import from_env
from worker.settings import WorkerSettings
from worker.work import create_worker

app = create_worker(from_env(WorkerSettings))
