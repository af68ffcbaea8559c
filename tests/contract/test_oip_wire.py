"""The Open Inference Protocol on the wire: what `tritonclient.http` really does, and what callers get wrong."""

import http.client as http_client
import json
import re
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from flask.testing import FlaskClient
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.utils import InferenceServerException

from models.repository import Repository
from service.app import create_app
from service.settings import ServiceSettings
from tests.contract.protocol import (
    AUTHORIZED,
    INFER,
    LENGTH,
    MAX_BODY_BYTES,
    MAX_CLOSES,
    MAX_SERIES,
    ROWS,
    address,
    bits,
    refused,
    request,
    tensors,
    wanted,
)
from tests.integration.server_process import DEADLINE_S, Server

PAGE = (Path(__file__).parent.parent.parent / "docs" / "protocol.md").read_text()


# What tritonclient.http really does, in the order in which the protocol's notes number it


@pytest.mark.parametrize("media_type", ["", "application/octet-stream", "application/x-www-form-urlencoded"])
def test_no_content_type_is_asked_for(http: httpx.Client, media_type: str) -> None:
    headers = {"Content-Type": media_type} if media_type else {}

    answer = http.post(INFER, content=json.dumps(request()), headers=headers)

    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "application/json"


def test_outputs_are_bytes_behind_the_json_where_that_is_asked_for_all_of_them(http: httpx.Client) -> None:
    answer = http.post(INFER, json=request(parameters={"binary_data_output": True}))

    end = int(answer.headers[LENGTH])
    assert answer.headers["Content-Type"] == "application/octet-stream"
    (output,) = json.loads(answer.content[:end])["outputs"]
    assert output["parameters"] == {"binary_data_size": 36}
    assert answer.content[end:] == bits(wanted(http, [[101.5, 102.25]]))


def test_an_output_that_says_how_it_is_wanted_goes_before_what_is_said_of_all(http: httpx.Client) -> None:
    own = [{"name": "quantiles", "parameters": {"binary_data": False}}]

    answer = http.post(INFER, json=request(parameters={"binary_data_output": True}, outputs=own))

    assert LENGTH not in answer.headers
    assert bits(answer.json()["outputs"][0]["data"]) == bits(wanted(http, [[101.5, 102.25]]))


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v2/nothing", 404),
        ("GET", "/v2/models/lstm/versions/", 404),
        ("GET", "/v2/models/..%2f..%2fetc", 404),
        ("GET", INFER, 405),
        ("POST", "/v2", 405),
        ("POST", "/v2/models/stats", 405),
        ("DELETE", "/v2/models/lstm", 405),
    ],
)
def test_every_refusal_has_the_key_that_clients_read(http: httpx.Client, method: str, path: str, status: int) -> None:
    answer = http.request(method, path)

    refused(answer, status, "this path" if status == 404 else "this path takes")
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_bug_has_the_key_that_clients_read_and_tells_nothing(models: Repository) -> None:
    app = create_app(ServiceSettings(), models=models)
    app.add_url_rule("/v2/bug", "bug", lambda: 1 / 0)

    answer = app.test_client().get("/v2/bug")

    assert (answer.status_code, list(answer.json)) == (500, ["error"])
    assert "division" not in answer.text


def connect(server: Server) -> http_client.HTTPConnection:
    return http_client.HTTPConnection(*address(server).split(":"), timeout=DEADLINE_S)


def test_the_index_takes_a_request_that_tells_no_length(protocol_server: Server) -> None:
    with closing(connect(protocol_server)) as connection:
        connection.putrequest("POST", "/v2/repository/index")
        connection.putheader("Authorization", AUTHORIZED["Authorization"])
        connection.endheaders()

        assert versions(json.load(connection.getresponse())) == VERSIONS


@pytest.mark.parametrize("content", [b"", b"{}", b'{"ready": false}'])
def test_the_index_takes_no_body_as_well_as_one(http: httpx.Client, content: bytes) -> None:
    found = http.post("/v2/repository/index", content=content).json()

    assert versions(found) == VERSIONS


def test_the_index_of_what_is_ready_leaves_out_older_versions(http: httpx.Client) -> None:
    found = http.post("/v2/repository/index", content=b'{"ready": true}').json()

    assert versions(found) == [each for each in VERSIONS if each[1] == "2"]


