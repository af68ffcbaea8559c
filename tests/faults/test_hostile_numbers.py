"""Rows and numbers that no network is to see: every one is refused with its place, and what is answered is finite."""

import json
import math
from typing import Any

import numpy as np
import pytest

from tests.faults.wire import forecast, infer, json_bytes, talk, tensors

NUMBERS = {
    "NaN": b"NaN",
    "Infinity": b"Infinity",
    "-Infinity": b"-Infinity",
    "1e308": b"1e308",
    "1e309": b"1e309",
    "minus zero": b"-0.0",
    "1e-45": b"1e-45",
    "400 digits": b"9" * 400,
    "5,000 digits": b"9" * 5000,
    "text": b'"1"',
    "true": b"true",
    "null": b"null",
    "a nested list": b"[1]",
}
BINARY = {
    "NaN": math.nan,
    "Infinity": math.inf,
    "-Infinity": -math.inf,
    "minus zero": -0.0,
    "1e-45": 1e-45,
    "3e38": 3e38,
}


def series(*closes: list[float]) -> bytes:
    return json.dumps({"series": [{"id": str(place), "closes": each} for place, each in enumerate(closes)]}).encode()


def numbers(answer: Any) -> list[float]:
    """Every number of an answer, however deep."""
    if isinstance(answer, dict):
        return [number for each in answer.values() for number in numbers(each)]
    if isinstance(answer, list):
        return [number for each in answer for number in numbers(each)]
    return [answer] if isinstance(answer, int | float) else []


def strictly(text: bytes) -> Any:
    """JSON, which has no NaN."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS.keys())
def test_a_number_that_is_no_price_is_named_with_its_place(url: str, number: bytes) -> None:
    body = b'{"series":[{"id":"a","closes":[1,2]},{"id":"b","closes":[1,%b,3]}]}' % number

    answer = talk(url, forecast(body, Connection="close")).last

    problem = strictly(answer.body)
    assert answer.status == 422
    assert [each["pointer"] for each in problem["errors"]] == ["/series/1/closes/1"]
    assert "forecasts" not in problem


@pytest.mark.parametrize("number", NUMBERS.values(), ids=NUMBERS.keys())
def test_a_number_that_is_no_price_is_refused_in_a_tensor_of_json(url: str, number: bytes) -> None:
    body = (
        b'{"inputs":[{"name":"closes","shape":[2,3],"datatype":"FP32","data":[1,2,3,1,%b,3]},'
        b'{"name":"lengths","shape":[2],"datatype":"INT64","data":[3,3]}]}' % number
    )

    answer = talk(url, infer(body, Connection="close")).last

    assert answer.status == 400
    assert set(strictly(answer.body)) == {"error"}


@pytest.mark.parametrize("number", BINARY.values(), ids=BINARY.keys())
def test_a_number_that_is_no_price_is_named_in_a_tensor_of_bytes(url: str, number: float) -> None:
    body = tensors([[1, 2, 3], [1, number, 3]], [3, 3])

    answer = talk(url, infer(body, Connection="close", Inference_Header_Content_Length=json_bytes(body))).last

    assert answer.status == 400
    assert "series 1, close 1" in strictly(answer.body)["error"]


@pytest.mark.parametrize("number", BINARY.values(), ids=BINARY.keys())
def test_what_lies_behind_a_rows_end_may_be_anything_and_changes_nothing(url: str, number: float) -> None:
    plain, odd = (tensors([[1, 2, 3], [1, 2, behind]], [3, 2]) for behind in (3, number))

    wanted, found = (
        talk(url, infer(body, Connection="close", Inference_Header_Content_Length=json_bytes(body))).last
        for body in (plain, odd)
    )

    assert (wanted.status, found.status) == (200, 200)
    assert found.body == wanted.body
    assert all(math.isfinite(number) for number in numbers(strictly(found.body)))


@pytest.mark.parametrize("model", ["lstm", "rnn", "mlp"])
@pytest.mark.parametrize("close", [1e-30, 1e-20, 1e20, 1e30])
def test_prices_at_the_ends_of_what_is_taken_have_finite_forecasts(url: str, model: str, close: float) -> None:
    body = json.dumps({"model": model, "series": [{"id": "a", "closes": [close, close * 1.01] * 40}]}).encode()

    answer = talk(url, forecast(body, Connection="close")).last

    assert answer.status in (200, 422)  # 1.01e30 is beyond the end
    assert all(math.isfinite(number) for number in numbers(strictly(answer.body)))


@pytest.mark.parametrize(
    ("closes", "pointer"),
    [([], "/series"), ([[]], "/series/0"), ([[1.0]], "/series/0"), ([[1.0, 2.0], []], "/series/1")],
    ids=["no series", "no close", "one close", "no close beside two"],
)
def test_too_little_to_forecast_is_refused_with_its_place(url: str, closes: list[list[float]], pointer: str) -> None:
    answer = talk(url, forecast(series(*closes), Connection="close")).last

    assert answer.status == 422
    assert [each["pointer"] for each in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("shape", "lengths"),
    [
        ([0, 5], []),
        ([0, 0], []),
        ([1, 0], [0]),
        ([1, 5], [0]),
        ([1, 5], [1]),
        ([1, 5], [6]),
        ([1, 5], [-1]),
        ([2, 5], [5]),
    ],
)
def test_tensors_without_rows_or_days_are_refused_before_the_graph_sees_them(
    url: str, shape: list[int], lengths: list[int]
) -> None:
    closes = np.ones(shape, np.float32).tolist()
    inputs = [
        {"name": "closes", "shape": shape, "datatype": "FP32", "data": closes},
        {"name": "lengths", "shape": [len(lengths)], "datatype": "INT64", "data": lengths},
    ]

    answer = talk(url, infer(json.dumps({"inputs": inputs}).encode(), Connection="close")).last

    assert answer.status == 400
    assert set(answer.json()) == {"error"}


def test_series_of_all_lengths_in_one_request_get_the_answers_that_they_get_alone(url: str) -> None:
    days = [2, 3, 59, 60, 61, 250, 2, 1000, 10_000, 7]
    walks = [(100 + np.random.default_rng(n).normal(0, 1, n)).round(2).tolist() for n in days]

    together = talk(url, forecast(series(*walks), Connection="close")).last
    alone = [talk(url, forecast(series(each), Connection="close")).last for each in walks]

    assert together.status == 200
    assert [each["quantiles"] for each in together.json()["forecasts"]] == [
        each.json()["forecasts"][0]["quantiles"] for each in alone
    ]
