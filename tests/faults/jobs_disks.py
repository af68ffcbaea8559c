"""Small disks, in a mount namespace that nobody else sees."""

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.processes import eventually

MIB = 1024 * 1024


def may_mount() -> bool:
    """Whether this process may make a mount namespace and mount in it."""
    try:
        return subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


needs_mounts = pytest.mark.skipif(not may_mount(), reason="needs root: it mounts a small disk in a namespace")


@dataclass(frozen=True)
class Disk:
    """
    A disk of a few MiB.

    Attributes:
        at: Where those that stand inside see it.
        inside: Command before that of a program, which puts it there.
        seen: Where this process sees it.
    """

    at: Path
    inside: Sequence[str]
    seen: Path

    def fill(self) -> None:
        """Leave not a byte."""
        with (self.seen / "filler").open("wb", buffering=0) as file:
            for size in (MIB, 4096, 1):
                try:
                    while True:
                        file.write(b"x" * size)
                except OSError:
                    continue

    def free(self) -> None:
        (self.seen / "filler").unlink()


@contextmanager
def small_disk(folder: Path, *, size_mib: int) -> Iterator[Disk]:
    """A disk below a folder; what stands inside must have ended before it goes."""
    at = folder / "disk"
    at.mkdir()
    script = f"mount -t tmpfs -o size={size_mib}m tmpfs {at} && touch {at}/.mounted && exec sleep 100000"
    holder = subprocess.Popen(["unshare", "-m", "sh", "-c", script])
    seen = Path(f"/proc/{holder.pid}/root{at}")
    try:
        eventually((seen / ".mounted").exists)
        (seen / ".mounted").unlink()
        yield Disk(at, ["nsenter", f"--mount=/proc/{holder.pid}/ns/mnt", f"--wd={Path.cwd()}"], seen)
    finally:
        holder.kill()
        holder.wait()
