"""The Open Inference Protocol's bodies that are compressed, both ways, and bounded as they unpack."""

import gzip
import json
import tracemalloc
import zlib

import httpx
import pytest
import tritonclient.http as triton
from flask.testing import FlaskClient

from tests.contract.protocol import INFER, MAX_BODY_BYTES, ROWS, bits, refused, request, tensors, wanted


@pytest.mark.parametrize("packed_in", [None, "gzip", "deflate"])
@pytest.mark.parametrize("packed_out", [None, "gzip", "deflate"])
@pytest.mark.parametrize("binary", [True, False])
def test_bodies_are_compressed_both_ways(
    tritonclient: triton.InferenceServerClient,
    http: httpx.Client,
    packed_in: str | None,
    packed_out: str | None,
    binary: bool,
) -> None:
    result = tritonclient.infer(
        "lstm",
        tensors(ROWS, padding=1, binary=binary),
        outputs=[triton.InferRequestedOutput("quantiles", binary)],
        request_compression_algorithm=packed_in,
        response_compression_algorithm=packed_out,
    )

    assert bits(result.as_numpy("quantiles")) == bits(wanted(http, ROWS))


@pytest.mark.parametrize(
    ("accepted", "encoding"),
    [
        ("gzip", "gzip"),
        ("deflate", "deflate"),
        ("deflate;q=0.5, gzip", "gzip"),
        ("gzip;q=0", None),
        ("br", None),
        ("identity", None),
    ],
)
def test_an_answer_is_compressed_as_it_is_asked_for(http: httpx.Client, accepted: str, encoding: str | None) -> None:
    with http.stream("POST", INFER, json=request(), headers={"Accept-Encoding": accepted}) as answer:
        content = b"".join(answer.iter_raw())

    assert answer.headers.get("Content-Encoding") == encoding
    plain = {"gzip": gzip.decompress, "deflate": zlib.decompress, None: bytes}[encoding](content)
    assert json.loads(plain)["model_name"] == "lstm"


@pytest.mark.parametrize("path", ["/v2", "/v2/models/lstm", "/v2/models/gpt", "/v2/models/stats"])
def test_what_the_asyncio_client_does_not_unpack_is_never_compressed(http: httpx.Client, path: str) -> None:
    assert "Content-Encoding" not in http.get(path, headers={"Accept-Encoding": "gzip, deflate"}).headers


@pytest.mark.parametrize(
    ("encoding", "content", "status", "words"),
    [
        ("gzip", gzip.compress(b" " * (MAX_BODY_BYTES + 1)), 413, "unpacks to more than 4000000 bytes"),
        ("deflate", zlib.compress(bytes(100_000_000), 1), 413, "4000000"),
        ("gzip", b"{}", 400, "the body is not gzip"),
        ("deflate", gzip.compress(b"{}"), 400, "the body is not deflate"),
        ("gzip", gzip.compress(b"{}")[:-4], 400, "it ends early"),
        ("gzip", gzip.compress(b"{}") + b"more", 400, "4 bytes lie behind its end"),
        ("gzip", b"", 400, "it ends early"),
        ("br", b"{}", 415, "taken here: gzip, deflate"),
        ("gzip, gzip", b"{}", 415, "taken here: gzip, deflate"),
    ],
    ids=["a bomb", "a large bomb", "no gzip", "gzip as deflate", "cut off", "more behind", "empty", "br", "twice"],
)
def test_what_does_not_unpack_or_unpacks_to_too_much_is_refused(
    http: httpx.Client, encoding: str, content: bytes, status: int, words: str
) -> None:
    refused(http.post(INFER, content=content, headers={"Content-Encoding": encoding}), status, words)


def test_a_bomb_takes_no_more_memory_than_a_body_that_fits(protocol_app: FlaskClient) -> None:
    bomb = zlib.compress(bytes(100_000_000), 1)
    protocol_app.get("/v2/models/lstm/ready")  # reading a model takes memory, too

    tracemalloc.start()
    try:
        answer = protocol_app.post(INFER, data=bomb, headers={"Content-Encoding": "deflate"})
        _, most_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert answer.status_code == 413
    assert most_bytes < 4 * MAX_BODY_BYTES


def test_a_body_that_just_fits_once_unpacked_is_taken(http: httpx.Client) -> None:
    plain = json.dumps(request()).encode().ljust(MAX_BODY_BYTES)

    answer = http.post(INFER, content=gzip.compress(plain), headers={"Content-Encoding": "gzip"})

    assert answer.status_code == 200, answer.text
