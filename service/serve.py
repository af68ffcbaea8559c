"""The server: processes that answer HTTP (`service.process`), watched, and drained on SIGTERM."""

import errno
import logging
import logging.config
import multiprocessing
import resource
import socket
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from granian import Granian
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings

from models.errors import NextdayError, SettingError
from service.drain import Drain, drain_first
from service.exposure import check_exposure
from service.logs import CONFIG
from service.settings import ServiceSettings

HEADER_TIMEOUT_S = 30
"""Seconds that a connection may take to send a request's headers, or be idle between requests."""
MAX_CONNECTIONS = 4096
"""Connections that a process holds open, idle ones too; more wait until one ends."""
READ_BYTES = 192 * 1024
"""
What is read of a body at a time. A head that is longer, but for the piece that ends it, is refused with 431.

Each piece of a body goes from the server's thread to the event loop's: 151 MiB took .32 s in pieces of 64 KiB.
"""
LARGEST_PORT = 65_535

log = logging.getLogger(__name__)


class PortTaken(NextdayError):
    """Another process listens on the port already."""

    def __init__(self, *, host: str, port: int) -> None:
        super().__init__(f"port {port} of {host} is taken; stop what listens there, or set NEXTDAY_PORT to another")


def serve(settings: ServiceSettings) -> None:
    """
    Answer HTTP until SIGTERM or SIGINT; then let what runs end, and return.

    Raises:
        NextdayError: As for `free_address`, `check_exposure` and `check_redis`.
    """
    logging.config.dictConfig(CONFIG)
    allow_files()
    if settings.traces:
        from service import tracing  # noqa: PLC0415 - what most do without

        tracing.check(settings.traces)
    address = free_address(settings.host, settings.port)
    check_exposure(settings, address)
    from worker.connections import check_redis  # noqa: PLC0415 - which only this start needs, and `nextday up` does not

    check_redis(settings)
    # A session must not cross a fork, and later Pythons start processes afresh anyway: so do we, everywhere.
    multiprocessing.set_start_method("spawn", force=True)
    drain = Drain()
    server = Granian(
        "nextday",
        address=address,
        port=settings.port,
        interface=Interfaces.RSGI,
        loop=Loops.uvloop,
        http=HTTPModes.http1,
        websockets=False,
        workers=settings.processes,
        backpressure=MAX_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_S * 1000, max_buffer_size=READ_BYTES),
        log_dictconfig=CONFIG,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.drain_s,
    )
    drain_first(server, drain, settings.drain_notice_s)
    # Made here, so that its processes count in one folder, and those that come after one that died go on in it.
    with tempfile.TemporaryDirectory(prefix="nextday-metrics-") as folder:
        server.serve(target_loader=partial(_load, settings, drain, Path(folder)), wrap_loader=False)


def _load(settings: ServiceSettings, drain: Drain, counts: Path) -> Any:
    # Only the processes that answer import what answers, so that the one that watches them has started at once.
    from service.process import load  # noqa: PLC0415

    return load(settings, drain, counts)


def allow_files() -> None:
    """
    Let this process and its children open as many files as the system lets them.

    A connection is one, and many systems begin with 1,024: fewer than the connections that are held.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def free_address(host: str, port: int) -> str:
    """
    The host as an IP address, once its port is known to be free.

    The server shares its port among its processes, and would share it with a second server as well.

    Raises:
        PortTaken: Something listens on the port already.
        SettingError: The host is no address of this machine, or the port is no port.
    """
    if port > LARGEST_PORT:
        raise SettingError(variable="NEXTDAY_PORT", value=str(port), wanted=f"a port, 1 to {LARGEST_PORT}")
    try:
        family, _, _, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except socket.gaierror as error:
        raise SettingError(variable="NEXTDAY_HOST", value=host, wanted=f"an address to listen on ({error})") from None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise PortTaken(host=host, port=port) from error
        wanted = f"an address of this machine that may be listened on ({error.strerror}, port {port})"
        raise SettingError(variable="NEXTDAY_HOST", value=host, wanted=wanted) from error
    return str(where[0])
