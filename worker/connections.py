"""
Ways to Redis, for queue and ledger: one URL, of a server or of the sentinels that know which server is the master.

    redis://:password@host:6379/0        rediss:// the same over TLS; ?ssl_ca_certs= names a file of one's own authority
    sentinel://:password@host:26379,host2:26379,host3:26379/0?service=mymaster&sentinel_password=...

The password may stand in a file of its own instead, which containers get as a secret; the URL then has none.

A Redis Cluster is refused: Celery's queue cannot live on one.
"""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from models.errors import NextdayError, SettingError
from worker.ledger import Ledger
from worker.settings import WorkerSettings

QUEUE = "work"
"""Key of the queue's list, without the prefix."""
KEY_PREFIX = "nextday:"
"""Of every key in Redis, the broker's and the ledger's, so that a database may be shared."""
SENTINEL_PORT = 26379
SHAPES = "redis://host:6379/0, rediss://host:6379/0 or sentinel://host:26379,host2:26379/0?service=mymaster"
CHECK_TIMEOUT_S = 2.0


class RedisIsCluster(NextdayError):
    """The Redis of the settings is a cluster."""

    def __init__(self) -> None:
        super().__init__(
            "NEXTDAY_REDIS_URL leads to a Redis Cluster, on which Celery's queue cannot live; name a single server, or "
            f"sentinels: {SHAPES}"
        )


class Sentinels(NamedTuple):
    """Where the sentinels are, what they call the master, and how both are logged in to."""

    hosts: list[tuple[str, int]]
    service: str
    db: int
    username: str | None
    password: str | None
    sentinel_password: str | None

    def login(self) -> dict[str, str]:
        """What a sentinel asks for."""
        return {"password": self.sentinel_password} if self.sentinel_password else {}


def connect(settings: WorkerSettings, *, timeout_s: float, retries: int) -> redis.Redis:
    """
    A client of the settings' Redis, which connects on first use; by sentinels, one that follows the master.

    Args:
        settings: Where it is.
        timeout_s: Seconds that it may take to answer.
        retries: How often a call is made again whose connection broke: 0 in the service, which must say so at once.

    Raises:
        SettingError: The URL is none, or the password's file cannot be read.
    """
    url = _parse(settings)
    given: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 2.0),
        "socket_keepalive": True,
    }
    more = {
        "decode_responses": True,
        "health_check_interval": 10,
        "retry": Retry(ExponentialBackoff(cap=1.0, base=0.05), retries),
    }
    if url.scheme != "sentinel":
        return redis.Redis.from_url(url.geturl(), **given, **more)
    asked = _sentinels(url)
    # Sentinels are asked one after the other, so one that is away must not take all the time there is.
    sentinels: Any = Sentinel(  # type: ignore[no-untyped-call]
        asked.hosts, sentinel_kwargs={**given, **asked.login(), "socket_connect_timeout": 0.5}
    )
    login = {"username": asked.username, "password": asked.password}
    client: redis.Redis = sentinels.master_for(asked.service, db=asked.db, **login, **given, **more)
    return client


def open_ledger(settings: WorkerSettings, *, timeout_s: float, retries: int) -> Ledger:
    """The ledger over a client as `connect` makes it."""
    connection = connect(settings, timeout_s=timeout_s, retries=retries)
    replicated = _parse(settings).scheme == "sentinel"
    return Ledger(connection, prefix=KEY_PREFIX, queue=QUEUE, replicated=replicated)


def broker(settings: WorkerSettings, *, timeout_s: float) -> dict[str, Any]:
    """The same Redis as Celery's settings name it, with its password: for Celery alone."""
    url = _parse(settings)
    if url.scheme == "rediss":
        plain = url._replace(query="").geturl()
        return {"broker_url": plain, "broker_use_ssl": _tls(dict(parse_qsl(url.query)))}
    if url.scheme != "sentinel":
        return {"broker_url": url.geturl()}
    asked = _sentinels(url)
    login = f"{quote(asked.username or '', safe='')}:{quote(asked.password or '', safe='')}@" if asked.password else ""
    urls = [f"sentinel://{login}{host}:{port}/{asked.db}" for host, port in asked.hosts]
    kwargs = {**asked.login(), "socket_timeout": timeout_s, "socket_connect_timeout": 0.5}
    return {"broker_url": ";".join(urls), "transport": {"master_name": asked.service, "sentinel_kwargs": kwargs}}


def check_redis(settings: WorkerSettings) -> None:
    """
    Refuse what can never work; a Redis that is away may come yet, and is none of it.

    Raises:
        RedisIsCluster: It is one.
        SettingError: The URL is none.
    """
    connection = connect(settings, timeout_s=CHECK_TIMEOUT_S, retries=0)
    try:
        if connection.info("cluster").get("cluster_enabled"):
            raise RedisIsCluster
    except redis.RedisError:
        pass
    finally:
        connection.close()


def _parse(settings: WorkerSettings) -> SplitResult:
    """The URL, with the password where that stands in a file."""
    text, file = settings.redis_url, settings.redis_password_file
    url = urlsplit(text)
    if url.scheme not in ("redis", "rediss", "unix", "sentinel"):
        raise _refused(text, f"one of {SHAPES}")
    if file is None:
        return url
    login, _, hosts = url.netloc.rpartition("@")
    if ":" in login:
        raise _refused(text, "one without a password, which stands in the file that NEXTDAY_REDIS_PASSWORD_FILE names")
    return url._replace(netloc=f"{login}:{quote(_password(file), safe='')}@{hosts}")


def _password(file: Path) -> str:
    """What a file holds, but for the line's end."""
    try:
        password = file.read_text("utf-8").rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "is not UTF-8"
        wanted = f"a file with the password for NEXTDAY_REDIS_URL; this one cannot be read: {reason}"
        raise SettingError(variable="NEXTDAY_REDIS_PASSWORD_FILE", value=str(file), wanted=wanted) from None
    if not password:
        wanted = "a file with the password for NEXTDAY_REDIS_URL; this one is empty"
        raise SettingError(variable="NEXTDAY_REDIS_PASSWORD_FILE", value=str(file), wanted=wanted)
    return password


def _sentinels(url: SplitResult) -> Sentinels:
    login, _, hosts = url.netloc.rpartition("@")
    username, _, password = login.partition(":")
    query, db = dict(parse_qsl(url.query)), url.path.strip("/") or "0"
    if not hosts or not query.get("service") or not db.isdecimal():
        raise _refused(url.geturl(), "sentinel://:password@host:26379,host2:26379/0?service=NAME_OF_THE_MASTER")
    return Sentinels(
        [_address(host, url) for host in hosts.split(",")],
        query["service"],
        int(db),
        unquote(username) or None,
        unquote(password) or None,
        query.get("sentinel_password"),
    )


def _address(text: str, url: SplitResult) -> tuple[str, int]:
    host, _, port = text.partition(":")
    if not host or (port and not port.isdecimal()):
        raise _refused(url.geturl(), f"{text!r} is not a sentinel's host:port")
    return host, int(port or SENTINEL_PORT)


def _tls(query: Mapping[str, str]) -> dict[str, Any]:
    demands = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    files = {name: query[name] for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile") if name in query}
    return {"ssl_cert_reqs": demands[query.get("ssl_cert_reqs", "required")], **files}


def _refused(text: str, wanted: str) -> SettingError:
    """What is wrong with a URL, without the passwords in it."""
    login, at, _ = urlsplit(text).netloc.rpartition("@")
    shown = text.replace(login + at, "***@") if at else text
    return SettingError(variable="NEXTDAY_REDIS_URL", value=shown.partition("?")[0], wanted=wanted)
