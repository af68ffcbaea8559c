"""Columns of the caller's own, carried from the upload to the results."""

import datetime

import pyarrow as pa
import pytest

from tests.unit.uploads import arrow, parquet, records, table_of
from worker.errors import TableError
from worker.reading.formats import ARROW_FILE, CSV, JSON, NDJSON, PARQUET
from worker.requests import InvalidJson


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"id":"A","closes":[1,2],"sector":"x","n":1.5}\n{"id":"B","closes":[1,2]}\n', NDJSON),
        (b'{"series":[{"id":"A","closes":[1,2],"sector":"x","n":1.5},{"id":"B","closes":[1,2]}]}', JSON),
        (b"id,sector,closes,n\nA,x,1 2,1.5\nB,,1 2,\n", CSV),
        (
            arrow(table_of([("A", [1.0, 2.0]), ("B", [1.0, 2.0])], {"n": ["1.5", None], "sector": ["x", None]})),
            ARROW_FILE,
        ),
    ],
)
def test_columns_that_are_asked_for_are_carried_along(body: bytes, media_type: str) -> None:
    found = records(body, media_type, join=("sector", "n"))

    assert [(each["id"], each["joined.sector"], each["joined.n"]) for each in found] == [
        ("A", "x", "1.5"),
        ("B", None, None),
    ]
    assert [each["fault"] for each in found] == [None, None]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (
            b"id,date,close,n\nA,2024-01-03,1,x\nA,2024-01-02,1,y\nB,2024-01-02,1,z\nA,2024-01-04,,w\nC,2024-01-02,,v\n",
            CSV,
        ),
        (
            b'{"id":"A","date":"2024-01-03","close":1,"n":"x"}\n{"id":"A","date":"2024-01-02","close":1,"n":"y"}\n'
            b'{"id":"B","date":"2024-01-02","close":1,"n":"z"}\n{"id":"C","date":"2024-01-02","close":null,"n":"v"}\n',
            NDJSON,
        ),
    ],
)
def test_of_the_long_layout_the_last_day_s_value_is_carried_along(body: bytes, media_type: str) -> None:
    found = records(body, media_type, join=("n",))

    assert [(each["id"], each["joined.n"]) for each in found] == [("A", "x"), ("B", "z"), ("C", None)]


def test_columns_of_a_columnar_file_keep_their_type() -> None:
    days = [datetime.date(2024, 1, 2), datetime.date(2024, 1, 3)]
    table = table_of([("A", [1.0]), ("B", [1.0])], {"listed": days, "lot": pa.array([1, 2], pa.int16())})

    found = records(parquet(table), PARQUET, join=("listed", "lot"))

    assert [(each["joined.listed"], each["joined.lot"]) for each in found] == [(days[0], 1), (days[1], 2)]


@pytest.mark.parametrize(
    ("join", "words"),
    [
        (("none",), "there is no column 'none' to join; there are: 'n'"),
        (("median",), "a result has one of that name"),
        (("0.05",), "a result has one of that name"),
        (("n", "n"), "each once"),
        (tuple(map(str, range(51))), "at most 50"),
    ],
)
@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"id,closes,n\nA,1 2,3\n", CSV),
        (b'{"id":"A","closes":[1,2],"n":3}\n', NDJSON),
        (parquet(table_of([("A", [1.0])], {"n": [3]})), PARQUET),
    ],
)
def test_columns_that_cannot_be_joined_are_refused_with_those_that_can(
    body: bytes, media_type: str, join: tuple[str, ...], words: str
) -> None:
    with pytest.raises(TableError) as caught:
        records(body, media_type, join=join)

    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"id":"A","closes":[1,2],"n":1}\n{"id":"B","closes":[1,2],"n":1,"n":2}\n', NDJSON),
        (b'{"series":[{"id":"A","closes":[1,2],"n":1},{"id":"B","closes":[1,2],"n":[1]}]}', JSON),
        (b'{"id":"A","closes":[1,2],"n":1}\n{"id":"B","closes":[1,2],"n":{}}\n', NDJSON),
    ],
)
def test_a_field_that_cannot_be_joined_is_a_fault_or_an_error(body: bytes, media_type: str) -> None:
    try:
        faults = [each["fault"] for each in records(body, media_type, join=("n",)) if each["fault"]]
    except InvalidJson as error:
        faults = [str(error)]

    assert len(faults) == 1
