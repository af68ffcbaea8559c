"""Replicas of the service, each a server of one process on a port that it keeps, ended and started anew."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.integration.server_process import DEADLINE_S, free_port


class Replica:
    """One of them, in a process group of its own, as a container is one."""

    def __init__(self, folder: Path, **env: str) -> None:
        self._port = free_port()
        self._log = folder / f"replica-{self._port}"
        self._env = {
            **os.environ,
            "NEXTDAY_PORT": str(self._port),
            "NEXTDAY_PROCESSES": "1",
            "NEXTDAY_JOBS_URL": str(folder / "jobs"),
            "NEXTDAY_STATE": str(folder / f"state-{self._port}"),
            **env,
        }
        self._process: subprocess.Popen[bytes]
        self.url = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "nextday", "serve"],
                env=self._env,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self._log.read_text()
            try:
                if httpx.get(f"{self.url}/readyz", timeout=5).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        raise AssertionError(self._log.read_text())

    def stop(self) -> int:
        """Its exit code, once it has been told to stop and has ended."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        return self._process.wait(DEADLINE_S)

    def kill(self) -> None:
        """End all of its processes at once, as when its machine goes."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(DEADLINE_S)
