"""
Versions that could not be made ready, and why.

Files that were just copied may not all be there yet. So a version is waited for while its files change; once they have
been the same for a while it counts as refused, is logged and counted once, and is looked at again when they change.
"""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from models.errors import ModelError

SETTLE_S = 3.0
"""Seconds without a change after which nothing more is waited for."""
LOOK_AGAIN_S = 30.0
"""Seconds after which a version is tried again though its files are the same: a disk or a GPU may have come back."""

Files = tuple[tuple[str, int, int, int], ...]
"""Name, size, time of the last change in nanoseconds, and inode of a folder and each of its files."""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Trouble:
    """What is wrong with a version, since when its files are as they are, and when it was tried last."""

    files: Files
    error: ModelError
    since_s: float
    tried_s: float
    counted: bool = False


class Refusals:
    """
    The versions of a folder's models that are waited for or refused. Not thread-safe.

    Attributes:
        counts: How many versions were refused, by model, one a change of its files.
    """

    def __init__(self, now_s: Callable[[], float] = time.monotonic) -> None:
        self.counts: Counter[str] = Counter()
        self._now_s = now_s
        self._troubles: dict[tuple[str, int], _Trouble] = {}

    def standing(self, name: str, version: int, files: Files) -> ModelError | None:
        """Why a version is not worth another try as yet; None where it is."""
        trouble = self._troubles.get((name, version))
        if trouble is None or trouble.files != files:
            return None
        now_s = self._now_s()
        settles = not trouble.counted and now_s - trouble.since_s >= SETTLE_S
        return None if settles or now_s - trouble.tried_s >= LOOK_AGAIN_S else trouble.error

    def note(self, name: str, version: int, files: Files, error: ModelError, *, at_once: bool) -> None:
        """
        Keep why a version could not be made ready.

        Args:
            name: Of the model.
            version: Of the model.
            files: As they were before the try.
            error: What came of it.
            at_once: Wait no longer, whether its files have settled or not.
        """
        now_s = self._now_s()
        before = self._troubles.get((name, version))
        same = before is not None and before.files == files
        trouble = _Trouble(files, error, before.since_s if before and same else now_s, now_s)
        trouble.counted = bool(before and same and before.counted and before.error.reason == error.reason)
        self._troubles[name, version] = trouble
        if not trouble.counted and (at_once or now_s - trouble.since_s >= SETTLE_S or _unchanged_s(files) >= SETTLE_S):
            trouble.counted = True
            self.counts[name] += 1
            log.error("model %s version %d is refused: %s", name, version, error)

    def forget(self, name: str, version: int) -> None:
        """It could be made ready after all."""
        self._troubles.pop((name, version), None)

    def keep(self, name: str, versions: Iterable[int]) -> None:
        """Forget those versions of a model that are not there any more."""
        known = set(versions)
        for key in [key for key in self._troubles if key[0] == name and key[1] not in known]:
            del self._troubles[key]

    def reason(self, name: str, version: int) -> str | None:
        """Why a version could not be made ready, as people are told it; None where nothing is known against it."""
        if (trouble := self._troubles.get((name, version))) is None:
            return None
        return f"{'refused' if trouble.counted else 'waited for'}: {trouble.error.reason}"


def files_of(folder: Path) -> Files:
    """The files of a folder as they are now; none where it is gone."""
    found = []
    try:
        for entry in (folder, *folder.iterdir()):
            state = entry.stat()
            found.append((entry.name, state.st_size, state.st_ctime_ns, state.st_ino))
    except OSError:  # it went away while we looked; the next look sees what there is then
        return ()
    return tuple(sorted(found))


def _unchanged_s(files: Files) -> float:
    """Seconds since the last change of some files; a copy may set other times of a file, but not this one."""
    return time.time() - max((changed_ns for _, _, changed_ns, _ in files), default=0) / 1e9
