"""`docker compose` as this installation's files say it, driven from outside: commands, containers, load."""

import http.client
import json
import os
import shlex
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
PORT = int(os.environ.get("NEXTDAY_PORT", "8000"))
URL = f"http://127.0.0.1:{PORT}"
COMPOSE = shlex.split(os.environ.get("DOCKER_COMPOSE", "docker compose"))
DOCKER = shlex.split(os.environ.get("DOCKER", " ".join(COMPOSE[:-1]) or "docker"))
SERIES = {"series": [{"id": "yesterday and today", "closes": [101.5, 102.25]}]}


class Failed(Exception):
    """A step that did not come to pass."""


def compose(*arguments: str, check: bool = True, **env: str) -> str:
    """What a compose command prints on standard output."""
    return run(*COMPOSE, *arguments, check=check, **env)


def docker(*arguments: str, check: bool = True) -> str:
    """What a docker command prints on standard output."""
    return run(*DOCKER, *arguments, check=check)


def run(*command: str, check: bool = True, **env: str) -> str:
    """Standard output of a command in the project's folder; Failed, with what it said, where it fails."""
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    if check and done.returncode:
        raise Failed(f"{shlex.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}")
    return done.stdout.strip()


def containers(service: str = "") -> list[dict[str, object]]:
    """What `docker inspect` says of the containers that run, of one service or of all."""
    ids = compose("ps", "--quiet", *([service] if service else [])).split()
    found: list[dict[str, object]] = json.loads(docker("inspect", *ids)) if ids else []
    return found


def eventually(what: str, true: Callable[[], object], deadline_s: float = 60) -> None:
    """Wait until something is true; Failed where it does not come to pass."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            if true():
                return
            last: object = "it is not so"
        except (OSError, http.client.HTTPException, ValueError, Failed) as error:
            last = error
        if time.monotonic() > end:
            raise Failed(f"{what}: not within {deadline_s:g} s: {last}")
        time.sleep(0.3)


def ask(path: str, body: object = None, *, key: str = "", port: int = PORT, method: str = "") -> tuple[int, bytes]:
    """Status and content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method or ("GET" if body is None else "POST"), path, content, _headers(key))
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _headers(key: str) -> dict[str, str]:
    return {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})


class Load:
    """
    Requests at a steady rate, each caller on a connection that it keeps, until it is ended.

    Attributes:
        outcomes: How often each came: `right`, or what was wrong.
        models: Versions that answered, in the order of their first answer.
    """

    def __init__(self, key: str, *, per_s: float, callers: int) -> None:
        self.outcomes: Counter[str] = Counter()
        self.models: list[str] = []
        self._key, self._pause_s = key, callers / per_s
        self._over, self._lock = threading.Event(), threading.Lock()

    def ask_until_the_end(self) -> None:
        """One caller."""
        connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=60)
        body, due = json.dumps(SERIES).encode(), time.monotonic()
        while not self._over.wait(max(0.0, due - time.monotonic())):
            due += self._pause_s
            outcome, model = self._one(connection, body)
            with self._lock:
                self.outcomes[outcome] += 1
                if model and model not in self.models:
                    self.models.append(model)
        connection.close()

    def end(self) -> None:
        """Let the callers end."""
        self._over.set()

    def _one(self, connection: http.client.HTTPConnection, body: bytes) -> tuple[str, str]:
        try:
            connection.request("POST", "/v1/forecasts", body, _headers(self._key))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error), ""
        if answer.status != 200:
            return f"{answer.status} {content[:200]!r}", ""
        model = json.loads(content)["model"]
        return "right", f"{model['name']}:{model['version']}"


@contextmanager
def load(key: str, *, per_s: float = 200, callers: int = 16) -> Iterator[Load]:
    """Load for as long as the block runs; Failed if a single request failed."""
    running = Load(key, per_s=per_s, callers=callers)
    threads = [threading.Thread(target=running.ask_until_the_end) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.end()
        for thread in threads:
            thread.join()
    wrong = {outcome: count for outcome, count in running.outcomes.items() if outcome != "right"}
    if wrong:
        raise Failed(f"{sum(wrong.values())} of {running.outcomes.total()} requests failed: {wrong}")
