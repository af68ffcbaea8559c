"""A real nginx, with the configuration that ships."""

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

import pytest

from tests.integration.server_process import DEADLINE_S, free_port

TEMPLATE = Path(__file__).parent.parent.parent / "deploy" / "nginx" / "nginx.conf"


@contextmanager
def proxying(folder: Path, urls: Sequence[str]) -> Iterator[str]:
    """The address of an nginx in front of servers; skips where there is no nginx, but not in CI."""
    if not (nginx := shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")):
        assert os.environ.get("CI") != "true", "there is no nginx, and these drills are not left out in CI"
        pytest.skip("there is no nginx here: apt-get install nginx-light")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(filled_in(folder, f"127.0.0.1:{port}", urls))
    # Root's nginx gives its workers another user, whom the folder of a test is closed to.
    main = "daemon off;" + (" user root;" if os.getuid() == 0 else "")
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen(
            [nginx, "-e", "stderr", "-p", folder, "-c", config, "-g", main], stdout=log, stderr=log
        )
    try:
        wait_until_it_listens(process, port, folder / "nginx.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(DEADLINE_S)


def filled_in(folder: Path, listens_at: str, urls: Sequence[str]) -> str:
    """The configuration for some replicas."""
    servers = " ".join(f"server {urlsplit(url).netloc} max_fails=0;" for url in urls)
    config = TEMPLATE.read_text()
    for name, value in (("PORT", listens_at), ("SERVERS", servers), ("FOLDER", str(folder))):
        config = config.replace(f"${{NGINX_{name}}}", value)
    return config


def wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        with suppress(OSError):
            socket.create_connection(("127.0.0.1", port)).close()
            return
        time.sleep(0.02)
    raise AssertionError(f"nginx does not listen: {log.read_text()}")