def test_loading_with_a_configuration_of_the_callers_is_refused(tritonclient: triton.InferenceServerClient) -> None:
    with pytest.raises(InferenceServerException, match="'config' is not offered") as refusal:
        tritonclient.load_model("lstm", config="{}")

    assert refusal.value.status() == "400"


@pytest.mark.parametrize("close", [np.nan, np.inf, -np.inf])
def test_nan_in_json_is_refused_in_clear_words(tritonclient: triton.InferenceServerClient, close: float) -> None:
    with pytest.raises(InferenceServerException, match="which JSON does not have") as refusal:
        tritonclient.infer("lstm", tensors([[101.5, close]], binary=False))

    assert refusal.value.status() == "400"


def test_nan_behind_a_rows_length_does_not_matter(
    tritonclient: triton.InferenceServerClient, http: httpx.Client
) -> None:
    quantiles = tritonclient.infer("lstm", tensors(ROWS, padding=np.nan)).as_numpy("quantiles")

    assert bits(quantiles) == bits(wanted(http, ROWS))


def test_a_slash_in_a_models_name_leads_nowhere(tritonclient: triton.InferenceServerClient) -> None:
    assert not tritonclient.is_model_ready("lstm/1")
    with pytest.raises(InferenceServerException, match="there is nothing at this path"):
        tritonclient.get_model_metadata("lstm/1")


@pytest.mark.parametrize("sequence", [{"sequence_id": 7}, {"sequence_id": "AAPL", "sequence_start": True}])
def test_sequences_are_refused(tritonclient: triton.InferenceServerClient, sequence: dict[str, Any]) -> None:
    with pytest.raises(InferenceServerException, match="sequence_id is not offered yet") as refusal:
        tritonclient.infer("lstm", tensors(ROWS), **sequence)

    assert refusal.value.status() == "400"


@pytest.mark.parametrize(
    "parameters",
    [
        {"sequence_id": 0},
        {"sequence_id": "", "sequence_start": False, "sequence_end": False},
        {"priority": 3, "timeout": 1},
        {"triton_enable_empty_final_response": False, "colour": {"of": ["choice"]}},
    ],
)
def test_other_parameters_are_let_pass(http: httpx.Client, parameters: dict[str, Any]) -> None:
    assert http.post(INFER, json=request(parameters=parameters)).status_code == 200


# What callers get wrong


def closes(**fields: Any) -> dict[str, Any]:
    return request(closes=fields)


def lengths(**fields: Any) -> dict[str, Any]:
    return request(lengths=fields)


def without(name: str) -> dict[str, Any]:
    return {"inputs": [each for each in request()["inputs"] if each["name"] != name]}


VERSIONS = [(name, version) for name in ("lstm", "mlp", "rnn") for version in ("1", "2")]


def versions(index: list[dict[str, str]]) -> list[tuple[str, str]]:
    return sorted((each["name"], each["version"]) for each in index)


