"""`nextday up`: the queue, a worker and the service as one family of processes, watched and drained."""

import fcntl
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from models.errors import NextdayError
from models.settings import PREFIX, from_env
from service.banner import banner, base_url
from service.children import Child, adopt, ending, sweep
from service.client import Client, ServiceAway
from service.embedded import embed
from service.exposure import check_exposure
from service.serve import free_address
from service.settings import ServiceSettings

START_S = 60.0
"""Seconds that the family has to become ready."""
WORKER_S = 20.0
"""Seconds that a worker has to come forward; forecasts do not need one, so then we go on without."""
LEFTOVER_S = 15.0
"""Seconds that what a killed `nextday up` left behind has to end."""
VALKEY_GRACE_S = 10.0
_LOOK_S = 0.1
_TAIL_BYTES = 2000


class AlreadyRunning(NextdayError):
    """Another `nextday up` holds the folder."""

    def __init__(self, *, var: Path, holder: str) -> None:
        super().__init__(
            f"Nextday is already running in {var}: {holder}; stop it with Ctrl-C where it runs, or start a second one "
            "beside it: NEXTDAY_PORT=8001 nextday up --var var2"
        )


class StartFailed(NextdayError):
    """A part did not come up; what was started is stopped again."""

    exit_code = 1


class Stop:
    """What people have asked for by signal: nothing yet, to stop, or to stop at once."""

    def __init__(self) -> None:
        self._asked = 0

    def listen(self) -> None:
        """Take SIGINT and SIGTERM, and SIGHUP unless whoever started us has set it aside, as nohup does."""
        # A shell's background job has SIGINT set aside as well; whoever sends one to us still means it.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
            signal.signal(signal.SIGHUP, self._ask)

    def wait(self, seconds: float) -> bool:
        """Whether to stop; looks that much later."""
        if not self._asked:
            time.sleep(seconds)
        return self._asked > 0

    def hurry(self) -> bool:
        """Whether it was asked for twice."""
        return self._asked > 1

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked += 1


def up(var: Path, env: Mapping[str, str] = os.environ, *, schedule: Path | None = None) -> int:
    """
    Run everything until Ctrl-C or SIGTERM; then let the service drain, then the worker, then the queue.

    Args:
        var: Folder for the queue's data, the jobs and the logs.
        env: Settings as `NEXTDAY_*`; with a `NEXTDAY_REDIS_URL`, no Valkey of our own is started.
        schedule: A file for `nextday schedule`, which runs beside the others.

    Returns:
        The exit code: 0 if all ended by themselves, 1 if something had to be killed.

    Raises:
        AlreadyRunning: Another one runs in this folder; it is left alone.
        PortTaken: Something else listens on the port.
        StartFailed: A part did not come up.
        SettingError: A setting cannot be used, or others could reach a service without API keys.
        BadKeyFile: The file of API keys cannot be used.
    """
    var = var.resolve()
    env = {PREFIX + "JOBS_URL": str(var / "jobs"), PREFIX + "STATE": str(var / "state")} | dict(env)
    settings = from_env(ServiceSettings, env)
    stop, family = Stop(), list[Child]()
    with _locked(var, f"pid {os.getpid()}, {base_url(settings)}") as lock:
        check_exposure(settings, free_address(settings.host, settings.port))
        stop.listen()
        adopt()
        try:
            _start(family, settings, env, var, lock, schedule)
            _await_ready(family, base_url(settings), stop)
            if not stop.wait(0):
                click.echo(banner(settings, var))
            _watch(family, stop)
        finally:
            _say("stopping: what runs may end first; Ctrl-C again kills")
            drained = [child.stop(hurry=stop.hurry) for child in reversed(family)]
            sweep(known=[])
    return 0 if all(drained) else 1


