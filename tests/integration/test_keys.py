"""API keys as callers meet them: a real server, its key file while it runs, and its log."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from service.key_file import add, remove
from service.keys import Key, make
from tests.integration.server_process import DEADLINE_S, Server, free_port, serving

SERIES = {"id": "AAPL", "closes": [101.5, 102.25]}
SLOW_PER_S = 20
CALLS = {
    "forecast": ("POST", "/v1/forecasts"),
    "jobs": ("GET", "/v1/jobs"),
    "admin": ("POST", "/v2/repository/models/lstm/load"),
}


@dataclass(frozen=True)
class Keyed:
    """A server with a file of keys, and a key for each scope."""

    server: Server
    file: Path
    secrets: dict[str, str]
    keys: dict[str, Key]

    def call(self, scope: str, key: str | None, **headers: str) -> httpx.Response:
        """The call that needs a scope, made with a key."""
        method, path = CALLS[scope]
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        body = {"series": [SERIES]} if scope == "forecast" else None
        return httpx.request(method, self.server.url + path, json=body, headers=headers, timeout=DEADLINE_S)


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, valkey_url: str) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("keyed")
    made = {scope: make(scope, [scope]) for scope in CALLS}
    made["slow"] = make("slow", ["forecast"], SLOW_PER_S)
    for _, key in made.values():
        add(folder / "api-keys", key)
    env = {"NEXTDAY_API_KEYS_FILE": str(folder / "api-keys"), "NEXTDAY_STATE": str(folder / "state")}
    with serving(folder, NEXTDAY_REDIS_URL=valkey_url, **env) as server:
        secrets, keys = ({name: pair[place] for name, pair in made.items()} for place in (0, 1))
        yield Keyed(server, folder / "api-keys", secrets, keys)


def until(look: Callable[[], bool], deadline_s: float = 10.0) -> float:
    """Seconds until a look came true."""
    started = time.monotonic()
    while not look():
        assert time.monotonic() < started + deadline_s, "it did not come to pass in time"
        time.sleep(0.02)
    return time.monotonic() - started


@pytest.mark.parametrize("scope", CALLS)
def test_a_call_is_answered_for_its_scope_alone(scope: str, keyed: Keyed) -> None:
    statuses = {each: keyed.call(scope, keyed.secrets[each]).status_code for each in CALLS}

    assert statuses == {each: 200 if each == scope else 403 for each in CALLS}
    assert keyed.call(scope, None).status_code == 401
    assert keyed.call(scope, make("stranger", CALLS)[0]).status_code == 401


def test_what_balancers_and_people_look_at_needs_no_key(keyed: Keyed) -> None:
    for path in (
        "/healthz",
        "/readyz",
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        "/openapi.json",
        "/problems",
        "/docs/",
    ):
        assert httpx.get(keyed.server.url + path).status_code == 200, path


def test_keys_rotate_while_the_service_runs(keyed: Keyed) -> None:
    old_secret, old = make("desk", ["forecast"])
    add(keyed.file, old)
    until(lambda: keyed.call("forecast", old_secret).status_code == 200)

    new_secret, new = make("desk", ["forecast"])
    add(keyed.file, new)
    until(lambda: all(keyed.call("forecast", new_secret).status_code == 200 for _ in range(8)))
    assert keyed.call("forecast", old_secret).status_code == 200
    remove(keyed.file, old.id)
    took_s = until(lambda: all(keyed.call("forecast", old_secret).status_code == 401 for _ in range(8)))

    assert took_s < 3
    assert keyed.call("forecast", new_secret).status_code == 200


def test_a_file_that_was_broken_lets_in_those_from_before_and_is_logged(keyed: Keyed) -> None:
    whole = keyed.file.read_text()
    keyed.file.write_text(whole + "half a li")

    until(lambda: keyed.call("jobs", keyed.secrets["jobs"]).is_success and "half" not in whole and told(keyed) > 0)

    assert keyed.call("forecast", keyed.secrets["forecast"]).status_code == 200
    keyed.file.write_text(whole)


def told(keyed: Keyed) -> int:
    return keyed.server.log.read_text().count("the keys that were there before stay")


def test_a_limit_holds_over_both_processes(keyed: Keyed) -> None:
    headers = {"Authorization": f"Bearer {keyed.secrets['slow']}"}
    limits = httpx.Limits(max_keepalive_connections=0)  # a connection a request, so that both processes answer
    answers = []
    with httpx.Client(base_url=keyed.server.url, headers=headers, limits=limits) as client:
        started = time.monotonic()
        while time.monotonic() < started + 2:
            answers.append(client.post("/v1/forecasts", json={"series": [SERIES]}))
        took_s = time.monotonic() - started

    through = sum(answer.status_code == 200 for answer in answers)
    assert 0.95 * (SLOW_PER_S * 2) <= through <= SLOW_PER_S * (took_s + 1)  # a slow machine may not use its burst up
    assert {answer.headers["Retry-After"] for answer in answers if answer.status_code == 429} == {"1"}


@pytest.mark.parametrize(
    "lines",
    [
        b'Authorization: Bearer nd_0\r\n {"level":"error"}\r\n',
        b'Authorization: Bearer x\n{"level":"error"}\r\n',
        b'Authorization: Bearer x\r{"level":"error"}\r\n',
        b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n",
        b'Origin: x%0d%0a{"level":"error"}\r\n',
        b'X-Request-Id: x%0d%0a{"level":"error"}\r\n',
    ],
    ids=range(6),
)
def test_no_header_makes_a_line_of_the_log(lines: bytes, keyed: Keyed) -> None:
    before = len(keyed.server.log.read_text().splitlines())

    answer = raw(keyed.server.url, b"GET /v1/models HTTP/1.1\r\nHost: test\r\nConnection: close\r\n" + lines + b"\r\n")

    assert answer[9:12] in (b"400", b"401")
    for line in keyed.server.log.read_text().splitlines()[before:]:
        assert json.loads(line)["level"] != "error"


def raw(url: str, sent: bytes) -> bytes:
    """What comes back for raw bytes."""
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), DEADLINE_S) as connection:
        connection.sendall(sent)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


def test_no_key_and_no_hash_is_in_the_log(keyed: Keyed) -> None:
    secret, key = keyed.secrets["forecast"], keyed.keys["forecast"]
    for scope in CALLS:
        keyed.call(scope, secret)
    httpx.get(f"{keyed.server.url}/v1/models/{secret}", headers={"X-Request-Id": secret})
    httpx.get(f"{keyed.server.url}/v1/models?key={secret}", headers={"Authorization": f"Basic {secret}"})

    log = log_with(keyed, f"/v1/models/nd_{key.id}_...")

    for each in keyed.secrets:
        assert keyed.secrets[each][12:] not in log
        assert keyed.keys[each].digest.hex() not in log


def log_with(keyed: Keyed, words: str) -> str:
    """The log of the server, once these words are in it; lines of requests come a moment later."""
    deadline = time.monotonic() + DEADLINE_S
    while words not in (log := keyed.server.log.read_text()):
        assert time.monotonic() < deadline, log
        time.sleep(0.02)
    return log


def score(keyed: Keyed, folder: Path, key: str | None) -> subprocess.CompletedProcess[str]:
    """`nextday score --detach` with a key in the environment."""
    (folder / "prices.ndjson").write_text((json.dumps({"id": "a", "closes": [101.5] * 4000}) + "\n") * 200)
    command = [
        "score",
        str(folder / "prices.ndjson"),
        "-o",
        str(folder / "out.csv"),
        "--detach",
        "--url",
        keyed.server.url,
    ]
    env = {name: value for name, value in os.environ.items() if name != "NEXTDAY_API_KEY"}
    env |= {} if key is None else {"NEXTDAY_API_KEY": key}
    return subprocess.run(
        [sys.executable, "-m", "nextday", *command], env=env, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("scope", "code", "told"),
    [
        (None, 2, "an API key is needed"),
        ("forecast", 2, "this needs an API key with the scope `jobs`; yours has forecast"),
        ("jobs", 0, "is queued"),
    ],
)
def test_score_sends_the_key_of_the_environment(
    scope: str | None, code: int, told: str, keyed: Keyed, tmp_path: Path
) -> None:
    done = score(keyed, tmp_path, keyed.secrets[scope] + "\n" if scope else None)

    assert done.returncode == code, done.stderr
    assert told in done.stderr
    assert code == 0 or ("NEXTDAY_API_KEY" in done.stderr and len(done.stderr.splitlines()) == 1)


def test_score_does_not_repeat_what_is_no_key(keyed: Keyed, tmp_path: Path) -> None:
    done = score(keyed, tmp_path, "se cret\nX: y")

    assert done.returncode == 2
    assert "NEXTDAY_API_KEY is no API key" in done.stderr
    assert "cret" not in done.stderr


def test_without_keys_this_machine_forecasts_and_submits_and_is_no_admin(service_url: str, tmp_path: Path) -> None:
    keyed = Keyed(Server(service_url, None, tmp_path, 2), tmp_path, {}, {})  # type: ignore[arg-type]

    assert [keyed.call(scope, None).status_code for scope in CALLS] == [200, 200, 403]
    assert "nextday keys new" in keyed.call("admin", None).json()["error"]


@pytest.mark.parametrize("command", [["serve"], ["up"]])
@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_where_others_reach_it_a_service_without_keys_does_not_start(
    command: list[str], host: str, tmp_path: Path
) -> None:
    if host == "::" and not socket.has_ipv6:
        pytest.skip("this machine has no IPv6")
    env = {**os.environ, "NEXTDAY_HOST": host, "NEXTDAY_PORT": str(free_port()), "PYTHONPATH": str(Path.cwd())}

    end = subprocess.run(
        [sys.executable, "-m", "nextday", *command], cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip

    assert end.returncode == 2
    assert f"nextday: NEXTDAY_HOST='{host}': others can reach this address, and there are no API keys" in end.stderr
    assert "Traceback" not in end.stderr


def test_a_key_file_that_is_wrong_stops_the_start_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "api-keys").write_text("\nnonsense\n")
    env = {**os.environ, "NEXTDAY_API_KEYS_FILE": str(tmp_path / "api-keys"), "NEXTDAY_PORT": str(free_port())}

    end = subprocess.run(
        [sys.executable, "-m", "nextday", "serve"], env=env, capture_output=True, text=True, timeout=60, check=False
    )

    assert (end.returncode, end.stdout) == (2, "")
    assert end.stderr.startswith(f"nextday: {tmp_path}/api-keys, line 2: has 1 parts; a key is <id> <name>")
    assert end.stderr.count("\n") == 1
