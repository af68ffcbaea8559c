"""An nginx with the configuration that ships, outside of a container: for the drills, and for what `bench` measures."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

TEMPLATE = Path(__file__).parent / "nginx" / "nginx.conf"
QUICK_A_PROCESS = 24
QUICK_AT_ONCE = 2 * QUICK_A_PROCESS
"""Short forecasts that a replica of two processes is given at a time, as in docker-compose.yml."""
START_S, STOP_S = 30.0, 60.0


def found() -> str | None:
    """Where nginx is on this machine; Debian keeps it from the path of those who are not root."""
    return shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")


@contextmanager
def proxying(nginx: str, folder: Path, port: int, urls: Sequence[str], at_once: int = QUICK_AT_ONCE) -> Iterator[str]:
    """
    The address of an nginx in front of servers, which has ended afterwards.

    Args:
        nginx: The program.
        folder: For its configuration, its log (`nginx.log`) and bodies on their way.
        port: Where it listens, on 127.0.0.1.
        urls: The servers.
        at_once: Short forecasts that each of them is given at a time.
    """
    config, log_file = folder / "nginx.conf", folder / "nginx.log"
    # Root's nginx gives its workers another user, whom the folder of a test is closed to.
    main = "daemon off;" + (" user root;" if os.getuid() == 0 else "")
    cores = len(os.sched_getaffinity(0))  # `auto` would count those that this process may not use, too
    filled = filled_in(folder, f"127.0.0.1:{port}", urls, at_once)
    config.write_text(filled.replace("worker_processes auto;", f"worker_processes {cores};"))
    with log_file.open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-e", "stderr", "-p", folder, "-c", config, "-g", main], stdout=log, stderr=log
        )
    try:
        _wait_until_it_listens(process, port, log_file)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)


def filled_in(folder: Path, listens_at: str, urls: Sequence[str], at_once: int) -> str:
    """The configuration for some replicas."""

    def servers(more: str) -> str:
        return " ".join(f"server {urlsplit(url).netloc} max_fails=0{more};" for url in urls)

    gaps = {
        "PORT": listens_at,
        "SERVERS": servers(""),
        "QUICK_SERVERS": servers(f" max_conns={at_once}"),
        "FOLDER": str(folder),
    }
    config = TEMPLATE.read_text()
    for name, value in gaps.items():
        config = config.replace(f"${{NGINX_{name}}}", value)
    return config


def _wait_until_it_listens(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise RuntimeError(f"nginx does not listen: {log.read_text()}")
