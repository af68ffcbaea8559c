"""Large bodies on their way in, on the disk of the jobs: all together never more than so many bytes."""

import io
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from service.errors import DiskBusy
from worker.errors import StorageUnavailable


class Spool:
    """
    Where large bodies are kept until they are answered. Belongs to one thread.

    Attributes:
        held_bytes: What lies there now.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        """In a folder, which is made once it is needed."""
        self.held_bytes = 0
        self._folder = folder
        self._most_bytes = most_bytes

    def open(self) -> "Spooled":
        """
        A file without a name, which is gone once it is closed.

        Raises:
            StorageUnavailable: There is no room for it, or no folder.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            return Spooled(self, tempfile.TemporaryFile(dir=self._folder, buffering=0))
        except OSError as error:
            raise StorageUnavailable(reason=error.strerror or type(error).__name__) from error

    def take(self, more_bytes: int) -> None:
        """
        Make room for some bytes.

        Raises:
            DiskBusy: There is none.
        """
        if self.held_bytes + more_bytes > self._most_bytes:
            raise DiskBusy(most=self._most_bytes)
        self.held_bytes += more_bytes

    def give_back(self, fewer_bytes: int) -> None:
        """Have so many bytes of room more."""
        self.held_bytes -= fewer_bytes


class Spooled(io.BufferedRandom):
    """One body."""

    def __init__(self, spool: Spool, raw: io.FileIO) -> None:
        """Empty, in a raw file."""
        super().__init__(raw)
        self._spool = spool
        self._taken_bytes = 0

    def write(self, part: Any, /) -> int:
        """
        Append to it.

        Raises:
            DiskBusy: There is no room for so much.
        """
        self._spool.take(len(part))
        self._taken_bytes += len(part)
        return super().write(part)

    def close(self) -> None:
        """Remove it."""
        self._spool.give_back(self._taken_bytes)
        self._taken_bytes = 0
        with suppress(OSError):  # of a full disk, which the last bytes of one that nobody will read do not fit on
            super().close()
