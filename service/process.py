"""A process that answers HTTP: its models ready, a watcher of new ones, its door open."""

import atexit
import gc
import logging
import multiprocessing
import os
import shutil
import signal
import threading
from pathlib import Path

from granian import _signals

from service.app import create_app, open_lifecycle, open_models
from service.door import Door
from service.drain import Drain
from service.observers import Observers
from service.settings import ServiceSettings

log = logging.getLogger(__name__)


def load(settings: ServiceSettings, drain: Drain, counts: Path) -> Door:
    """
    The service with a version of every model ready, made in the process that will answer.

    Args:
        settings: Of the service.
        drain: Whether its processes are about to end.
        counts: Folder in which they count together.
    """
    threading.Thread(target=_end_with_parent, args=(counts,), daemon=True).start()
    _leave_ctrl_c_to_the_parent()
    observers = Observers.of(settings, counts)
    models = open_models(settings, observers.metrics.run)
    lifecycle = open_lifecycle(models, settings, seen=lambda: observers.metrics.models(models))
    lifecycle.join()
    missing = models.load_newest()
    for name, why in missing.items():
        log.error("model %s is not ready: %s", name, why)
    observers.metrics.models(models, missing)
    lifecycle.watch()
    app = create_app(settings, models=models, drain=drain, observers=observers, lifecycle=lifecycle)
    # What is there by now stays; else the collector walks it again and again, and whoever asks meanwhile waits.
    gc.collect()
    gc.freeze()
    return Door(app, settings, drain)


def _end_with_parent(counts: Path) -> None:
    """
    Drain this process when the one that watches it is gone; it would hold the port with nobody to stop it.

    Args:
        counts: Folder of the counts, which nobody else is there to remove then.
    """
    if parent := multiprocessing.parent_process():
        parent.join()
        atexit.register(shutil.rmtree, counts, ignore_errors=True)
        os.kill(os.getpid(), signal.SIGTERM)


def _leave_ctrl_c_to_the_parent() -> None:
    """
    Let this process end by SIGTERM alone.

    Ctrl-C reaches the whole process group, and the parent then tells its processes to end. A process of granian's that
    gets both at once may miss both, and then runs on until it is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _signals._get_signals = lambda: [signal.SIGTERM]