BAD_REQUESTS = [
    ("empty", b"", 400, "the body is not JSON"),
    ("not JSON", b"hello", 400, "line 1, column 1"),
    ("not UTF-8", b"\xff\xfe", 400, "byte 0 is not UTF-8"),
    ("deep nesting", b"[" * 100_000, 400, "nested too deeply"),
    ("no data", closes(data=None), 400, "got `null`"),
    ("a list", b"[]", 400, "Expected `object`"),
    ("no inputs", b"{}", 400, "missing required field `inputs`"),
    ("an id that is no text", request(id=7), 400, "Expected `str | null`, got `int`"),
    ("a key twice", b'{"inputs":[],"inputs":[]}', 400, "the key 'inputs' is there twice"),
    ("a key twice, written twice", b'{"inputs":[],"\\u0069nputs":[]}', 400, "the key 'inputs' is there twice"),
    ("half a surrogate pair", b'{"inputs":[{"name":"\\ud800","shape":[],"datatype":""}]}', 400, ""),
    ("an empty list of inputs", request() | {"inputs": []}, 400, "the input 'closes' is missing"),
    ("no lengths", without("lengths"), 400, "the input 'lengths' is missing; this model takes closes, lengths"),
    ("no closes", without("closes"), 400, "the input 'closes' is missing"),
    ("closes twice", {"inputs": [*request()["inputs"], request()["inputs"][0]]}, 400, "'closes' is there twice"),
    ("an unknown input", closes(name="opens"), 400, "there is no input 'opens'"),
    ("FP64", closes(datatype="FP64"), 400, "the input 'closes' is 'FP64'; this model takes FP32"),
    ("FP16", closes(datatype="FP16"), 400, "the input 'closes' is 'FP16'"),
    ("BYTES", closes(datatype="BYTES", data=["101.5", "102.25"]), 400, "the input 'closes' is 'BYTES'"),
    ("an unknown datatype", closes(datatype="float"), 400, "the input 'closes' is 'float'"),
    ("INT32", lengths(datatype="INT32"), 400, "the input 'lengths' is 'INT32'; this model takes INT64"),
    ("one dimension", closes(shape=[2]), 400, "has 1 dimensions; its shape is [batch, time]"),
    ("three dimensions", closes(shape=[1, 2, 1]), 400, "has 3 dimensions"),
    ("lengths of two dimensions", lengths(shape=[1, 1]), 400, "its shape is [batch]"),
    ("a negative dimension", closes(shape=[-1, 2]), 400, "Expected `int` >= 0"),
    ("a dimension of 20 digits", closes(shape=[1, 10**19]), 400, "`inputs[0].shape[1]`"),
    ("a dimension of 5,000 digits", b'{"inputs":[{"name":"closes","shape":[' + b"9" * 5000 + b"]}]}", 400, "shape"),
    ("no row", request(closes={"shape": [0, 2], "data": []}, lengths={"shape": [0], "data": []}), 400, "no series"),
    ("no day", request(closes={"shape": [1, 0], "data": [[]]}, lengths={"data": [0]}), 400, "series 0 has 0 closes"),
    ("one row and two lengths", lengths(shape=[2], data=[2, 2]), 400, "closes has 1 rows and lengths has 2"),
    ("a length beyond the array", lengths(data=[3]), 400, "length 0 is 3; the array of closes has 2 days a row"),
    ("a negative length", lengths(data=[-1]), 400, "length 0 is -1"),
    ("a length that overflows", lengths(data=[2**63]), 400, "not INT64 of shape [1]"),
    ("a length that is no whole number", lengths(data=[1.5]), 400, "got `float`"),
    ("one close", lengths(data=[1]), 400, "series 0 has 1 close; this model needs at least 2"),
    ("a negative close", closes(data=[101.5, -1]), 400, "series 0, close 1 is -1.0"),
    ("zero", closes(data=[0, 1]), 400, "series 0, close 0 is 0.0"),
    ("1e39, beyond FP32", closes(data=[1e39, 1]), 400, "a close lies between"),
    ("1e400", b'{"inputs":[{"name":"closes","datatype":"FP32","shape":[1,1],"data":[1e400]}]}', 400, "out of range"),
    ("too few numbers", closes(data=[1.5]), 400, "send 2 numbers, flat or nested"),
    ("too many numbers", closes(data=[1.5, 1.5, 1.5]), 400, "send 2 numbers, flat or nested"),
    ("nested in another shape", closes(data=[[1.5], [2.5]]), 400, "not FP32 of shape [1, 2]"),
    ("rows of different lengths", closes(shape=[2, 2], data=[[1.5, 2.5], [1.5]]), 400, "not FP32 of shape [2, 2]"),
    ("half nested", closes(data=[1.5, [2.5]]), 400, "not FP32 of shape [1, 2]"),
    ("nested too deeply", closes(data=[[[1.5, 2.5]]]), 400, "got `array`"),
    ("text for a close", closes(data=[1.5, "2.5"]), 400, "got `str` - at `$[1]`"),
    ("true for a close", closes(data=[1.5, True]), 400, "got `bool`"),
    ("data in base64", closes(data="AADAPwAAIEA="), 400, "Expected `array`, got `str`"),
    ("an unknown output", request(outputs=[{"name": "mean"}]), 400, "no output 'mean'; this model gives quantiles"),
    ("an output twice", request(outputs=[{"name": "quantiles"}] * 2), 400, "is asked for 2 times"),
    (
        "classification",
        request(outputs=[{"name": "quantiles", "parameters": {"classification": 3}}]),
        400,
        "not offered",
    ),
    ("shared memory in", closes(parameters={"shared_memory_region": "a"}), 400, "shared memory is not offered"),
    ("an end of a sequence", request(parameters={"sequence_end": True}), 400, "sequence_end is not offered"),
    ("binary_data as text", request(parameters={"binary_data_output": "yes"}), 400, "is true or false"),
    (
        "the same beside one that counts",
        request(
            outputs=[{"name": "quantiles", "parameters": {"binary_data": False}}], parameters={"binary_data_output": 1}
        ),
        400,
        "binary_data_output is true or false",
    ),
    ("too many rows", closes(shape=[MAX_SERIES + 1, 2]), 413, f"at most {MAX_SERIES} are taken"),
    ("too many closes by shape", closes(shape=[1, MAX_CLOSES + 1]), 413, f"at most {MAX_CLOSES} are taken"),
    ("too many closes by commas", closes(data=[1] * (MAX_CLOSES + 10_000)), 413, f"at most {MAX_CLOSES} are taken"),
]


