"""What the URL of Redis may be, and what Celery makes of it."""

import ssl
from dataclasses import replace

import pytest
from redis.sentinel import SentinelConnectionPool

from models.errors import SettingError
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
