"""The models that jobs are pinned to, as far as this worker has them."""

import logging
import threading
import time

from models.errors import ModelError, UnknownModel
from models.forecaster import Forecaster
from models.repository import Repository

LOOK_AGAIN_S = 10.0
"""Seconds after which a model that was not here is looked for again."""

log = logging.getLogger(__name__)


class Pins:
    """Forecasters by digest, and the digests that are lacking here. Thread-safe."""

    def __init__(self, models: Repository) -> None:
        self._models = models
        self._lacking: dict[str, float] = {}
        """When each was last looked for in vain."""
        self._told: set[str] = set()
        self._turn = threading.Lock()

    def forecaster(self, name: str, version: int, digest: str) -> Forecaster | None:
        """
        The very model that a job was accepted for, whatever the newest is now.

        None where it is not here, or cannot be used: then it is lacking for a while, which is logged once.
        """
        try:
            found = self._models.get(name, version)
        except (ModelError, UnknownModel) as error:
            self._miss(name, version, digest, str(error))
            return None
        if found.card.digest != digest:
            self._miss(name, version, digest, f"what is here has digest {found.card.digest}")
            return None
        if self._lacking.pop(digest, None) is not None:
            self._told.discard(digest)
            log.info("model %s version %d, %s, is here now", name, version, digest)
        return found

    def lacking(self) -> list[str]:
        """Digests that were looked for in vain a moment ago."""
        oldest = time.monotonic() - LOOK_AGAIN_S
        return [digest for digest, at in tuple(self._lacking.items()) if at > oldest]

    def missed(self) -> list[str]:
        """Digests that jobs wait for and that are not here, as far as is known."""
        oldest = time.monotonic() - 3 * LOOK_AGAIN_S
        return sorted(digest for digest, at in tuple(self._lacking.items()) if at > oldest)

    def _miss(self, name: str, version: int, digest: str, why: str) -> None:
        with self._turn:
            self._lacking[digest] = time.monotonic()
            if digest in self._told:
                return
            self._told.add(digest)
        log.warning("jobs wait for model %s version %d, %s, and are left to others: %s", name, version, digest, why)
