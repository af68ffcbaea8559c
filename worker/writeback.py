"""A file whose bytes are on their way to disk while more is written, so that to sync it at its end takes little."""

import ctypes
import io
from typing import Any

PIECE_BYTES = 4 * 1024 * 1024
"""Bytes after which the system is asked to begin."""
_WRITE = 2  # SYNC_FILE_RANGE_WRITE of Linux' fcntl.h: begin, and wait for nothing

_begin = getattr(ctypes.CDLL(None), "sync_file_range", None)  # Linux has it
if _begin:
    _begin.argtypes = [ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint]


class WrittenBack(io.FileIO):
    """
    A raw file that is written from its start to its end.

    Nothing is promised: who wants to know that it is on disk syncs it. Where the system cannot begin early, that takes
    as long as ever.
    """

    _at = _begun = 0

    def write(self, data: Any) -> int:
        """As for all files."""
        written = super().write(data)
        self._at += written
        if _begin and self._at - self._begun >= PIECE_BYTES:
            _begin(self.fileno(), self._begun, self._at - self._begun, _WRITE)
            self._begun = self._at
        return written