@pytest.mark.parametrize(
    ("content", "status", "words"), [row[1:] for row in BAD_REQUESTS], ids=[row[0] for row in BAD_REQUESTS]
)
def test_a_bad_request_is_refused_in_words(http: httpx.Client, content: Any, status: int, words: str) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()

    refused(http.post(INFER, content=body), status, words)

    assert http.post(INFER, json=request()).status_code == 200


PAIR = struct.pack("<2f", 101.5, 102.25)
TWO = struct.pack("<q", 2)


def binary(tail: bytes, *, sizes: tuple[Any, Any] = (8, 8), **changes: Any) -> tuple[bytes, int]:
    """The body of a request whose tensors are bytes, and the length of its JSON."""
    asked = request(**changes)
    for each, size in zip(asked["inputs"], sizes, strict=True):
        if size is not None:
            each["parameters"] = {"binary_data_size": size}
            del each["data"]
    header = json.dumps(asked).encode()
    return header + tail, len(header)


def test_tensors_lie_behind_the_json_in_the_order_of_the_inputs(http: httpx.Client) -> None:
    body, end = binary(PAIR + TWO)
    turned = json.loads(body[:end])
    turned["inputs"].reverse()
    header = json.dumps(turned).encode()

    answers = [http.post(INFER, content=body, headers={LENGTH: str(end)})]
    answers.append(http.post(INFER, content=header + TWO + PAIR, headers={LENGTH: str(len(header))}))

    for answer in answers:
        assert bits(answer.json()["outputs"][0]["data"]) == bits(wanted(http, [[101.5, 102.25]]))


def test_one_tensor_may_be_bytes_and_the_other_json(http: httpx.Client) -> None:
    body, end = binary(PAIR, sizes=(8, None))

    answer = http.post(INFER, content=body, headers={LENGTH: str(end)})

    assert bits(answer.json()["outputs"][0]["data"]) == bits(wanted(http, [[101.5, 102.25]]))


@pytest.mark.parametrize(
    ("tail", "sizes", "words"),
    [
        (PAIR + TWO[:-1], (8, 8), "the input 'lengths' has 8 bytes and 7 are left behind the JSON"),
        (b"", (8, 8), "the input 'closes' has 8 bytes and 0 are left behind the JSON"),
        (PAIR + TWO + b"abc", (8, 8), "19 bytes lie behind the JSON and the inputs take 16; 3 are left over"),
        (b"abc", (None, None), "3 bytes lie behind the JSON and the inputs take 0; 3 are left over"),
        (PAIR + TWO, (12, 8), "binary_data_size of the input 'closes' is 12; FP32 of shape [1, 2] has 8 bytes"),
        (PAIR + TWO, (8, -8), "binary_data_size of the input 'lengths' is -8"),
        (PAIR + TWO, ("8", 8), "binary_data_size of the input 'closes' is no size"),
        (PAIR + TWO, (True, 8), "binary_data_size of the input 'closes' is no size"),
        (PAIR + TWO, (10**30, 8), "binary_data_size of the input 'closes' is no size"),
        (struct.pack("<2f", 101.5, np.nan) + TWO, (8, 8), "series 0, close 1 is nan"),
        (PAIR + struct.pack("<q", -(2**63)), (8, 8), "length 0 is -9223372036854775808"),
    ],
)
def test_bytes_that_do_not_add_up_are_refused_with_the_numbers(
    http: httpx.Client, tail: bytes, sizes: tuple[Any, Any], words: str
) -> None:
    body, end = binary(tail, sizes=sizes)

    refused(http.post(INFER, content=body, headers={LENGTH: str(end)}), 400, words)


def test_a_tensor_with_data_and_bytes_is_refused(http: httpx.Client) -> None:
    asked = json.dumps(request(closes={"parameters": {"binary_data_size": 8}})).encode()

    answer = http.post(INFER, content=asked + PAIR, headers={LENGTH: str(len(asked))})

    refused(answer, 400, "has both data and binary_data_size")


