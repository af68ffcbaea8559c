"""Who is let in: the table of scopes, keys and none, rates, origins, and where a service may listen."""

from pathlib import Path
from typing import Any

import pytest

from models.errors import SettingError
from service.admission import LOCAL, STRANGER, Admission, needed
from service.cors import cors_headers, parse_origins, preflight_headers
from service.errors import Forbidden, RateLimited, Unauthorized
from service.exposure import check_exposure
from service.keys import BadKeyFile, make
from service.openapi import OPERATIONS
from service.settings import ServiceSettings

FORECAST, FORECAST_KEY = make("desk", ["forecast"])
JOBS, JOBS_KEY = make("batch", ["jobs"])
ADMIN, ADMIN_KEY = make("ops", ["admin"])
SLOW, SLOW_KEY = make("slow", ["forecast"], 0.1)
UNLIMITED, UNLIMITED_KEY = make("fast", ["forecast"], 0)
KEYS = (FORECAST_KEY, JOBS_KEY, ADMIN_KEY, SLOW_KEY, UNLIMITED_KEY)
BY_SCOPE = {"forecast": FORECAST, "jobs": JOBS, "admin": ADMIN}

NEEDS = [
    ("GET", "/", "nothing"),
    ("GET", "/healthz", "nothing"),
    ("HEAD", "/readyz", "nothing"),
    ("GET", "/metrics", "nothing"),
    ("GET", "/problems", "nothing"),
    ("GET", "/openapi.json", "nothing"),
    ("GET", "/pages/health", "nothing"),
    ("GET", "/pages/static/0123/pages.css", "nothing"),
    ("GET", "/docs", "nothing"),
    ("GET", "/docs/", "nothing"),
    ("GET", "/docs/swagger-ui.css", "nothing"),
    ("GET", "/v2", "nothing"),
    ("GET", "/v2/", "nothing"),
    ("GET", "/v2/health/live", "nothing"),
    ("GET", "/v2/health/ready", "nothing"),
    ("POST", "/v1/forecasts", "forecast"),
    ("OPTIONS", "/v1/forecasts", "forecast"),
    ("GET", "/v1/models", "forecast"),
    ("GET", "/v1/models/lstm", "forecast"),
    ("HEAD", "/v1/models/lstm", "forecast"),
    ("POST", "/v1/models/lstm", "admin"),
    ("DELETE", "/v1/models/lstm/versions/1", "admin"),
    ("PUT", "/v1/models", "admin"),
    ("POST", "/v1/jobs", "jobs"),
    ("GET", "/v1/jobs", "jobs"),
    ("GET", "/v1/jobs/7", "jobs"),
    ("DELETE", "/v1/jobs/7", "jobs"),
    ("GET", "/v1/jobs/7/results", "jobs"),
    ("GET", "/v1/jobs/7/errors", "jobs"),
    ("GET", "/v2/models/stats", "forecast"),
    ("GET", "/v2/models/lstm", "forecast"),
    ("GET", "/v2/models/lstm/versions/1/config", "forecast"),
    ("POST", "/v2/models/lstm/infer", "forecast"),
    ("POST", "/v2/models/lstm/versions/1/infer", "forecast"),
    ("POST", "/v2/repository/index", "forecast"),
    ("POST", "/v2/repository/models/lstm/load", "admin"),
    ("POST", "/v2/repository/models/lstm/unload", "admin"),
    ("GET", "/nothing", "any key"),
    ("GET", "/healthz/", "any key"),
    ("GET", "/docsx", "any key"),
    ("GET", "/v1", "any key"),
    ("GET", "/v1/jobsx", "any key"),
    ("GET", "/v1/modelsx", "any key"),
    ("POST", "/v2/repository", "any key"),
    ("GET", "/v2x", "any key"),
    ("GET", "", "any key"),
    ("GET", "//healthz", "any key"),
    ("POST", "/V1/FORECASTS", "any key"),
]


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    path = tmp_path / "api-keys"
    path.write_text("".join(f"{key.line}\n" for key in KEYS))
    return path


@pytest.fixture
def admission(key_file: Path, tmp_path: Path) -> Admission:
    return Admission.of(ServiceSettings(api_keys_file=key_file, state=tmp_path))


@pytest.fixture
def without_keys(tmp_path: Path) -> Admission:
    return Admission.of(ServiceSettings(state=tmp_path))


def bearer(secret: str) -> str:
    return f"Bearer {secret}"


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_a_path_needs_its_scope(method: str, path: str, scope: str) -> None:
    assert needed(method, path) == scope


