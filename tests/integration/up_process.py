"""A real `nextday up`, for tests of the whole family of processes."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.integration.server_process import free_port

T = TypeVar("T")
DEADLINE_S = 60
NEXTDAY = [sys.executable, "-m", "nextday"]


@dataclass(frozen=True)
class Family:
    """A `nextday up` that leads a process group of its own, as a shell would start it."""

    url: str
    process: subprocess.Popen[bytes]
    folder: Path
    env: Mapping[str, str]

    @property
    def said(self) -> str:
        return (self.folder / "said").read_text()

    def members(self, word: str = "") -> list[int]:
        """Its processes, the first one among them, whose command line has a word."""
        return members(self.process.pid, word)

    def nextday(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        """A `nextday` command in its folder and with its settings, run to its end."""
        command = [*NEXTDAY, *map(str, arguments)]
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=DEADLINE_S, check=False
        )

    def get(self, path: str) -> Any:
        return httpx.get(self.url + path, timeout=10).raise_for_status().json()


def members(group: int, word: str = "") -> list[int]:
    """Ids of the live processes of a group whose command line has a word."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, _parent, of_group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state != "Z" and word in command_line(folder):
                found.append(int(folder.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def command_line(folder: Path) -> str:
    return (folder / "cmdline").read_text().replace("\0", " ")


def until(look: Callable[[], T], what: str) -> T:
    """The first truthy answer of a look; every look may fail, as long as one does not in time."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            if answer := look():
                return answer
        except (httpx.HTTPError, json.JSONDecodeError):
            pass
        time.sleep(0.05)
    raise AssertionError(f"not within {DEADLINE_S} s: {what}")


def start(folder: Path, port: int | None = None, *arguments: str, in_background: bool = False,
          **settings: str) -> Family:  # fmt: skip
    """A family that has said it is ready; in the background, as a script starts it, with SIGINT set aside."""
    port = port or free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith("NEXTDAY_")}
    env |= {"NEXTDAY_PORT": str(port), **settings}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(
            [*NEXTDAY, "up", *arguments],
            cwd=folder,
            env=env,
            stdout=said,
            stderr=said,
            start_new_session=True,
            preexec_fn=ignore_sigint if in_background else None,  # noqa: PLW1509 - no threads matter here
        )
    family = Family(f"http://127.0.0.1:{port}", process, folder, env)
    until(lambda: "is ready" in family.said or process.poll() is not None, "ready")
    assert process.poll() is None, family.said
    return family


def ignore_sigint() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextmanager
def running(folder: Path) -> Iterator[Family]:
    """A family that is ready, and gone afterwards."""
    family = start(folder)
    try:
        yield family
    finally:
        press_ctrl_c(family)


def press_ctrl_c(family: Family) -> int:
    """The exit code after what a terminal does on Ctrl-C: SIGINT to the whole group."""
    if family.process.poll() is None:
        os.killpg(family.process.pid, signal.SIGINT)
    return family.process.wait(DEADLINE_S)
