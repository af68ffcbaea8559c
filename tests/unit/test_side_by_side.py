"""A table whose series lie side by side is cut as it comes; one whose series come back is read again, to one end."""

import io
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.uploads import day, long_table_of, parquet
from worker.intake_process import Report, Task, convert
from worker.media_types import CSV, NDJSON, PARQUET
from worker.reading import grouping, sources
from worker.reading.formats import read
from worker.reading.limits import Limits
from worker.reading.sources import Source

Row = tuple[str, int, str]


@pytest.fixture(autouse=True, scope="module")
def small_blocks() -> Any:
    """Blocks of a few rows, so that series begin and end in the middle of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "BLOCK_BYTES", 150)
        yield


def csv_of(rows: list[Row], extra: bool = False) -> bytes:
    head = "id,date,close,sector" if extra else "id,date,close"
    return "\n".join(
        [head, *(f"{name},{day(at)},{close}" + (f",of {name}" if extra else "") for name, at, close in rows), ""]
    ).encode()


def ndjson_of(rows: list[Row]) -> bytes:
    return "".join(f'{{"id":"{name}","date":"{day(at)}","close":{close}}}\n' for name, at, close in rows).encode()


def taken_in(
    body: bytes, media_type: str, join: tuple[str, ...] = (), encoding: str = ""
) -> tuple[list[dict[str, Any]], Report]:
    """The job's input file as it is written, a dict a series."""
    task = Task(
        media_type=media_type, encoding=encoding, join=join, limits=Limits(), folder="/tmp", chunk_rows=1000,
        chunk_closes=10_000, max_bytes=2**30, memory_bytes=2**30,
    )  # fmt: skip
    sink = io.BytesIO()
    report = convert(task, io.BytesIO(body), sink)
    return pa.ipc.open_file(sink.getvalue()).read_all().to_pylist(), report


def in_any_order(body: bytes, media_type: str, join: tuple[str, ...] = ()) -> list[dict[str, Any]]:
    batches, _ = read(Source(io.BytesIO(body), "", Limits()), media_type, join)
    return [{"row": row, **each} for row, each in enumerate(each for batch in batches for each in batch.to_pylist())]


def side_by_side(series: int, days: int) -> list[Row]:
    return [(f"s{number}", at, f"{100 + number + at / 8}") for number in range(series) for at in range(days)]


@pytest.fixture
def no_scratch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(grouping, "HELD_RECORDS", 50)  # a few series
    monkeypatch.setattr(Source, "scratch", lambda _: pytest.fail("a scratch file was opened"))


@pytest.mark.parametrize("days", [1, 2, 7, 30])
@pytest.mark.usefixtures("no_scratch")
def test_series_side_by_side_need_no_scratch_file(days: int) -> None:
    rows = side_by_side(60, days)

    for body, media_type in ((csv_of(rows), CSV), (ndjson_of(rows), NDJSON)):
        found, report = taken_in(body, media_type)
        assert [each["id"] for each in found] == [f"s{number}" for number in range(60)]
        assert found == in_any_order_held(body, media_type)
        assert report.plan.closes == 60 * days


def in_any_order_held(body: bytes, media_type: str) -> list[dict[str, Any]]:
    """`in_any_order` without a scratch file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grouping, "HELD_RECORDS", 10**6)
        return in_any_order(body, media_type)


@pytest.mark.parametrize(
    "late", [("s3", 90, "7.5"), ("s0", 99, "1"), ("s58", 50, "2"), ("s3", 90, "none"), ("s4", 2, "5")]
)
def test_a_row_that_comes_late_counts_as_in_any_other_place(late: Row) -> None:
    rows = [*side_by_side(60, 9), late]

    found, _ = taken_in(csv_of(rows), CSV)

    assert found == in_any_order(csv_of(rows), CSV)
    assert found == in_any_order(csv_of(sorted(rows, key=lambda row: int(row[0][1:]))), CSV)


def test_a_line_of_too_few_cells_of_a_series_that_was_given_counts_too() -> None:
    body = csv_of(side_by_side(60, 9)) + b"s3,2024-05-05\n"

    found, _ = taken_in(body, CSV)

    assert found[3]["fault"] == "line 542: has 2 columns, where the header has 3"
    assert found == in_any_order(body, CSV)


def test_a_table_by_date_is_read_from_the_start_again() -> None:
    rows = sorted(side_by_side(60, 9), key=lambda row: row[1])

    found, _ = taken_in(csv_of(rows), CSV)

    assert found == in_any_order(csv_of(side_by_side(60, 9)), CSV)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_packed_table_can_be_read_from_the_start_again(encoding: str) -> None:
    rows = sorted(side_by_side(60, 9), key=lambda row: row[1])
    packed = pa.BufferOutputStream()
    with pa.CompressedOutputStream(packed, encoding) as out:
        out.write(csv_of(rows))

    found, _ = taken_in(packed.getvalue().to_pybytes(), CSV, encoding=encoding)

    assert found == in_any_order(csv_of(rows), CSV)


def test_columns_that_are_joined_are_those_of_the_last_day() -> None:
    rows = side_by_side(40, 9)

    found, report = taken_in(csv_of(rows, extra=True), CSV, ("sector",))

    assert report.plan.joined == ("sector",)
    assert [each["joined.sector"] for each in found] == [f"of s{number}" for number in range(40)]


def test_a_columnar_table_may_come_so_too() -> None:
    series = [(f"s{number}", [100.0 + number] * 5) for number in range(300)]
    body = parquet(long_table_of(series), row_group_size=64)

    found, _ = taken_in(body, PARQUET)

    assert [each["id"] for each in found] == [name for name, _ in series]
    assert found == in_any_order(body, PARQUET)


CLOSES = st.sampled_from(["1.5", "2", "99.25", "", "-1", "0", "x", "1e400"])
ROWS = st.lists(
    st.tuples(st.sampled_from([f"s{number}" for number in range(9)]), st.integers(0, 6), CLOSES), max_size=60
)


@settings(max_examples=40)
@given(rows=ROWS, how=st.sampled_from(["as drawn", "by series", "by series and day", "by day"]))
def test_whatever_the_order_the_series_are_those_of_any_order(rows: list[Row], how: str) -> None:
    keys = {"by series": lambda row: row[0], "by series and day": lambda row: row[:2], "by day": lambda row: row[1]}
    rows = sorted(rows, key=keys[how]) if how in keys else rows
    body = csv_of([("s0", 0, "1"), ("s0", 1, "1"), *rows])

    found, _ = taken_in(body, CSV)

    assert found == in_any_order(body, CSV)
