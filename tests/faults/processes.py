"""What the processes of a server hold, by /proc."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.integration.server_process import DEADLINE_S, Server


def answering(server: Server) -> list[int]:
    """The processes of a server that answer requests."""
    parent = server.process.pid
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def memory_mib(server: Server) -> float:
    """Memory that is in use, over the processes that answer."""
    return sum(_status(process, "VmRSS") for process in answering(server)) / 1024


def open_files(server: Server) -> int:
    """Files and connections that are open, over the processes that answer."""
    return sum(len(list(Path(f"/proc/{process}/fd").iterdir())) for process in answering(server))


def disk_bytes(server: Server, folder: Path) -> int:
    """Bytes in a folder that the processes hold in open files, those without a name too."""
    total = 0
    for descriptor in [each for process in answering(server) for each in Path(f"/proc/{process}/fd").iterdir()]:
        with suppress(FileNotFoundError):  # closed since it was listed
            if str(descriptor.readlink()).startswith(str(folder)):
                total += descriptor.stat().st_size
    return total


def eventually(holds: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    deadline = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.02)


def _status(process: int, name: str) -> int:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