@pytest.mark.parametrize("length", ["x", "-1", "1.5", "", "9" * 30, "\u0661"])
def test_a_length_of_the_json_that_is_none_is_refused(http: httpx.Client, length: str) -> None:
    answer = http.post(INFER, json=request(), headers={LENGTH.encode(): length.encode()})

    refused(answer, 400, "it is the length of the JSON in bytes")


def test_a_json_that_is_longer_than_the_body_is_refused(http: httpx.Client) -> None:
    refused(http.post(INFER, json=request(), headers={LENGTH: "100000"}), 400, "the body has")


def test_a_body_that_is_too_large_is_refused(protocol_server: Server) -> None:
    content = b" " * (MAX_BODY_BYTES + 1)

    answer = httpx.post(protocol_server.url + INFER, content=content, headers=AUTHORIZED, timeout=DEADLINE_S)

    refused(answer, 413, f"at most {MAX_BODY_BYTES} are taken")


@pytest.mark.parametrize(
    ("path", "encoding", "status"), [("/v2/models/gpt/infer", "identity", 404), (INFER, "br", 415)]
)
def test_a_refusal_leaves_the_connection_to_the_next_request(
    protocol_server: Server, path: str, encoding: str, status: int
) -> None:
    with closing(connect(protocol_server)) as connection:
        connection.request("POST", path, b" " * (MAX_BODY_BYTES - 1), {"Content-Encoding": encoding, **AUTHORIZED})
        refusal = connection.getresponse()
        refusal.read()
        connection.auto_open = False

        connection.request("POST", INFER, json.dumps(request()), AUTHORIZED)

        assert (refusal.status, connection.getresponse().status) == (status, 200)


def test_a_body_without_its_length_is_refused(http: httpx.Client) -> None:
    refused(http.post(INFER, content=iter([json.dumps(request()).encode()])), 411, "Content-Length")


def test_a_signalling_nan_is_refused_like_any_other(protocol_app: FlaskClient) -> None:
    body, end = binary(bytes.fromhex("0100a07f") * 2 + TWO)

    answer = protocol_app.post(INFER, data=body, headers={LENGTH: str(end)})

    assert (answer.status_code, list(answer.json)) == (400, ["error"])
    assert "close 0 is nan" in answer.json["error"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.sampled_from(["closes", "FP32"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["name", "shape", "datatype", "data", "parameters", "x"]), inner, max_size=5)
    ),
    max_leaves=10,
)


@settings(max_examples=300, deadline=None)
@given(closes=st.dictionaries(st.sampled_from(["name", "shape", "datatype", "parameters", "data"]), JSON), rest=JSON)
def test_no_json_makes_a_bug(protocol_app: FlaskClient, closes: dict[str, Any], rest: Any) -> None:
    asked = json.dumps(request(closes=closes, parameters=rest, outputs=None))

    answer = protocol_app.post(INFER, data=asked)

    assert answer.status_code in (200, 400, 413)
    assert answer.status_code == 200 or list(answer.json) == ["error"]


@settings(max_examples=300, deadline=None)
@given(
    values=st.lists(st.integers(0, 2**32 - 1), min_size=4, max_size=4),
    days=st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-1, 3), min_size=2, max_size=2),
)
def test_no_bytes_make_a_bug_or_a_forecast_that_is_none(
    protocol_app: FlaskClient, values: list[int], days: list[int]
) -> None:
    tail = struct.pack("<4I2q", *values, *days)
    body, end = binary(tail, sizes=(16, 16), closes={"shape": [2, 2]}, lengths={"shape": [2]})

    answer = protocol_app.post(INFER, data=body, headers={LENGTH: str(end)})

    assert answer.status_code in (200, 400)
    if answer.status_code == 200:
        quantiles = np.array(answer.json["outputs"][0]["data"]).reshape(2, 9)
        assert np.isfinite(quantiles).all()
        assert (np.diff(quantiles) >= 0).all()
        assert (quantiles > 0).all()


def test_the_curl_of_the_page_gets_the_answer_of_the_page(http: httpx.Client) -> None:
    asked = re.search(r"-d '(\{.*?\})'", PAGE, re.DOTALL)[1]
    shown = json.loads(re.search(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[1])

    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = http.post(INFER, content=asked, headers=form).json()

    np.testing.assert_allclose(answer["outputs"][0].pop("data"), shown["outputs"][0].pop("data"), rtol=2e-5)
    assert answer == shown
