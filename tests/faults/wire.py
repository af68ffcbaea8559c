"""Bytes to a server and bytes back, for callers that no HTTP library would play."""

import json
import socket
import struct
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from tests.integration.server_process import DEADLINE_S

SERIES = b'{"series":[{"id":"AAPL","closes":[101.5,102.25]}]}'
QUIET_S = 0.5
"""Seconds without a byte, after which nothing more is taken to come."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Talk:
    """All that came back on one connection, and whether the server ended it, or said that it would."""

    answers: list[Answer]
    ended: bool
    raw: bytes

    @property
    def statuses(self) -> list[int]:
        return [answer.status for answer in self.answers]

    @property
    def last(self) -> Answer:
        return self.answers[-1]


def request(method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
    """A request in bytes; an underscore in a header's name stands for a hyphen."""
    lines = {"Host": "test", **{name.replace("_", "-"): value for name, value in headers.items()}}
    if body is not None:
        lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b"")


def forecast(body: bytes = SERIES, **headers: str) -> bytes:
    return request("POST", "/v1/forecasts", body, Content_Type="application/json", **headers)


def infer(body: bytes, model: str = "lstm", **headers: str) -> bytes:
    return request("POST", f"/v2/models/{model}/infer", body, **headers)


def tensors(closes: list[list[float]], lengths: list[int]) -> bytes:
    """The body of an inference request with its numbers as bytes; `json_bytes` tells where they begin."""
    values, ends = np.array(closes, "<f4"), np.array(lengths, "<i8")
    inputs = [
        {"name": name, "shape": array.shape, "datatype": kind, "parameters": {"binary_data_size": array.nbytes}}
        for name, kind, array in (("closes", "FP32", values), ("lengths", "INT64", ends))
    ]
    return json.dumps({"inputs": inputs}).encode() + values.tobytes() + ends.tobytes()


def json_bytes(body: bytes) -> str:
    """The length of the JSON in front of a body of `tensors`."""
    return str(body.index(b"]}") + body[body.index(b"]}") :].index(b"]}") + 2)


def connect(url: str) -> socket.socket:
    return socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), DEADLINE_S)


def talk(url: str, sent: bytes, *, end: bool = False) -> Talk:
    """What comes back for bytes: until the server ends the connection, or says that it will, or has gone quiet."""
    with connect(url) as connection:
        with suppress(ConnectionError):  # the server may have ended it before all is sent
            connection.sendall(sent)
            if end:
                connection.shutdown(socket.SHUT_WR)
        return hear(connection)


def hear(connection: socket.socket, *, wait_s: float = DEADLINE_S) -> Talk:
    """What comes back on a connection, once something does."""
    raw, closed = b"", False
    with suppress(ConnectionError):
        while not closed:
            connection.settimeout(QUIET_S if complete(raw) else wait_s)
            try:
                part = connection.recv(1 << 20)
            except TimeoutError:
                break
            raw, closed = raw + part, not part
    found = answers(raw)
    told = bool(found) and found[-1].headers.get("connection", "").lower() == "close"
    return Talk(found, closed or told, raw)


def complete(raw: bytes) -> bool:
    """Whether some bytes end with the end of an answer."""
    found = answers(raw)
    return bool(found) and int(found[-1].headers.get("content-length", 0)) == len(found[-1].body)


def answers(raw: bytes) -> list[Answer]:
    """The answers that lie in some bytes one behind the other; the last of them may be cut off."""
    found = []
    while raw.startswith(b"HTTP/1.") and b"\r\n\r\n" in raw:
        head, raw = raw.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", 0))
        found.append(Answer(int(first.split()[1]), headers, raw[:length]))
        raw = raw[length:]
    return found


def vanish(connection: socket.socket) -> None:
    """End a connection as a machine does that is switched off: with a reset, and nothing said."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def probe_s(url: str) -> float:
    """Seconds that an honest caller's forecast takes; it is right."""
    began = time.monotonic()
    found = talk(url, forecast(Connection="close"))
    took = time.monotonic() - began
    assert found.statuses == [200], found.raw[:500]
    assert len(found.last.json()["forecasts"][0]["quantiles"]) == 9
    return took
