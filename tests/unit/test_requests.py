"""Requests out of JSON: what is let in, and what is said of the rest."""

import json
from typing import Any

import pytest

from models.errors import InputError
from worker import requests
from worker.job_requests import JobRequest
from worker.requests import InvalidJson, InvalidRequest, TooManySeries, decode, decode_series

SERIES = {"id": "AAPL", "closes": [100, 101.5]}


def request(**fields: Any) -> bytes:
    return json.dumps({"series": [SERIES], **fields}).encode()


def test_a_lone_surrogate_in_a_field_s_name_is_an_error_like_any_other() -> None:
    _, faults = decode(b'{"series":[{"id":"a","closes":[1,2],"\\ud800":1}]}')

    assert "\\ud800" in faults[0].message


def test_a_message_names_some_faults_and_counts_the_others() -> None:
    body = b'{"series":[],' + b",".join(b'"x%d":1' % number for number in range(5000)) + b"}"

    with pytest.raises(InvalidRequest, match="and 4980 more"):
        decode(body)


def test_more_series_than_are_taken_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(TooManySeries):
        decode(b'{"series":[1,1,1]}', most=2)


def test_a_request_comes_out_as_it_was_sent() -> None:
    body = request(model="rnn", version=2, levels=[0.5], series=[{**SERIES, "as_of": "2024-02-29"}])

    asked, faults = decode(body)

    assert not faults
    assert (asked.model, asked.version, asked.levels) == ("rnn", 2, [0.5])
    assert (asked.series[0].id, asked.series[0].closes, asked.series[0].as_of) == ("AAPL", [100, 101.5], "2024-02-29")


def test_two_series_may_share_an_id() -> None:
    asked, faults = decode(request(series=[SERIES, SERIES]))

    assert not faults
    assert [series.id for series in asked.series] == ["AAPL", "AAPL"]


@pytest.mark.parametrize("series_id", ['"id"', "closes", "a\\b", "ünï", "BRK.B 株", '{"id": 1, "id": 2}'])
def test_an_id_may_look_like_anything_printable(series_id: str) -> None:
    asked, faults = decode(request(series=[{**SERIES, "id": series_id}]))

    assert not faults
    assert asked.series[0].id == series_id


