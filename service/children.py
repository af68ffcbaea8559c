"""Child processes that are watched: started, started again when they die, stopped in peace, none left behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

FIRST_DELAY_S, LONGEST_DELAY_S = 0.5, 30.0
"""How long a child that died waits for its next start: twice as long each time."""
STEADY_S = 60.0
"""A child that has lived as long starts with the shortest delay again."""
MAX_LOG_BYTES = 10 * 1024 * 1024
"""A longer log is put aside, as `.log.1`, when its child starts."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_POLL_S = 0.05

Say = Callable[[str], None]


@dataclass(kw_only=True)
class Child:
    """
    A process that should run. Not thread-safe: it belongs to the main thread of the process that starts it.

    Attributes:
        name: For people.
        grace_s: Seconds that it has to end once it is told to.
        log: Where its standard output and error go.
        keep_open: A descriptor that it inherits and holds for as long as it lives.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    grace_s: float
    log: Path
    keep_open: int
    say: Say
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _started: float = field(default=0.0, init=False)
    _deaths: int = field(default=0, init=False)
    _due: float | None = field(default=None, init=False)

    def start(self) -> None:
        """Start it."""
        if self.log.exists() and self.log.stat().st_size > MAX_LOG_BYTES:
            self.log.replace(self.log.with_name(self.log.name + ".1"))
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own commands
                self.command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[self.keep_open],
                preexec_fn=partial(_tie, _prctl(), os.getpid()),  # noqa: PLW1509 - there is one thread
            )
        self._started, self._due = time.monotonic(), None

    @property
    def pid(self) -> int | None:
        """Its process id, also of one that died and was not started again yet."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """How it ended, minus the signal's number where one killed it; None while it runs."""
        return self._process.poll() if self._process else None

    def tend(self) -> None:
        """Start it again if it died and has waited long enough; to be called often."""
        if self.exit_code is None:
            return
        now = time.monotonic()
        if self._due is None:
            self._deaths = 1 if now - self._started > STEADY_S else self._deaths + 1
            delay_s = min(FIRST_DELAY_S * 2 ** (self._deaths - 1), LONGEST_DELAY_S)
            self._due = now + delay_s
            self.say(f"the {self.name} {ending(self.exit_code)}; it starts again in {delay_s:g} s (log: {self.log})")
        elif now >= self._due:
            self.start()

    def stop(self, *, hurry: Callable[[], bool]) -> bool:
        """
        Tell it to end, and wait.

        Args:
            hurry: Whether to wait no longer.

        Returns:
            Whether it ended by itself; where it did not, it was killed.
        """
        if self._process is None or self._process.poll() is not None:
            return True
        self._process.terminate()
        deadline = time.monotonic() + self.grace_s
        while self._process.poll() is None:
            if hurry() or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                self.say(f"the {self.name} was killed")
                return False
            time.sleep(_POLL_S)
        return True


def ending(exit_code: int) -> str:
    """
    How a process ended, for people.

    >>> ending(3), ending(-9)
    ('ended with exit code 3', 'was ended by SIGKILL')
    """
    return f"ended with exit code {exit_code}" if exit_code >= 0 else f"was ended by {signal.Signals(-exit_code).name}"


def adopt() -> None:
    """Become the parent of what a dead child leaves behind, so that `sweep` finds it. Linux only; else nothing."""
    if prctl := _prctl():
        prctl(_PR_SET_CHILD_SUBREAPER, 1)


def sweep(known: Collection[int | None]) -> int:
    """
    Kill the children of this process that nobody knows: what a killed child had started itself.

    Args:
        known: Ids of processes to leave alone.

    Returns:
        How many there were.
    """
    killed = 0
    while strays := [pid for pid in _children() if pid not in known]:  # what one of them leaves behind comes next
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        killed += len(strays)
    return killed


def _children() -> list[int]:
    """Ids of this process's children, dead ones that nobody waited for among them."""
    listing = Path(f"/proc/self/task/{os.getpid()}/children")
    return [int(pid) for pid in listing.read_text().split()] if listing.exists() else []


def _tie(prctl: Callable[[int, int], int] | None, parent: int) -> None:
    """Run in a new child, before its program."""
    # Ctrl-C reaches the whole process group at once, a closing terminal too. The children end in their order, when
    # they are told to; a mask, unlike a handler, outlives their own ideas about signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGHUP})
    if prctl:
        # Where the parent is killed and can stop nobody, the kernel tells its children to end.
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it died before the kernel knew
            os._exit(1)


def _prctl() -> Callable[[int, int], int] | None:
    """Linux's prctl; None elsewhere. Looked up before a fork, where little is allowed."""
    return ctypes.CDLL(None).prctl if sys.platform == "linux" else None
