"""
Bodies on their way in, on the event loop: no caller who is slow holds a thread.

Small ones are kept in memory, large ones on disk, so that what a process holds is bounded. None is waited for for ever,
and one that was cut off is never taken for a whole one.
"""

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from io import BytesIO
from typing import IO, TypeVar

from granian._granian import RSGIHeaders as Headers
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian._granian import RSGIProtocolClosed as ProtocolClosed

from service.errors import BodyTooSlow, BodyTruncated
from service.patience import Patience
from service.settings import ServiceSettings
from service.spool import Spool
from worker.errors import StorageUnavailable

LARGE_BYTES = 64 * 1024
"""Bodies beyond this size are kept on disk."""
SLOWEST_BYTES_PER_S = 16 * 1024
"""What a body brings in each second, or it falls behind."""

T = TypeVar("T")


class Incoming:
    """
    The body of one request.

    Attributes:
        headers: Of the request.
        announced: Its length in bytes, as the head has it; None where it has none.
        unread: Whether some of it may still be on its way.
    """

    __slots__ = ("_body_s", "_patience", "_proto", "_spool", "announced", "headers", "unread")

    def __init__(
        self, headers: Headers, proto: HTTPProtocol, patience: Patience, spool: Spool, settings: ServiceSettings
    ) -> None:
        """Nothing is read yet."""
        self.headers = headers
        length = headers.get("content-length", "")
        self.announced = int(length) if 0 < len(length) < 20 else None
        self.unread = bool(self.announced) or "transfer-encoding" in headers
        self._proto = proto
        self._patience = patience
        self._spool = spool
        self._body_s = settings.body_s

    def whole(self, announced: int) -> Awaitable[bytes]:
        """
        All of a small one.

        Raises:
            BodyTruncated: It ended early.
            BodyTooSlow: It did not come in time.
        """
        return self._in_time(self._proto(), announced, announced / SLOWEST_BYTES_PER_S)

    async def file(self, announced: int) -> IO[bytes]:
        """
        All of one, as a file at its start, in memory or on the disk of the jobs; whoever reads it closes it.

        Raises:
            BodyTruncated: It ended early.
            BodyTooSlow: It did not come in time.
            DiskBusy: Too much of others is on the disk already.
            StorageUnavailable: The disk has no room for it.
        """
        file = BytesIO() if announced <= LARGE_BYTES else self._spool.open()
        try:
            await self._in_time(self._copy(file, announced), announced, 0)
            file.seek(0)
        except OSError as error:
            file.close()
            raise StorageUnavailable(reason=error.strerror or type(error).__name__) from error
        except BaseException:
            file.close()
            raise
        return file

    async def skip(self) -> None:
        """Read a small one and forget it, so that the connection of a caller whom we know can go on."""
        if self.unread and self.announced and self.announced <= LARGE_BYTES:
            with suppress(BodyTruncated, BodyTooSlow):
                await self.whole(self.announced)

    async def _copy(self, file: IO[bytes], announced: int) -> None:
        async for part in self._proto:
            file.write(part)
            self._patience.prolong(len(part) / SLOWEST_BYTES_PER_S, most_s=self._body_s)
        if (received := file.tell()) < announced:
            raise BodyTruncated(received=received, announced=announced)

    async def _in_time(self, coming: Awaitable[T], announced: int, more_s: float) -> T:
        began = time.monotonic()
        task = self._patience.begin(self._body_s + more_s)
        try:
            came = await coming
        except ProtocolClosed:
            raise BodyTruncated(received=None, announced=announced) from None
        except asyncio.CancelledError:
            if self._patience.end(task):
                raise BodyTooSlow(waited_s=time.monotonic() - began) from None
            raise
        else:
            self.unread = False
            return came
        finally:
            self._patience.end(task)