@contextmanager
def _locked(var: Path, holder: str) -> Iterator[int]:
    """
    Hold a folder; gives the lock's descriptor.

    The children inherit it, so the folder is held until the last of them has ended, even where their parent was killed.
    """
    (var / "log").mkdir(parents=True, exist_ok=True)
    with (var / "up.lock").open("a+") as file:
        deadline = time.monotonic() + LEFTOVER_S
        while not _lock(file.fileno()):
            file.seek(0)
            first = file.read().strip()
            if _alive(first) or time.monotonic() > deadline:
                raise AlreadyRunning(var=var, holder=first)
            time.sleep(_LOOK_S)
        file.truncate(0)
        file.write(holder)
        file.flush()
        yield file.fileno()


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _alive(holder: str) -> bool:
    """Whether the process named in a lock still runs; one that just took the lock may not have written its name yet."""
    words = holder.replace(",", " ").split()
    if words[:1] != ["pid"]:
        return False
    try:
        os.kill(int(words[1]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # One that has ended, and that its own parent has not asked after yet, still has its number.
    state = Path(f"/proc/{words[1]}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")


def _start(family: list[Child], settings: ServiceSettings, env: Mapping[str, str], var: Path, lock: int,
           schedule: Path | None) -> None:  # fmt: skip
    """Start the children in the order in which they need each other."""
    own = dict(env)

    def start(name: str, command: list[str], grace_s: float) -> Child:
        log = var / "log" / f"{name}.log"
        child = Child(name=name, command=command, env=own, grace_s=grace_s, log=log, keep_open=lock, say=_say)
        child.start()
        family.append(child)
        return child

    if PREFIX + "REDIS_URL" not in own:
        server = embed(var / "redis")
        own[PREFIX + "REDIS_URL"] = server.url
        valkey = start("valkey", server.command, VALKEY_GRACE_S)
        if not server.wait(timeout_s=START_S, gone=lambda: valkey.exit_code is not None):
            raise StartFailed(_end_of(valkey))
    nextday = [sys.executable, "-m", "nextday"]
    start("worker", [*nextday, "work"], settings.lease_s + settings.drain_s)
    start("service", [*nextday, "serve"], settings.drain_s + 5)
    if schedule:
        start("schedule", [*nextday, "schedule", str(schedule)], settings.drain_s)


def _await_ready(family: list[Child], url: str, stop: Stop) -> None:
    """
    Wait until forecasts are answered, and for a moment longer until jobs are worked off.

    Raises:
        StartFailed: A child ended, a model is refused, or it takes too long.
    """
    started = time.monotonic()
    with Client(url) as client:
        while not stop.wait(_LOOK_S):
            if ended := next((child for child in family if child.exit_code is not None), None):
                raise StartFailed(_end_of(ended))
            waited_s = time.monotonic() - started
            try:
                state = client.readiness()
            except ServiceAway as error:
                if waited_s > START_S:
                    raise StartFailed(f"the service does not answer: {error}") from error
                continue
            if state["missing"]:
                raise StartFailed("; ".join(f"model {name}: {why}" for name, why in state["missing"].items()))
            if state["queue"].get("workers"):
                return
            if waited_s > WORKER_S:
                _say(f"no worker has come forward, so jobs wait: {state['queue']}")
                return


def _watch(family: list[Child], stop: Stop) -> None:
    """Start again what dies, until people want to stop."""
    while not stop.wait(_LOOK_S):
        for child in family:
            if child.exit_code is not None:
                sweep(known=[each.pid for each in family])
                child.tend()


def _end_of(child: Child) -> str:
    """Why a child ended, with the end of what it said."""
    tail = child.log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace").strip().splitlines()[-5:]
    how = "did not start in time" if child.exit_code is None else ending(child.exit_code)
    return "\n  ".join([f"the {child.name} {how}; the end of {child.log}:", *tail])


def _say(text: str) -> None:
    """Tell people; where nobody listens any more, as in a terminal that was closed, go on."""
    try:
        click.echo(f"nextday: {text}", err=True)
    except OSError:
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of the process
