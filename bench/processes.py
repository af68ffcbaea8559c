"""Servers as processes: started, waited for, weighed, and ended by their ids."""

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.installs import programs
from bench.lineup import Peer
from bench.questions import closes

ROOT = Path(__file__).resolve().parent.parent
APPS = Path(__file__).resolve().parent / "peers"
START_S, STOP_S, GRACE_S = 90.0, 15.0, 3.0
"""Seconds that a server has to come up, to end when told to, and for what it started to end after it."""


class NotServing(Exception):
    """A server that did not come up, or went away."""


@dataclass(frozen=True)
class Running:
    """
    A server that answers.

    Attributes:
        process: The one that was started; the others are its descendants.
        port: Where it listens.
        start_s: Seconds from its start to its first answer.
    """

    process: "subprocess.Popen[bytes]"
    port: int
    start_s: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(peer: Peer, model: Path, folder: Path) -> Iterator[Running]:
    """
    A peer that answers, ended afterwards.

    Args:
        peer: Who.
        model: The graph that peers serve.
        folder: Where it runs and, unless it is ours, writes what it says.

    Raises:
        NotServing: It did not come up.
    """
    port = free_port()
    log = folder / "log"
    process = _start(peer, model, port, folder, log)
    try:
        yield Running(process, port, _first_answer_s(peer, process, port, log))
    finally:
        stop(process)


def _start(peer: Peer, model: Path, port: int, folder: Path, log: Path) -> "subprocess.Popen[bytes]":
    fill = {"port": port, "bin": programs(peer.venv), "apps": APPS}
    env = {name: value for name, value in os.environ.items() if not name.startswith("NEXTDAY_")}
    env |= {"BENCH_MODEL": str(model), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYTHONUNBUFFERED": "1"}
    env |= {"PYTHONPATH": str(ROOT if peer.venv is None else APPS)}
    env |= {"PATH": f"{programs(peer.venv)}:{os.environ['PATH']}"}
    env |= {name: value.format(**fill) for name, value in peer.env.items()}
    command = [part.format(**fill) for part in peer.command]
    where = ROOT if peer.venv is None else folder
    # Ours writes a line for each request, which would fill the disk; the others are told not to.
    with (Path(os.devnull) if peer.venv is None else log).open("wb") as said:
        return subprocess.Popen(command, env=env, cwd=where, stdout=said, stderr=said, start_new_session=True)


def _first_answer_s(peer: Peer, process: "subprocess.Popen[bytes]", port: int, log: Path) -> float:
    """Seconds until a request is answered."""
    began = time.monotonic()
    rows = closes(1, 60)
    url, body, headers = f"http://127.0.0.1:{port}{peer.one.path}", peer.one.body(rows), peer.one.headers(rows)
    with httpx.Client() as client:
        while time.monotonic() < began + START_S:
            if process.poll() is not None:
                raise NotServing(f"it ended with code {process.returncode}: {last_words(log)}")
            try:
                if client.post(url, content=body, headers=headers, timeout=5).status_code == 200:
                    return time.monotonic() - began
            except httpx.TransportError:
                pass
            time.sleep(0.02)
    raise NotServing(f"no answer within {START_S:.0f} s: {last_words(log)}")


def last_words(log: Path) -> str:
    """The end of what a server has said."""
    return log.read_text(errors="replace")[-500:].strip() if log.exists() else "start it by hand to see why"


def free_port() -> int:
    """
    A free port with two free ones behind it, which some servers take for other protocols.

    Below those that the system gives to clients, or one of ours might sit on it.
    """
    while True:
        port = random.randrange(20_000, 32_000)
        if all(_is_free(port + more) for more in range(3)):
            return port


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def stop(process: "subprocess.Popen[bytes]") -> None:
    """End a server and all its descendants: asked first, then killed."""
    pids = family(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if left := _ended_within(GRACE_S, pids):
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        _ended_within(GRACE_S, left)


def _ended_within(seconds: float, pids: list[int]) -> list[int]:
    """Wait for processes to end; those that have not."""
    deadline = time.monotonic() + seconds
    while (left := alive(pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def family(leader: int) -> list[int]:
    """A process that leads a session, the others of the session, and the descendants of all."""
    found = {leader}
    table = dict(_processes())
    grown = True
    while grown:
        more = {pid for pid, (parent, session) in table.items() if parent in found or session == leader}
        grown = not more <= found
        found |= more
    return sorted(pid for pid in found if pid in table)


def _processes() -> Iterator[tuple[int, tuple[int, int]]]:
    """Ids of all processes that live, with their parents and sessions."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                yield int(entry.name), (int(fields[1]), int(fields[3]))


def alive(pids: list[int]) -> list[int]:
    """Those of some processes that run; one that has ended and was not waited for does not."""
    there = dict(_processes())
    return [pid for pid in pids if pid in there]


@dataclass(frozen=True)
class Weight:
    """
    What a process takes.

    Attributes:
        pss_mib: Proportional set size: what is shared with other processes counts in part.
        rss_mib: Resident set size.
        files: Open file descriptors.
    """

    pss_mib: float
    rss_mib: float
    files: int


def weights(leader: int) -> dict[int, Weight]:
    """What the processes of a server take, by their ids."""
    found = {}
    for pid in family(leader):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has just ended
            found[pid] = _weight(Path("/proc") / str(pid))
    return found


def _weight(process: Path) -> Weight:
    lines = (line.split() for line in (process / "smaps_rollup").read_text().splitlines()[1:])
    mib = {name.rstrip(":"): int(size) / 1024 for name, size, *_ in lines}
    return Weight(round(mib["Pss"], 1), round(mib["Rss"], 1), sum(1 for _ in (process / "fd").iterdir()))
