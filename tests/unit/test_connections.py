"""What the URL of Redis may be, and what Celery makes of it."""

import ssl
from dataclasses import replace
from pathlib import Path

import pytest
from kombu import Connection
from redis.sentinel import SentinelConnectionPool

from models.errors import SettingError
from worker.app import create_app
from worker.connections import broker, connect
from worker.settings import WorkerSettings

SENTINELS = "sentinel://:a%2Fb@one:1,two/3?service=mymaster&sentinel_password=c"


def settings(url: str) -> WorkerSettings:
    return replace(WorkerSettings(), redis_url=url)


def test_sentinels_are_named_to_celery_each_with_its_url() -> None:
    where = broker(settings(SENTINELS), timeout_s=1.0)

    assert where["broker_url"] == "sentinel://:a%2Fb@one:1/3;sentinel://:a%2Fb@two:26379/3"
    assert where["transport"]["master_name"] == "mymaster"
    assert where["transport"]["sentinel_kwargs"]["password"] == "c"


def test_the_ledger_follows_the_master_that_sentinels_name() -> None:
    client = connect(settings(SENTINELS), timeout_s=1.0, retries=0)

    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "mymaster"
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("a/b", 3)
    asked = [each.connection_pool.connection_kwargs for each in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"], each["password"]) for each in asked] == [("one", 1, "c"), ("two", 26379, "c")]


def test_over_tls_the_server_must_show_who_it_is() -> None:
    url = "rediss://:secret@host:6380/0"

    where = broker(settings(url + "?ssl_ca_certs=/ca.pem"), timeout_s=1.0)

    assert where == {
        "broker_url": url,
        "broker_use_ssl": {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": "/ca.pem"},
    }
    kwargs = connect(settings(url), timeout_s=1.0, retries=0).connection_pool.connection_kwargs
    assert kwargs.get("ssl_cert_reqs", "required") == "required"


def in_file(folder: Path, url: str, password: str = "a/b:c@d%\n") -> WorkerSettings:
    (folder / "password").write_text(password)
    return replace(WorkerSettings(), redis_url=url, redis_password_file=folder / "password")


@pytest.mark.parametrize(
    ("url", "username"),
    [("redis://nextday@host:6379/2", "nextday"), ("redis://host:6379/2", None), ("rediss://nextday@host/2", "nextday"),
     ("sentinel://nextday@one,two/2?service=mymaster", "nextday"), ("sentinel://one/2?service=mymaster", None)],
)  # fmt: skip
def test_the_password_in_a_file_goes_to_the_ledger_and_to_celery(
    tmp_path: Path, url: str, username: str | None
) -> None:
    where = in_file(tmp_path, url)

    kwargs = connect(where, timeout_s=1.0, retries=0).connection_pool.connection_kwargs
    with create_app(where, timeout_s=1.0).connection_for_write() as connection:
        celery = [(each.userid, each.password) for each in map(Connection, connection.alt or [connection.as_uri(True)])]

    assert (kwargs.get("username"), kwargs["password"], kwargs["db"]) == (username, "a/b:c@d%", 2)
    assert {(user or None, password) for user, password in celery} == {(username, "a/b:c@d%")}


def test_a_password_in_a_file_is_in_no_repr(tmp_path: Path) -> None:
    where = in_file(tmp_path, "redis://nextday@host:6379/2", "sesame")

    app = create_app(where, timeout_s=1.0)

    assert "sesame" not in repr(where) + app.connection_for_write().as_uri()


@pytest.mark.parametrize(
    ("url", "content", "words"),
    [("redis://:sesame@host/0", "x", "one without a password"), ("redis://host/0", "\n", "is empty"),
     ("redis://host/0", None, "No such file")],
)  # fmt: skip
def test_a_password_s_file_that_does_not_fit_is_refused(
    tmp_path: Path, url: str, content: str | None, words: str
) -> None:
    where = in_file(tmp_path, url, content or "")
    if content is None:
        (tmp_path / "password").unlink()

    with pytest.raises(SettingError, match=words) as refused:
        connect(where, timeout_s=1.0, retries=0)

    assert "sesame" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "http://host",
        "host:6379",
        "sentinel://:secret@host/0",
        "sentinel://:secret@/0?service=mymaster",
        "sentinel://:secret@host:x/0?service=mymaster",
        "sentinel://:secret@a,,b/0?service=mymaster",
        "sentinel://:secret@a/db?service=mymaster&sentinel_password=secret",
    ],
)
def test_what_is_no_url_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SettingError) as refused:
        connect(settings(url), timeout_s=1.0, retries=0)

    assert "NEXTDAY_REDIS_URL" in str(refused.value)
    assert "secret" not in str(refused.value)
