"""What tests of the Open Inference Protocol share: requests that are right, and what their answers should be."""

from collections.abc import Sequence
from typing import Any

import httpx
import msgspec
import numpy as np
import tritonclient.http as triton

from service.keys import SCOPES, make
from service.oip import schemas
from tests.integration.server_process import Server

INFER = "/v2/models/lstm/infer"
LENGTH = "Inference-Header-Content-Length"
MAX_BODY_BYTES, MAX_SERIES, MAX_CLOSES = 4_000_000, 1000, 500_000

SECRET, KEY = make("tests", SCOPES)
AUTHORIZED = {"Authorization": f"Bearer {SECRET}"}


class WithKey(triton.InferenceServerClientPlugin):
    """What makes a client of Triton's send the key with every request."""

    def __call__(self, request: Any) -> None:
        request.headers |= AUTHORIZED


def with_key(client: Any) -> Any:
    client.register_plugin(WithKey())
    return client


def address(server: Server) -> str:
    return server.url.removeprefix("http://")


def walk(days: int, seed: int = 7) -> list[float]:
    steps = np.random.default_rng(seed).normal(0, 0.01, days)
    return [round(float(close), 2) for close in 100 * np.exp(np.cumsum(steps))]


ROWS = [walk(days, seed=days) for days in (60, 250, 2, 1000, 61)]


def tensors(rows: Sequence[Sequence[float]], *, padding: float = np.nan, binary: bool = True) -> list[Any]:
    closes = np.full((len(rows), max(map(len, rows))), padding, np.float32)
    for row, history in enumerate(rows):
        closes[row, : len(history)] = history
    lengths = np.array([len(row) for row in rows], np.int64)
    put = (("closes", closes, "FP32"), ("lengths", lengths, "INT64"))
    inputs = [(triton.InferInput(name, list(array.shape), kind), array) for name, array, kind in put]
    for given, array in inputs:
        given.set_data_from_numpy(array, binary_data=binary)
    return [given for given, _ in inputs]


def bits(quantiles: Any) -> bytes:
    return np.ascontiguousarray(quantiles, "<f4").tobytes()


def wanted(http: httpx.Client, rows: Sequence[Sequence[float]], model: str = "lstm") -> np.ndarray:
    """What `/v1/forecasts` answers, each row asked for alone."""
    answers = [
        http.post("/v1/forecasts", json={"model": model, "series": [{"id": "a", "closes": row}]}) for row in rows
    ]
    return np.array([list(each.json()["forecasts"][0]["quantiles"].values()) for each in answers], np.float32)


def request(**changes: Any) -> dict[str, Any]:
    """A request in JSON that is right, but for the changes."""
    closes = {"name": "closes", "datatype": "FP32", "shape": [1, 2], "data": [101.5, 102.25]}
    lengths = {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [2]}
    return {"inputs": [closes | changes.pop("closes", {}), lengths | changes.pop("lengths", {})], **changes}


def refused(answer: httpx.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    error = msgspec.json.decode(answer.content, type=schemas.InferenceError).error
    assert words in error
    assert len(error) < 500


def shape(document: Any, kind: Any) -> None:
    """The document is what `/openapi.json` says it is."""
    msgspec.convert(document, kind)
