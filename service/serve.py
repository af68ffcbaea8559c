"""The server: processes that each load their models and answer HTTP, watched, and drained on SIGTERM."""

import errno
import logging
import logging.config
import multiprocessing
import os
import signal
import socket
import threading
from functools import partial
from ipaddress import ip_address
from typing import Any, cast

from granian import Granian, _signals
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings

from models.errors import NextdayError, SettingError
from service import create_app, open_lifecycle, open_models
from service.door import Door
from service.drain import Drain, drain_first
from service.logs import CONFIG
from service.settings import ServiceSettings

HEADER_TIMEOUT_S = 30
"""Seconds that a connection may take to send a request's headers, or be idle between requests."""
MAX_CONNECTIONS = 4096
"""Connections that a process holds open, idle ones too; more wait until one ends."""
MAX_HEAD_BYTES = 64 * 1024
"""Largest head of a request."""
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
        NextdayError: As for `free_address`.
    """
    logging.config.dictConfig(CONFIG)
    address = free_address(settings.host, settings.port)
    if not ip_address(address).is_loopback:
        log.warning("listens on %s without API keys: whoever reaches it can use it", address)
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
        http1_settings=HTTP1Settings(header_read_timeout=HEADER_TIMEOUT_S * 1000, max_buffer_size=MAX_HEAD_BYTES),
        log_dictconfig=CONFIG,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.drain_s,
    )
    drain_first(server, drain, settings.drain_notice_s)
    # Its types know functions alone; the door is an object, as RSGI has it.
    server.serve(target_loader=cast(Any, partial(load, settings, drain)), wrap_loader=False)


def load(settings: ServiceSettings, drain: Drain) -> Door:
    """The service with a version of every model ready and a watcher of new ones, in the process that will answer."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _leave_ctrl_c_to_the_parent()
    models = open_models(settings)
    lifecycle = open_lifecycle(models, settings)
    lifecycle.join()
    for name, why in models.load_newest().items():
        log.error("model %s is not ready: %s", name, why)
    lifecycle.watch()
    return Door(create_app(settings, models=models, drain=drain, lifecycle=lifecycle), settings, drain)


def _end_with_parent() -> None:
    """Drain this process when the one that watches it is gone; it would hold the port with nobody to stop it."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _leave_ctrl_c_to_the_parent() -> None:
    """
    Let this process end by SIGTERM alone.

    Ctrl-C reaches the whole process group, and the parent then tells its processes to end. A process of granian's that
    gets both at once may miss both, and then runs on until it is killed.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _signals._get_signals = lambda: [signal.SIGTERM]


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
