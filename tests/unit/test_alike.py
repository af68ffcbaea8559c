"""Lines that are all alike, which are read at once, and those that only seem so."""

import json

import pytest

from tests.unit.uploads import records
from worker.reading.alike import days_by_quotes
from worker.reading.formats import NDJSON

_DAY = '{"id":"A","date":"2024-01-02","close":1.5}'


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_lines_that_are_all_alike_are_read_at_once(separators: tuple[str, str], end: str) -> None:
    days = [{"ticker": name, "date": f"2024-01-0{day}", "close": day + 0.5} for name in "é:,{}" for day in range(1, 5)]
    body = "".join(json.dumps(each, separators=separators, ensure_ascii=False) + end for each in days).encode()

    cells = days_by_quotes("ticker", body)

    assert cells is not None
    assert [cells.ids[at].as_py() for at in range(20)] == [each["ticker"] for each in days]
    assert cells.closes.tolist() == [each["close"] for each in days]
    assert cells.days.tolist() == [19723 + at % 4 for at in range(20)]
    assert [each["closes"] for each in records(body, NDJSON)] == [[1.5, 2.5, 3.5, 4.5]] * 5


@pytest.mark.parametrize(
    "line",
    [
        _DAY.replace("1.5", number)
        for number in [
            "01",
            ".5",
            "5.",
            "+5",
            "-5",
            "0",
            "1e5",
            "NaN",
            "Infinity",
            "nan",
            "null",
            "1 ",
            "1_0",
            "",
            "x",
            "1/2",
        ]
    ]
    + [
        '{"id":"A","close":1.5,"date":"2024-01-02"}',
        '{"id":"A","dote":"2024-01-02","close":1.5}',
        '{"id":"A","date":"2024-01-02","clothes":1.5}',
        '{"id":"A" "date":"2024-01-02","close":1.5}',
        '{"id":"A","date":"2024-01-02" "close":1.5}',
        '{"ID":"A","date":"2024-01-02","close":1.5}',
        '{"id":"A","close":5","date":"2024-01-01}',
        '{"id":"A","date":","close":1"}',
        '{"id":"A","date":"2024-01-02","close":1.5,"close":2}',
        '{"id":"A","date":"2024-02-30","close":1.5}',
        '{"id":"A\\n","date":"2024-01-02","close":1.5}',
        '{"id":"A","date":"2024-01-02","close":1.5} ',
        '{"id":"A","date":"2024-01-02","close":1.5}}',
        '[{"id":"A","date":"2024-01-02","close":1.5}]',
        '{"id":"A","date":"2024-01-02","close":1.5',
        "",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_of_lines_that_are_not_all_alike_nothing_is_said(line: str, place: int) -> None:
    lines_there = [_DAY] * 2
    lines_there.insert(place, line)

    assert days_by_quotes("id", "\n".join(lines_there).encode()) is None or (line, place) in (("", 0), ("", 2))
