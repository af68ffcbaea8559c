"""What a soak asks: good questions of every kind, and bad ones, each with the statuses that may come back."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from bench.questions import LENGTH_HEADER, OURS, OURS_BINARY, Rows, Wire, closes, protocol, ragged
from bench.sending import Request, http

JSON, OCTETS = "application/json", "application/octet-stream"
FORECASTS, INFER = "/v1/forecasts", "/v2/models/lstm/infer"
GOOD_SHARE = 0.85
SERIES = {"id": "S", "closes": [101.5, 102.25, 101.75]}


@dataclass(frozen=True)
class Ask:
    """
    A request of the table.

    Attributes:
        request: What is sent.
        statuses: What may come back.
        weight: How often it is asked, among the good or among the bad ones.
        is_exact: Whether the same bytes come back each time.
    """

    request: Request
    statuses: frozenset[int] = frozenset({200})
    weight: float = 1.0
    is_exact: bool = False

    @property
    def is_good(self) -> bool:
        return 200 in self.statuses


def good() -> Iterator[Ask]:
    """Questions that are answered: of every length and model, one series and many, in JSON and as bytes."""
    for days, weight in ((2, 4), (60, 10), (250, 4), (1000, 1), (2500, 0.3)):
        yield _exact(f"{days} closes", _forecasts(closes(1, days)), weight)
    yield _exact("16 lengths", _forecasts(list(ragged(16))), 1)
    yield _exact("64 series", _forecasts(closes(64, 60)), 0.5)
    yield _exact("levels", _forecasts(closes(1, 60), levels=[0.05, 0.5, 0.95], version=1, model="lstm"), 2)
    yield _exact("mlp", _forecasts(closes(1, 90), model="mlp"), 1)
    yield Ask(Request("rnn", _forecasts(closes(1, 60), model="rnn")), weight=1)
    yield _exact("horizon", _forecasts(closes(1, 60), horizon=3), 0.2)
    yield _exact("/v2 JSON", _asked(protocol(INFER), closes(2, 60)), 1)
    yield _exact("/v2 binary, 1 row", _asked(OURS_BINARY, closes(1, 60)), 3)
    yield _exact("/v2 binary, 32 rows", _asked(OURS_BINARY, closes(32, 60)), 0.5)
    yield _exact("/v2 binary, 250 closes", _asked(OURS_BINARY, closes(4, 250)), 0.5)
    yield Ask(Request("readyz", http("GET", "/readyz")), weight=0.5)
    yield Ask(Request("models", http("GET", "/v1/models")), weight=0.2)


def bad() -> Iterator[Ask]:
    """Questions that are refused: bodies, values, names, paths and announcements that are not as they should be."""
    series = {"series": [SERIES]}
    for name, body, status in (
        ("empty body", b"", 400),
        ("not JSON", b"{", 400),
        ("not UTF-8", b'{"series": "\xff"}', 400),
        ("nested deeply", b"[" * 5000, 400),
        ("a key twice", b'{"series": [], "series": []}', 400),
        ("a list", b"[]", 422),
        ("no series", b'{"series": []}', 422),
        ("no closes", _dump({"series": [{"id": "S"}]}), 422),
        ("one close", _dump({"series": [{"id": "S", "closes": [1.5]}]}), 422),
        ("a negative close", _dump({"series": [{"id": "S", "closes": [1.5, -1]}]}), 422),
        ("NaN", b'{"series": [{"id": "S", "closes": [1.5, NaN]}]}', 422),
        ("a huge number", b'{"series": [{"id": "S", "closes": [1.5, 1e999]}]}', 422),
        ("a text for a close", _dump({"series": [{"id": "S", "closes": [1.5, "2"]}]}), 422),
        ("10,001 closes", _dump({"series": [{"id": "S", "closes": [1.5] * 10_001}]}), 422),
        ("one of 64 is faulty", _dump({"series": [SERIES] * 63 + [{"id": "S", "closes": [1, 0]}]}), 422),
        ("an unknown field", _dump({**series, "colour": 1}), 422),
        ("an unknown model", _dump({**series, "model": "gru"}), 422),
        ("an unknown version", _dump({**series, "version": 99}), 422),
        ("an unknown level", _dump({**series, "levels": [0.42]}), 422),
        ("too far ahead", _dump({**series, "horizon": 21}), 422),
        ("too many days", _dump({"series": [SERIES] * 100, "horizon": 20}), 413),
    ):
        yield _refused(name, _post(FORECASTS, body), status)
    yield from _bad_requests(_dump(series))
    yield from _bad_inferences()


def _bad_requests(body: bytes) -> Iterator[Ask]:
    yield _refused("another type", _post(FORECASTS, body, kind="text/plain"), 415)
    yield _refused("compressed", http("POST", FORECASTS, body, Content_Type=JSON, Content_Encoding="gzip"), 415)
    chunked = f"{len(body):x}\r\n".encode() + body + b"\r\n0\r\n\r\n"
    yield _refused("chunked", http("POST", FORECASTS, chunked, Content_Type=JSON, Transfer_Encoding="chunked"), 411)
    yield _refused("too large", http("POST", FORECASTS, Content_Type=JSON, Content_Length="99999999"), 413)
    yield _refused("no such path", http("GET", "/v1/nothing"), 404)
    yield _refused("another verb", http("PUT", FORECASTS), 405)


def _bad_inferences() -> Iterator[Ask]:
    rows = closes(1, 60)
    right, head = OURS_BINARY.body(rows), OURS_BINARY.headers(rows)[LENGTH_HEADER]
    tensor = {"name": "closes", "datatype": "FP64", "shape": [1, 2], "data": [1, 2]}
    for name, path, body, length, status in (
        ("/v2 no inputs", INFER, b"{}", "", 400),
        ("/v2 another datatype", INFER, _dump({"inputs": [tensor]}), "", 400),
        ("/v2 bytes missing", INFER, right[:-40], head, 400),
        ("/v2 bytes too many", INFER, right + b"\0" * 8, head, 400),
        ("/v2 length of the head beyond the body", INFER, right, "999999", 400),
        ("/v2 length of the head is none", INFER, right, "many", 400),
        ("/v2 a NaN", INFER, right[:-12] + b"\xff" * 4 + right[-8:], head, 400),
        ("/v2 a length too long", INFER, right[:-8] + b"\x61" + b"\0" * 7, head, 400),
        ("/v2 an unknown model", "/v2/models/gru/infer", right, head, 404),
        ("/v2 an unknown version", "/v2/models/lstm/versions/99/infer", right, head, 404),
        ("/v2 unload", "/v2/repository/models/lstm/unload", b"{}", "", 403),
    ):
        yield _refused(name, _post(path, body, kind=OCTETS, length=length), status)


def shuffled(asks: list[Ask], seed: int) -> Iterator[Ask]:
    """The table's requests without end, at random, the good ones `GOOD_SHARE` of all."""
    rng = np.random.default_rng(seed)
    weights = np.array([each.weight for each in asks])
    kind = np.array([each.is_good for each in asks])
    share = np.where(kind, GOOD_SHARE / weights[kind].sum(), (1 - GOOD_SHARE) / weights[~kind].sum())
    while True:
        for place in rng.choice(len(asks), 4096, p=weights * share).tolist():
            yield asks[place]


def _dump(document: object) -> bytes:
    return json.dumps(document).encode()


def _exact(name: str, raw: bytes, weight: float) -> Ask:
    return Ask(Request(name, raw), weight=weight, is_exact=True)


def _refused(name: str, raw: bytes, status: int) -> Ask:
    return Ask(Request(name, raw), frozenset({status}))


def _forecasts(rows: Rows, **options: object) -> bytes:
    document = json.loads(OURS.body(rows)) | options
    return _post(FORECASTS, _dump(document))


def _post(path: str, body: bytes, *, kind: str = JSON, length: str = "") -> bytes:
    return http("POST", path, body, Content_Type=kind, Inference_Header_Content_Length=length)


def _asked(wire: Wire, rows: Rows) -> bytes:
    headers = {name.replace("-", "_"): value for name, value in wire.headers(rows).items()}
    return http("POST", wire.path, wire.body(rows), **headers)
