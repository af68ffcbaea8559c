"""
Which processes of a service live, and which generation of wishes each of them follows: a small file a process.

Each holds a lock on its own file, which the system lets go of when the process ends, however it ends.
"""

import fcntl
import os
import time
import uuid
from io import FileIO
from pathlib import Path

import msgspec

FOLDER = "processes"


class Beat(msgspec.Struct, frozen=True):
    """
    What a process says of itself.

    Attributes:
        pid: Its process id.
        generation: Of the wishes that it follows.
        time: When it said so, in seconds since 1970.
    """

    pid: int
    generation: int
    time: float

    def is_fresh(self, stale_s: float) -> bool:
        """Whether it was said so lately."""
        return time.time() - self.time < stale_s


class Heartbeat:
    """The file of this process, beside those of the others. Used by one thread, but for `others`."""

    def __init__(self, folder: Path) -> None:
        """Write nothing yet; the folder is that of the service's state."""
        self._folder = folder / FOLDER
        self._name = f"{uuid.uuid4().hex}.json"
        self._file: FileIO | None = None

    def beat(self, generation: int) -> None:
        """
        Say that this process lives and follows a generation of wishes.

        Raises:
            OSError: The file cannot be written.
        """
        if self._file is None:
            self._file = self._begin()
        said = msgspec.json.encode(Beat(os.getpid(), generation, time.time()))
        os.pwrite(self._file.fileno(), said.ljust(120), 0)

    def end(self) -> None:
        """Take the file away again."""
        if self._file is not None:
            (self._folder / self._name).unlink(missing_ok=True)
            self._file.close()
            self._file = None

    def sweep(self) -> None:
        """Remove what processes that have ended left behind."""
        self.others()

    def others(self) -> list[Beat]:
        """What the other processes that live said last; files of those that have ended are removed."""
        paths = [path for path in self._folder.glob("*.json") if path.name != self._name]
        return [beat for path in paths if (beat := _heard(path))]

    def _begin(self) -> FileIO:
        """The file, opened and locked before others can find it and take it for one of a process that has ended."""
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = self._folder / f".{self._name}"
        file = scratch.open("xb", buffering=0)
        fcntl.flock(file, fcntl.LOCK_EX)
        os.pwrite(file.fileno(), msgspec.json.encode(Beat(os.getpid(), 0, time.time())).ljust(120), 0)
        scratch.replace(self._folder / self._name)
        return file


def _heard(path: Path) -> Beat | None:
    """What a process said last; None where it has ended."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read(file.read())
            path.unlink(missing_ok=True)
    except OSError:  # it ended just now
        pass
    return None


def _read(said: bytes) -> Beat:
    """What a process said; where it is writing just now, that it follows nothing yet: the next look knows more."""
    try:
        return msgspec.json.decode(said, type=Beat)
    except msgspec.MsgspecError:
        return Beat(0, -1, time.time())