def test_what_is_left_out_may_be_said_as_null() -> None:
    asked, faults = decode(request(version=None, levels=None, series=[{**SERIES, "as_of": None}]))

    assert not faults
    assert asked.series[0].closes == [100, 101.5]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "line 1, column 1"),
        (b"{", "line 1, column 2"),
        (b'{"series": [}', "line 1, column 13"),
        (b'{"series":[]} x', "Extra data"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ('{"series":[]}'.encode("utf-16"), "byte 0 is not UTF-8"),
        (b'{"series":[{"id":"\xff"}]}', "byte 18 is not UTF-8"),
        (b'{"series":[{"id":"a\x00"}]}', "control character"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"series":' * 100_000, "nested too deeply"),
        (b'{"series":[],"series":[]}', '"series" is there twice'),
        (b'{"series":[{"id":"a","id":"b","closes":[1,2]}]}', '"id" is there twice'),
        (b'{"series":[{"\\u0069d":"a","id":"b","closes":[1,2]}]}', '"id" is there twice'),
        (b'{"series":[{"id":"a","closes":[1,2],"closes":[1,2]}]}', '"closes" is there twice'),
        (b'{"series":[{"id":"a","closes":[1,2],"as_of":null,"as_of":"2024-01-02"}]}', '"as_of" is there twice'),
        (b'{"model":"lstm","series":[],"model":"rnn"}', '"model" is there twice'),
    ],
)
def test_what_is_no_json_is_said_to_be_none(body: bytes, reason: str) -> None:
    with pytest.raises(InvalidJson, match="not JSON") as caught:
        decode(body)

    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("body", "pointer", "detail"),
    [
        (b"[]", "", "the body is a list"),
        (b"null", "", "the body is null"),
        (b"NaN", "", "NaN, which JSON does not have"),
        (b"{}", "/series", "there is no `series`"),
        (b'{"series":null}', "/series", "`series` is null"),
        (b'{"series":{}}', "/series", "`series` is an object"),
        (request(horizons=3), "/horizons", "no field of a request"),
        (request(horizon=21), "/horizon", "Expected `int` <= 20"),
        (request(**{"a/b~": 3}), "/a~1b~0", "no field of a request"),
        (request(model=None), "/model", "`model` is null"),
        (request(model=7), "/model", "Expected `str`, got `int`"),
        (request(version=0), "/version", "`version` is 0: Expected `int` >= 1"),
        (request(version="1"), "/version", '`version` is "1"'),
        (b'{"series":[],"version":' + b"9" * 5000 + b"}", "/version", "too large for a number"),
        (request(levels=[]), "/levels", "of length >= 1"),
        (request(levels=["0.5"]), "/levels", "Expected `float`, got `str`"),
        (request(levels=[float("nan")]), "/levels", "`levels` is a list"),
        (request(explain="yes"), "/explain", "Expected `bool`"),
    ],
)
def test_what_is_wrong_outside_the_series_is_named_with_its_place(body: bytes, pointer: str, detail: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(body)

    assert [fault.pointer for fault in caught.value.faults] == [pointer]
    assert detail in caught.value.faults[0].detail


@pytest.mark.parametrize("more", [{}, {"levels": [0.5], "model": "a\\b"}], ids=["fast", "slow"])
def test_a_request_may_ask_to_explain(more: dict[str, Any]) -> None:
    assert decode(request(explain=True, **more))[0].explain
    assert not decode(request(**more))[0].explain


def test_all_that_is_wrong_outside_the_series_is_named_together() -> None:
    with pytest.raises(InvalidRequest) as caught:
        decode(request(horizon=0, version=0, model=None))

    assert {fault.pointer for fault in caught.value.faults} == {"/horizon", "/version", "/model"}


@pytest.mark.parametrize(
    ("series", "told"),
    [
        (7, "series 0 cannot be read: Expected `object`, got `int`"),
        ({"closes": [1, 2]}, "missing required field `id`"),
        ({"id": "a"}, "missing required field `closes`"),
        ({"id": 7, "closes": [1, 2]}, "Expected `str`, got `int`"),
        ({"id": "", "closes": [1, 2]}, "of length >= 1"),
        ({"id": "a" * 201, "closes": [1, 2]}, "of length <= 200"),
        ({"id": "a\nb", "closes": [1, 2]}, r'series 0 has the id "a\nb"; an id is printable'),
        ({"id": "\ud800", "closes": [1, 2]}, r'series 0 has the id "\ud800"; an id is printable'),
        ({"id": "a", "closes": 7}, "Expected `array`, got `int`"),
        ({"id": "a", "closes": [1, "abc"]}, 'series 0, close 1 is "abc"; a close is a positive, finite number'),
        ({"id": "a", "closes": [1, None]}, "series 0, close 1 is null;"),
        ({"id": "a", "closes": [True, 2]}, "series 0, close 0 is true;"),
        ({"id": "a", "closes": [1, [2]]}, "series 0, close 1 is a list;"),
        ({"id": "a", "closes": [1, float("nan")]}, "series 0, close 1 is NaN, which JSON does not have;"),
        ({"id": "a", "closes": [float("-inf"), 1]}, "series 0, close 0 is -Infinity, which JSON does not have;"),
        ({"id": "a", "closes": [1, 10**400]}, "series 0, close 1 is too large for a number;"),
        ({"id": "a", "closes": [1, 2], "open": 3}, "unknown field `open`"),
        ({"id": "a", "closes": [1, 2], "as_of": "2023-02-29"}, 'as_of "2023-02-29"; as_of is a day that exists'),
        ({"id": "a", "closes": [1, 2], "as_of": "20240131"}, "as YYYY-MM-DD"),
        ({"id": "a", "closes": [1, 2], "as_of": "2024-W01-1"}, "as YYYY-MM-DD"),
        ({"id": "a", "closes": [1, 2], "as_of": 20240131}, "Expected `str | null`, got `int`"),
    ],
)
def test_a_faulty_series_keeps_its_place_and_costs_no_other(series: Any, told: str) -> None:
    asked, faults = decode(request(series=[series, SERIES]))

    assert list(faults) == [0]
    assert told in str(faults[0])
    assert [each.closes for each in asked.series] == [[], [100, 101.5]]


@pytest.mark.parametrize("number", [b"1e309", b"-1e309", b"9" * 5000])
def test_a_number_too_large_for_a_float_is_a_fault_of_its_series(number: bytes) -> None:
    _, faults = decode(b'{"series":[{"id":"a","closes":[1,' + number + b"]}]}")

    assert faults[0].close == 1


def test_all_faulty_series_are_named_together() -> None:
    bad = {"id": "b", "closes": [1, "x"]}

    _, faults = decode(request(series=[bad, SERIES, bad, {"id": "c"}]))

    assert list(faults) == [0, 2, 3]


def test_a_line_of_ndjson_is_a_series() -> None:
    series = decode_series(json.dumps({**SERIES, "as_of": "2024-01-31"}).encode() + b"\n")

    assert (series.id, series.closes, series.as_of) == ("AAPL", [100, 101.5], "2024-01-31")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (b"{", "not JSON"),
        (b"7", "Expected `object`"),
        (b'{"id":"a","closes":[1,NaN]}', "close 1 is NaN, which JSON does not have"),
        (b'{"id":"a","closes":[1,"x"]}', 'close 1 is "x"; a close is a positive, finite number'),
        (b'{"id":"a","id":"b","closes":[1]}', '"id" is there twice'),
        (b'{"id":"a\\n","closes":[1]}', "an id is printable"),
        (b'{"id":"a","closes":[1],"as_of":"yesterday"}', "as YYYY-MM-DD"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_a_line_that_is_no_series_says_why_without_a_place_among_series(line: bytes, told: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_series(line)

    assert told in str(caught.value)
    assert "series 0" not in str(caught.value)


@pytest.mark.parametrize(
    "body",
    [
        b'{"series":[{"id":"a","id" :"b","closes":[1,2]}]}',
        b'{"series":[{"id":"a","closes":[1,2],"closes"\n:[3,4]}]}',
        b'{"series":[{"id":"a:b","closes":[1,2],"closes":[3,4]}]}',
        b'{"series":[{"id":"a","closes":[1,2],"as_of":"2024-02-29","as_of":"2024-02-28"}]}',
        b'{"series":[],"series":[{"id":"a","closes":[1,2]}]}',
        b'{"model":"lstm","model":"lstm","series":[{"id":"a","closes":[1,2]}]}',
        b'{"series":[{"\\u0069d":"a","id":"b","closes":[1,2]}]}',
    ],
)
def test_a_key_twice_is_seen_however_it_is_written(body: bytes) -> None:
    with pytest.raises(InvalidJson, match="is there twice"):
        decode(body)


@pytest.mark.parametrize("name", ["a:b", '"id":', "closes", ":::"])
def test_an_id_that_looks_like_a_key_is_an_id(name: str) -> None:
    request, faults = decode(json.dumps({"series": [{"id": name, "closes": [1, 2]}]}).encode())

    assert (request.series[0].id, faults) == (name, {})


def test_a_document_that_names_what_it_joins_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    series = [{"id": name, "closes": [1.0, 2.0], "sector": "x"} for name in "ABC"]
    body = json.dumps({"series": series, "join": ["sector"]}).encode()
    monkeypatch.setattr(requests, "_decode_slowly", None)

    asked, faults = requests.decode_as(JobRequest, body, join=("sector",))

    assert ([each.id for each in asked.series], faults) == (["A", "B", "C"], {})


def test_a_joined_field_that_is_there_twice_is_seen_beside_its_name() -> None:
    series = '{"id":"A","closes":[1,2],"sector":"x"},{"id":"B","closes":[1,2],"sector":"x","sector":"y"}'

    with pytest.raises(requests.InvalidJson, match="twice"):
        requests.decode_as(JobRequest, f'{{"series":[{series}],"join":["sector"]}}'.encode(), join=("sector",))
