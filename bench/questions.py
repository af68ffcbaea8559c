"""What is asked: series of closes, and how each server takes them and answers."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

LENGTH_HEADER = "Inference-Header-Content-Length"
Rows = list[list[float]]


def closes(count: int, days: int, seed: int = 0) -> Rows:
    """Random walks with two decimals, as prices have them; series of a seed are the same for every server."""
    rng = np.random.default_rng([seed, count, days])
    walks = 100 * np.exp(np.cumsum(rng.standard_normal((count, days)) * 0.012, axis=1))
    return np.round(walks, 2).tolist()


def ragged(count: int, seed: int = 1) -> Iterator[list[float]]:
    """Series of different lengths, 2 to 100 closes."""
    lengths = np.random.default_rng(seed).integers(2, 101, count)
    for place, days in enumerate(lengths.tolist()):
        yield closes(1, days, seed + place)[0]


@dataclass(frozen=True)
class Wire:
    """
    How a server is asked.

    Attributes:
        path: Where.
        body: Rows of equal length as a body.
        quantiles: The quantiles of an answer. Shape ``(B, Q)``.
        headers: What a request has besides, given its body's rows.
    """

    path: str
    body: Callable[[Rows], bytes]
    quantiles: Callable[[bytes], np.ndarray]
    headers: Callable[[Rows], dict[str, str]] = field(default=lambda _: {"Content-Type": "application/json"})


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _table(numbers: object) -> np.ndarray:
    return np.array(numbers, np.float32).reshape(-1, 9)


def _our_body(rows: Rows) -> bytes:
    return _json({"series": [{"id": f"S{place}", "closes": row} for place, row in enumerate(rows)]})


def _our_quantiles(answer: bytes) -> np.ndarray:
    return _table([list(each["quantiles"].values()) for each in json.loads(answer)["forecasts"]])


def protocol(path: str, *, lengths_axes: tuple[int, ...] = ()) -> Wire:
    """
    The Open Inference Protocol, in JSON.

    Args:
        path: Where.
        lengths_axes: Axes of the lengths behind the first; pytriton wants one.
    """

    def body(rows: Rows) -> bytes:
        tensors = tensors_of(rows, lengths_axes)
        return _json({"inputs": [{**head, "data": array.ravel().tolist()} for head, array in tensors]})

    return Wire(path, body, lambda answer: _table(json.loads(answer)["outputs"][0]["data"]))


def binary(path: str, *, lengths_axes: tuple[int, ...] = ()) -> Wire:
    """The Open Inference Protocol with tensors as bytes behind the JSON, in and out, as tritonclient sends them."""

    def head(rows: Rows) -> bytes:
        inputs = [
            {**head, "parameters": {"binary_data_size": array.nbytes}} for head, array in tensors_of(rows, lengths_axes)
        ]
        outputs = [{"name": "quantiles", "parameters": {"binary_data": True}}]
        return _json({"inputs": inputs, "outputs": outputs})

    def body(rows: Rows) -> bytes:
        return head(rows) + b"".join(array.tobytes() for _, array in tensors_of(rows, lengths_axes))

    def headers(rows: Rows) -> dict[str, str]:
        return {"Content-Type": "application/octet-stream", LENGTH_HEADER: str(len(head(rows)))}

    return Wire(path, body, _last_tensor, headers)


def tensors_of(rows: Rows, lengths_axes: tuple[int, ...]) -> list[tuple[dict, np.ndarray]]:
    """Rows as the graph's tensors, each with its name, datatype and shape."""
    table = np.array(rows, np.float32)
    lengths = np.full((len(rows), *lengths_axes), table.shape[1], np.int64)
    return [
        ({"name": "closes", "datatype": "FP32", "shape": list(table.shape)}, table),
        ({"name": "lengths", "datatype": "INT64", "shape": list(lengths.shape)}, lengths),
    ]


def _last_tensor(answer: bytes) -> np.ndarray:
    """The bytes behind the JSON; the tensor's own size says where they begin."""
    end = answer.index(b"}]}") + 3
    head = json.loads(answer[:end])
    size = head["outputs"][0]["parameters"]["binary_data_size"]
    return np.frombuffer(answer[len(answer) - size :], np.float32).reshape(-1, 9)


def _plain(path: str) -> Wire:
    """Rows under `closes` and `quantiles`, as a project of an afternoon would have it."""
    return Wire(path, lambda rows: _json({"closes": rows}), lambda answer: _table(json.loads(answer)["quantiles"]))


OURS = Wire("/v1/forecasts", _our_body, _our_quantiles)
OURS_BINARY = binary("/v2/models/lstm/infer")
PLAIN = _plain("/forecast")
BARE_MANY = _plain("/many")
BARE_ONE = Wire("/one", lambda rows: _json({"closes": rows[0]}), PLAIN.quantiles)
BENTO = Wire("/forecast", PLAIN.body, lambda answer: _table(json.loads(answer)))
MLSERVER = protocol("/v2/models/lstm/infer")
TRITON = protocol("/v2/models/lstm/infer", lengths_axes=(1,))
TRITON_BINARY = binary("/v2/models/lstm/infer", lengths_axes=(1,))
