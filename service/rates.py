"""
How often each caller may ask, counted together by all processes of a service, in one small file.

Each caller is a number: when its next request would be due if all came evenly. That is the generic cell rate algorithm,
as ITU-T Recommendation I.371 and the ATM Forum's Traffic Management Specification 4.0 have it ("virtual scheduling").
A number that lies in the past says nothing, so places of the file are taken over from callers who have been quiet.
"""

import fcntl
import math
import os
import struct
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path

from models.errors import SettingError
from service.keys import MAX_RATE_PER_S

NAME_BYTES = 8
BUCKETS, PLACES = 1024, 8
_PLACE = struct.Struct(f"<{NAME_BYTES}sq")  # whose it is, and when its next request is due, in ns
_BUCKET_BYTES = PLACES * _PLACE.size
_NS = 1_000_000_000
_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def due_after(due_ns: int, now_ns: int, rate_per_s: float) -> tuple[int, int]:
    """
    One more request of a caller.

    As many as one second's worth may come at once, at least one. Nobody waits longer than one interval: a number
    further ahead than any request can put it is from before a restart of the machine, and counts as none.

    Args:
        due_ns: When its next request was due.
        now_ns: Now, by the same clock.
        rate_per_s: Requests a second that it may make, above 0.

    Returns:
        When its next request is due now, and the nanoseconds to wait: 0 if this one goes through.

    >>> due_after(0, 1_000_000_000, 2.0), due_after(2_000_000_000, 1_000_000_000, 2.0)
    ((1500000000, 0), (2000000000, 500000000))
    """
    rate_per_s = min(rate_per_s, MAX_RATE_PER_S)
    interval_ns = math.ceil(_NS / rate_per_s)
    tolerance_ns = int(interval_ns * (max(1.0, rate_per_s) - 1))
    if due_ns - now_ns > tolerance_ns + interval_ns:
        due_ns = now_ns
    due_ns = max(due_ns, now_ns)
    wait_ns = max(0, due_ns - tolerance_ns - now_ns)
    return (due_ns, wait_ns) if wait_ns else (due_ns + interval_ns, 0)


def boot_clock_ns() -> int:
    """Nanoseconds since the machine started, the same in all its processes; nobody can set this clock back."""
    return time.clock_gettime_ns(_BOOT_CLOCK)


class Rates:
    """
    The counts of all callers; safe for threads and processes of one machine.

    A caller's place is one of the eight in its bucket. Where they are all taken, the one that was quiet for longest is
    taken over; should eight others be busy, that forgives one of them at most a second's worth.
    """

    def __init__(self, folder: Path, clock_ns: Callable[[], int] = boot_clock_ns) -> None:
        """Touches nothing; the file is opened, or made, for the first request that is counted."""
        self._path = folder / "rates"
        self._clock_ns = clock_ns
        self._descriptor: int | None = None
        self._turn = threading.Lock()  # a lock of the file is its process's, whatever the thread

    def take(self, caller: str, rate_per_s: float) -> float:
        """
        Count a request if it may go through.

        Args:
            caller: Who asks, in `NAME_BYTES` ASCII characters.
            rate_per_s: Requests a second that it may make, above 0.

        Returns:
            Seconds to wait; 0.0 if it may go through.

        Raises:
            SettingError: The file cannot be had.
        """
        name = caller.encode("ascii")
        start = zlib.crc32(name) % BUCKETS * _BUCKET_BYTES
        with self._turn:
            file = self._file()
            fcntl.lockf(file, fcntl.LOCK_EX, _BUCKET_BYTES, start)  # where its holder is killed, the kernel drops it
            try:
                return self._count(file, start, name, rate_per_s)
            finally:
                fcntl.lockf(file, fcntl.LOCK_UN, _BUCKET_BYTES, start)

    def open(self) -> None:
        """Open the file, or make it; raises as `take` does."""
        with self._turn:
            self._file()

    def close(self) -> None:
        """Close the file, if it is open."""
        with self._turn:
            if self._descriptor is not None:
                os.close(self._descriptor)
            self._descriptor = None

    def _count(self, file: int, start: int, name: bytes, rate_per_s: float) -> float:
        found = os.pread(file, _BUCKET_BYTES, start).ljust(_BUCKET_BYTES, b"\0")
        places = list(_PLACE.iter_unpack(found))
        mine = next((place for place, (whose, _) in enumerate(places) if whose == name), None)
        due_ns = 0 if mine is None else places[mine][1]
        if mine is None:
            mine = min(range(PLACES), key=lambda place: places[place][1])
        due_ns, wait_ns = due_after(due_ns, self._clock_ns(), rate_per_s)
        if not wait_ns:
            os.pwrite(file, _PLACE.pack(name, due_ns), start + mine * _PLACE.size)
        return wait_ns / _NS

    def _file(self) -> int:
        if self._descriptor is None:
            try:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._descriptor = _opened(self._path)
            except OSError as error:
                wanted = f"a folder that the service may write to ({error.strerror})"
                raise SettingError(variable="NEXTDAY_STATE", value=str(self._path.parent), wanted=wanted) from error
        return self._descriptor


def _opened(path: Path) -> int:
    """A file with room for all places on its disk, so that a disk that fills up later stops nobody."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.lockf(file, fcntl.LOCK_EX)
    try:
        there = os.fstat(file).st_size
        os.pwrite(file, bytes(max(0, BUCKETS * _BUCKET_BYTES - there)), there)
    except OSError:
        os.close(file)
        raise
    fcntl.lockf(file, fcntl.LOCK_UN)
    return file
