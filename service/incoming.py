"""
Bodies on their way in, on the event loop: no caller who is slow holds a thread.

Small ones are kept in memory, large ones on disk, so that what a process holds is bounded. None is waited for for ever,
and one that was cut off is never taken for a whole one.
"""

import asyncio
import tempfile
from collections.abc import Awaitable
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import IO, TypeVar

from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian._granian import RSGIProtocolClosed as ProtocolClosed
from granian.rsgi import Scope

from service.errors import BodyTooSlow, BodyTruncated
from service.patience import Patience
from service.settings import ServiceSettings
from worker.errors import StorageUnavailable

LARGE_BYTES = 64 * 1024
"""Bodies beyond this size are kept on disk."""
SLOWEST_BYTES_PER_S = 16 * 1024
"""What a body brings in each second beyond the first ones, or it is not waited for."""

T = TypeVar("T")


class Incoming:
    """
    The body of one request.

    Attributes:
        announced: Its length in bytes, as the head has it; None where it has none.
        unread: Whether some of it may still be on its way.
    """

    __slots__ = ("_patience", "_proto", "_settings", "announced", "unread")

    def __init__(self, scope: Scope, proto: HTTPProtocol, patience: Patience, settings: ServiceSettings) -> None:
        """Nothing is read yet."""
        headers = scope.headers
        length = headers.get("content-length", "")
        self.announced = int(length) if 0 < len(length) < 20 else None
        self.unread = bool(self.announced) or "transfer-encoding" in headers
        self._proto = proto
        self._patience = patience
        self._settings = settings

    async def whole(self, announced: int) -> bytes:
        """
        All of a small one.

        Raises:
            BodyTruncated: It ended early.
            BodyTooSlow: It did not come in time.
        """
        try:
            body = await self._in_time(self._proto(), announced)
        except ProtocolClosed:
            raise BodyTruncated(received=None, announced=announced) from None
        self.unread = False
        return body

    async def file(self, announced: int) -> IO[bytes]:
        """
        All of one, as a file at its start, in memory or on the disk of the jobs; whoever reads it closes it.

        Raises:
            BodyTruncated: It ended early.
            BodyTooSlow: It did not come in time.
            StorageUnavailable: There is no room for it.
        """
        file = BytesIO() if announced <= LARGE_BYTES else _spool(Path(self._settings.jobs_url))
        try:
            await self._in_time(self._copy(file, announced), announced)
        except OSError as error:
            file.close()
            raise StorageUnavailable(reason=error.strerror or type(error).__name__) from error
        except BaseException:
            file.close()
            raise
        self.unread = False
        file.seek(0)
        return file

    async def skip(self) -> None:
        """Read a small one and forget it, so that the connection of a caller whom we know can go on."""
        if self.unread and self.announced and self.announced <= LARGE_BYTES:
            with suppress(BodyTruncated, BodyTooSlow):
                await self.whole(self.announced)

    async def _copy(self, file: IO[bytes], announced: int) -> None:
        async for part in self._proto:
            file.write(part)
        if (received := file.tell()) < announced:
            raise BodyTruncated(received=received, announced=announced)

    async def _in_time(self, coming: Awaitable[T], announced: int) -> T:
        seconds = self._settings.body_s + announced / SLOWEST_BYTES_PER_S
        task = self._patience.begin(seconds)
        try:
            return await coming
        except asyncio.CancelledError:
            if self._patience.end(task):
                raise BodyTooSlow(waited_s=seconds) from None
            raise
        finally:
            self._patience.end(task)


def _spool(folder: Path) -> IO[bytes]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)
    except OSError as error:
        raise StorageUnavailable(reason=error.strerror or type(error).__name__) from error