def test_every_operation_stands_in_the_table() -> None:
    assert [each.path for each in OPERATIONS if needed(each.method.upper(), each.path) == "any key"] == []


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_a_key_opens_what_has_its_scope_and_nothing_else(
    method: str, path: str, scope: str, admission: Admission
) -> None:
    for each, secret in BY_SCOPE.items():
        if scope in (each, "any key", "nothing"):
            admission.admit(method, path, bearer(secret), "10.0.0.9")
            continue
        with pytest.raises(Forbidden, match=f"the scope `{scope}`; yours has {each}"):
            admission.admit(method, path, bearer(secret), "10.0.0.9")


@pytest.mark.parametrize(("method", "path", "scope"), NEEDS)
def test_without_a_key_only_what_is_open_is_open(method: str, path: str, scope: str, admission: Admission) -> None:
    if scope == "nothing":
        assert admission.admit(method, path, None, "10.0.0.9") is STRANGER
        return

    with pytest.raises(Unauthorized, match=r"an API key is needed") as caught:
        admission.admit(method, path, None, "127.0.0.1")

    assert caught.value.headers == {"WWW-Authenticate": "Bearer"}


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER  "])
def test_the_caller_is_the_key(scheme: str, admission: Admission) -> None:
    caller = admission.admit("POST", "/v1/forecasts", scheme + FORECAST, "10.0.0.9")

    assert (caller.key_id, caller.name, caller.scopes) == (FORECAST_KEY.id, "desk", {"forecast"})


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ",
        FORECAST,
        f"Basic {FORECAST}",
        f"Bearer{FORECAST}",
        f"Bearer {FORECAST[:-1]}",
        f"Bearer {FORECAST}, Bearer {FORECAST}",
        f"Bearer {FORECAST} {FORECAST}",
        f"Bearer {FORECAST}\r\nX: y",
        f"Bearer {FORECAST_KEY.digest.hex()}",
        f"Bearer {make('stranger', ['forecast', 'jobs', 'admin'])[0]}",
    ],
    ids=range(12),
)
def test_what_is_no_key_of_ours_is_refused_and_not_repeated(authorization: str, admission: Admission) -> None:
    with pytest.raises(Unauthorized) as caught:
        admission.admit("POST", "/v1/forecasts", authorization, "127.0.0.1")

    assert FORECAST[12:] not in str(caught.value)


@pytest.mark.parametrize("client", ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", None])
def test_without_keys_this_machine_may_forecast_and_submit(client: str | None, without_keys: Admission) -> None:
    for path in ("/v1/forecasts", "/v1/jobs", "/v2/models/lstm/infer", "/nothing"):
        assert without_keys.admit("POST", path, "Bearer whatever", client) is LOCAL


def test_without_keys_nobody_is_admin_and_is_told_how_to_be(without_keys: Admission) -> None:
    with pytest.raises(Forbidden, match="`nextday keys new NAME --scope admin --file FILE`"):
        without_keys.admit("POST", "/v2/repository/models/lstm/load", None, "127.0.0.1")


@pytest.mark.parametrize("client", ["10.0.0.9", "8.8.8.8", "2001:db8::1", "", "unix:"])
def test_without_keys_other_machines_are_strangers(client: str, without_keys: Admission) -> None:
    with pytest.raises(Unauthorized):
        without_keys.admit("POST", "/v1/forecasts", None, client)


def test_a_file_without_keys_lets_nobody_in(tmp_path: Path) -> None:
    (tmp_path / "api-keys").write_text("# none\n")
    admission = Admission.of(ServiceSettings(api_keys_file=tmp_path / "api-keys", state=tmp_path))

    with pytest.raises(Unauthorized):
        admission.admit("POST", "/v1/forecasts", None, "127.0.0.1")


def test_a_key_that_asks_too_often_is_told_how_long_to_wait(admission: Admission) -> None:
    assert admission.admit("POST", "/v1/forecasts", bearer(SLOW)).name == "slow"

    with pytest.raises(RateLimited, match=r"at most 0.1 requests a second") as caught:
        admission.admit("POST", "/v1/forecasts", bearer(SLOW))

    assert caught.value.headers == {"Retry-After": "10"}
    assert admission.admit("POST", "/v1/forecasts", bearer(FORECAST)).name == "desk"
    assert admission.admit("GET", "/healthz", bearer(SLOW)) is STRANGER


def test_the_limit_of_the_settings_holds_for_keys_without_their_own(key_file: Path, tmp_path: Path) -> None:
    admission = Admission.of(ServiceSettings(api_keys_file=key_file, state=tmp_path, rate_per_s=0.5))

    admission.admit("POST", "/v1/forecasts", bearer(FORECAST))
    with pytest.raises(RateLimited):
        admission.admit("POST", "/v1/forecasts", bearer(FORECAST))

    for _ in range(10):
        assert admission.admit("POST", "/v1/forecasts", bearer(UNLIMITED)).name == "fast"


def test_all_callers_without_keys_share_one_limit(tmp_path: Path) -> None:
    admission = Admission.of(ServiceSettings(state=tmp_path, rate_per_s=0.5))

    admission.admit("POST", "/v1/forecasts", None, "127.0.0.1")

    with pytest.raises(RateLimited):
        admission.admit("GET", "/v1/jobs", None, "::1")


def test_no_key_or_hash_shows_in_the_repr_of_a_caller(admission: Admission) -> None:
    caller = admission.admit("POST", "/v1/forecasts", bearer(FORECAST))

    assert FORECAST[12:] not in repr(caller)
    assert FORECAST_KEY.digest.hex() not in repr(caller)


# Where a service may listen


@pytest.mark.parametrize("address", ["0.0.0.0", "::", "192.0.2.7", "fe80::1%eth0"])
@pytest.mark.parametrize("content", [None, "", "# none\n"])
def test_where_others_can_reach_it_a_service_without_keys_does_not_start(
    address: str, content: str | None, tmp_path: Path
) -> None:
    file = None
    if content is not None:
        file = tmp_path / "my-keys"
        file.write_text(content)

    with pytest.raises(SettingError, match=rf"^NEXTDAY_HOST='{address}': others can reach this address") as caught:
        check_exposure(ServiceSettings(host=address, api_keys_file=file), address)

    told = f"{file} holds no API key" if file else "set NEXTDAY_API_KEYS_FILE=api-keys"
    assert told in str(caught.value)
    assert f"`nextday keys new NAME --scope forecast --scope jobs --file {file or 'api-keys'}`" in str(caught.value)


def test_with_a_key_it_may_listen_anywhere_and_without_on_this_machine_alone(key_file: Path) -> None:
    check_exposure(ServiceSettings(api_keys_file=key_file), "0.0.0.0")

    check_exposure(ServiceSettings(), "127.0.0.1")
    check_exposure(ServiceSettings(), "::1")


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        (
            {"api_keys_file": Path("nowhere/keys")},
            BadKeyFile,
            "nowhere/keys: there is no such file of API keys; make one with `nextday keys new ",
        ),
        ({"cors_origins": "*"}, SettingError, r"NEXTDAY_CORS_ORIGINS='\*'"),
        ({"rate_per_s": 1.0, "state": Path("/dev/null/state")}, SettingError, "NEXTDAY_STATE='/dev/null/state'"),
    ],
)
def test_what_cannot_be_stops_the_start(changes: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        check_exposure(ServiceSettings(**changes), "127.0.0.1")


# Pages of other origins

OURS = frozenset({"https://app.example.org", "http://localhost:3000"})


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", set()),
        (" , ", set()),
        ("https://app.example.org, http://localhost:3000,", OURS),
        ("http://[::1]:3000", {"http://[::1]:3000"}),
    ],
)
def test_origins_are_read(text: str, origins: set[str]) -> None:
    assert parse_origins(text) == origins


@pytest.mark.parametrize(
    "text", ["*", "null", "app.example.org", "https://app.example.org/", "https://u@a.org", "HTTPS://A.ORG", "ftp://a.org",
             "https://a.org:x", "https://*.a.org", "https://"]
)  # fmt: skip
def test_what_is_no_origin_is_refused(text: str) -> None:
    with pytest.raises(SettingError, match="NEXTDAY_CORS_ORIGINS="):
        parse_origins(f"https://ok.example,{text}")


def test_an_origin_that_is_named_may_read() -> None:
    headers = cors_headers("https://app.example.org", OURS)

    assert ("Access-Control-Allow-Origin", "https://app.example.org") in headers
    assert ("Vary", "Origin") in headers


@pytest.mark.parametrize("origin", [None, "", "null", "https://app.example.org.evil", "http://app.example.org", "*"])
def test_any_other_origin_gets_no_header(origin: str | None) -> None:
    assert cors_headers(origin, OURS) == []
    assert cors_headers(origin, frozenset()) == []
    assert preflight_headers("OPTIONS", origin, "POST", OURS) == []


def test_a_preflight_is_told_apart_from_other_requests() -> None:
    ours = "https://app.example.org"

    assert dict(preflight_headers("OPTIONS", ours, "POST", OURS))["Access-Control-Allow-Methods"] == "GET, POST, PUT"
    assert preflight_headers("OPTIONS", ours, None, OURS) == []
    assert preflight_headers("POST", ours, "POST", OURS) == []
