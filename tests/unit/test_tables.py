import datetime
import io
import json
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bounds import MAX_DAYS
from models.errors import EmptyRequest, InputError
from tests.unit.uploads import PACKED, WAYS, arrow, csv_text, lines, parquet, records, table_of
from worker.errors import TableError, UploadTooLarge
from worker.media_types import ARROW_FILE, ARROW_STREAM, CSV, JSON, NDJSON, PARQUET
from worker.reading.formats import read
from worker.reading.limits import MAX_LINE_BYTES, Limits
from worker.reading.series import batch as series_batch
from worker.reading.series import lists
from worker.reading.sources import Source
from worker.tables import write_chunks

SERIES = [("B", [10.0, 11.0, 12.5]), ("A", [5.0, 6.5])]
LONG = b"id,date,close\nB,2024-01-03,11\nB,2024-01-02,10\nA,2024-01-02,5\nA,2024-01-03,6.5\n"
WIDE = b"date,B,A\n2024-01-02,10,5\n2024-01-03,11,6.5\n"


def batch_of(lengths: list[int], ids: list[str] | None = None) -> pa.RecordBatch:
    names = pa.array(ids or [str(row) for row in range(len(lengths))])
    return series_batch(names, None, lists(np.ones(sum(lengths)), np.array(lengths)), {})


def store(body: bytes, media_type: str, limits: Limits) -> None:
    batches, _ = read(Source(io.BytesIO(body), "", limits), media_type)
    write_chunks(batches, io.BytesIO(), chunk_rows=10, chunk_closes=100, limits=limits)


def cut(batches: list[pa.RecordBatch], **limits: int) -> list[pa.RecordBatch]:
    sink = io.BytesIO()
    plan = write_chunks(batches, sink, **{"chunk_rows": 100, "chunk_closes": 1000, **limits})
    reader = pa.ipc.open_file(sink.getvalue())
    assert plan.chunks == reader.num_record_batches
    return [reader.get_batch(chunk) for chunk in range(plan.chunks)]


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("way", WAYS)
def test_every_format_layout_and_encoding_gives_the_same_series_in_the_same_order(way: str, encoding: str) -> None:
    body, media_type = WAYS[way](SERIES)

    read_back = records(PACKED[encoding](body), media_type, encoding)

    assert [(each["id"], each["closes"], each["fault"]) for each in read_back] == [(*each, None) for each in SERIES]


_CLOSES = st.lists(st.floats(1e-30, 1e30).map(lambda close: float(repr(close))), min_size=1, max_size=4)
_IDS = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=8)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(_IDS, _CLOSES), min_size=1, max_size=6, unique_by=lambda each: each[0].strip().lower()))
@pytest.mark.parametrize("way", WAYS)
def test_ids_and_closes_come_out_as_they_went_in_to_the_bit(way: str, series: list[tuple[str, list[float]]]) -> None:
    if way == "csv wide" and any(name.lower() in ("date", "id", "close", "closes", "") for name, _ in series):
        return
    body, media_type = WAYS[way](series)

    read_back = records(body, media_type)

    assert [(each["id"], each["closes"], each["fault"]) for each in read_back] == [(*each, None) for each in series]


@pytest.mark.parametrize("body", [LONG, WIDE])
def test_a_dated_series_knows_its_last_day(body: bytes) -> None:
    assert [each["as_of"] for each in records(body, CSV)] == ["2024-01-03", "2024-01-03"]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"id":"A","closes":[1,2],"as_of":"2024-01-03"}\n', NDJSON),
        (b"id,as_of,closes\nA,2024-01-03,1 2\n", CSV),
        (parquet(table_of([("A", [1.0, 2.0])], {"as_of": ["2024-01-03"]})), PARQUET),
        (arrow(table_of([("A", [1.0, 2.0])], {"as_of": [datetime.date(2024, 1, 3)]})), ARROW_FILE),
    ],
)
def test_one_series_a_row_may_say_its_last_day(body: bytes, media_type: str) -> None:
    assert [each["as_of"] for each in records(body, media_type)] == ["2024-01-03"]


def test_a_json_document_brings_its_own_options() -> None:
    for name in ("series", "days"):
        body = json.dumps({"model": "rnn", "version": 1, "levels": [0.5], name: []}).encode()

        options = read(Source(io.BytesIO(body), "", Limits()), JSON)[1]

        assert options is not None
        assert (options.model, options.version, options.levels) == ("rnn", 1, [0.5])


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b'{"id":"A","closes":[1,"x"]}\n', NDJSON, ["line 1", "close 1", "x"]),
        (b'\n{"id":"A","closes":[1,NaN]}\n', NDJSON, ["line 2", "NaN"]),
        (b'{"id":"A","closes":[1,NaN]}', NDJSON, ["line 1", "NaN"]),
        (b'{"id":"A","closes":[1,null]}\n', NDJSON, ["line 1", "close 1", "null"]),
        (b'{"id":"A","id":"A","closes":[1,2]}\n', NDJSON, ["line 1", "twice"]),
        (b'{"id":"A","closes":[1,2],"as_of":null,"as_of":"2024-01-02"}\n', NDJSON, ["line 1", "twice"]),
        (b'{"id":"A","closes":[1,2],"as_of":"2024-02-30"}\n', NDJSON, ["as_of", "2024-02-30"]),
        (b'{"id":"A","closes":[1,2],"sector":"x"}\n', NDJSON, ["line 1", "sector"]),
        (b"not json\n", NDJSON, ["line 1", "JSON"]),
        (b'{"id":"A","date":"2024-01-02","close":-1}\n', NDJSON, ["-1", "2024-01-02", "positive"]),
        (b'{"id":"A","date":"2024-02-30","close":1}\n{"id":"A","date":"2024-01-02","close":1}', NDJSON, ["2024-02-30"]),
        (
            b'{"id":"A","date":"2024-01-02","close":"x"}\n{"id":"A","date":"2024-01-03","close":1}',
            NDJSON,
            ["line 1", "x"],
        ),
        (b'{"id":"A","date":"2024-01-02","close":1}\n{"id":"A","date":"2024-01-02","close":2}', NDJSON, ["twice"]),
        (b'{"series":[{"id":"A","closes":[1,null]}]}', JSON, ["close 1", "null"]),
        (b"id,closes\nA,1 x\n", CSV, ["line 2", "'x'"]),
        (b"\xef\xbb\xbfid,closes\nA,1 1_0\n", CSV, ["line 2", "'1_0'"]),
        (b"id,closes\nA,1 2,3\n", CSV, ["line 2", "3 columns", "header has 2"]),
        (b"id,closes\n,1 2\n", CSV, ["no id"]),
        (b"id,as_of,closes\nA,2024-02-30,1 2\n", CSV, ["as_of", "2024-02-30"]),
        (b"id,date,close\nA,2024-01-02,1\nA,2024-01-02,2\n", CSV, ["2024-01-02", "twice"]),
        (b"id,date,close\nA,2024-01-02,1\nA,2024-01-03,-2\n", CSV, ["2024-01-03", "'-2'"]),
        (b"id,date,close\nA,2024-01-02,1\nA,2024-01-03\n", CSV, ["line 3", "2 columns", "header has 3"]),
        (b"id,date,close\nA,soon,1\nA,2024-01-03,1\n", CSV, ["'soon'"]),
        (b"id,date,close\nA,2024-01-03,\n", CSV, ["no close"]),
        (b"id,date,close\n,2024-01-03,1\n", CSV, ["without an id"]),
        (parquet(table_of([("", [1.0])])), PARQUET, ["no id"]),
        (parquet(pa.table({"id": ["A"], "closes": pa.array([None], pa.list_(pa.float64()))})), PARQUET, ["no closes"]),
        (arrow(pa.table({"id": ["A"], "closes": [[1.0, None]]})), ARROW_FILE, ["close 1", "null"]),
        (arrow(table_of([("A", [1.0])], {"as_of": ["soon"]})), ARROW_FILE, ["as_of", "soon"]),
    ],
)
def test_a_bad_series_keeps_its_place_with_its_fault(body: bytes, media_type: str, words: list[str]) -> None:
    (bad,) = records(body, media_type)

    assert all(word in bad["fault"] for word in words), bad["fault"]
    assert bad["closes"] == []


def test_a_day_without_a_close_is_a_day_without_trading() -> None:
    body = b'{"days":[{"id":"A","date":"2024-01-02","close":1},{"id":"A","date":"2024-01-03"}]}'

    (found,) = records(body, JSON)

    assert (found["closes"], found["fault"]) == ([1.0], None)


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b'{"id":"A","closes":[1,2]}\n{"id":\n{"id":"C","closes":[3,4]}\n', NDJSON),
        (b"id,closes\nA,1 2\n,3 x\nC,3 4\n", CSV),
        (b"id,closes\nA,1 2\n1,2,3\nC,3 4\n", CSV),
        (b"id,date,close\nA,2024-01-02,1\nA,2024-01-03,2\n,2024-01-02,x\nC,2024-01-02,3\nC,2024-01-03,4\n", CSV),
        (arrow(pa.table({"id": ["A", None, "C"], "closes": [[1.0, 2.0], [1.0, None], [3.0, 4.0]]})), ARROW_FILE),
    ],
)
def test_a_bad_series_leaves_its_neighbours_as_they_are(body: bytes, media_type: str) -> None:
    before, bad, after = records(body, media_type)

    assert (before["id"], before["closes"], before["fault"]) == ("A", [1, 2], None)
    assert bad["fault"]
    assert (after["id"], after["closes"], after["fault"]) == ("C", [3, 4], None)


@pytest.mark.parametrize("size", [3, 1000])
def test_a_bad_line_far_into_an_upload_is_named_by_its_number(size: int) -> None:
    good = [f'{{"id":"{row}","closes":[{",".join(["1.5"] * 2000)}]}}'.encode() for row in range(size)]
    body = b"\n".join([*good, b"nonsense", *good])

    (bad,) = [each for each in records(body, NDJSON, threads=2) if each["fault"]]

    assert f"line {size + 1}:" in bad["fault"]


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b"", JSON, "JSON"),
        (b"[]", JSON, "a list"),
        (b'{"series":3}', JSON, "series"),
        (b'{"series":[],"horizon":3}', JSON, "next day"),
        (b'{"days":[],"horizon":3}', JSON, "next day"),
        (b'{"series":[],"explain":true}', JSON, "leave `explain` out"),
        (b'{"days":[],"explain":true}', JSON, "leave `explain` out"),
        (b"a,b\n1,2\n", CSV, "found the columns 'a', 'b'"),
        (b"", CSV, "first line is empty"),
        (b'id,closes\nA,1 2\nB,"3 4\nC,5 6\n', CSV, "line 3 has a quote that is not closed"),
        (b'id,date,close\nA,2024-01-02,1\nA,"2024-01-03,1\n', CSV, "line 3 has a quote that is not closed"),
        (b"id,closes\nA,1 2\n\xff,3 4\n", CSV, "line 3"),
        (b"id,date,close\nA,soon,1\n", CSV, "holds no date, but 'soon'"),
        (b"date,A\n2024-01-02,1,2\n", CSV, "line 2: has 3 columns"),
        (b"id,closes,closes\n", CSV, "twice"),
        (b"id,closes\nA," + b"1" * (2 * MAX_LINE_BYTES), CSV, "line 2 is longer than"),
        (b"date," + b",".join(b"%d" % column for column in range(100_000)), CSV, "at most 50000"),
        (b",".join(b"%d" % column for column in range(200_000)), CSV, "first line is longer"),
        (b",".join(b"%d" % column for column in range(1_000_000)), CSV, "line 1 is longer"),
        (b"x" * (MAX_LINE_BYTES + 1), NDJSON, "line 1 is longer than"),
        (b"<xml/>", "application/xml", "application/xml"),
        (b" " * (64 * 1024 * 1024 + 1), JSON, "at most 67108864 bytes"),
        (b"PAR1nonsense", PARQUET, "not a Parquet table"),
        (b"", PARQUET, "not a Parquet table"),
        (b"ARROW1 nonsense", ARROW_FILE, "not a Arrow file"),
        (b"nonsense", ARROW_STREAM, "not a Arrow stream"),
        (arrow(pa.table({"id": ["A"], "closes": [["1"]]})), ARROW_FILE, "closes are lists of numbers"),
        (arrow(pa.table({"id": ["A"], "closes": [1.0]})), ARROW_FILE, "closes are lists of numbers"),
        (arrow(pa.table({"id": [[1]], "closes": [[1.0]]})), ARROW_FILE, "ids are text or whole numbers"),
        (arrow(pa.table({"id": ["A"], "date": [1.5], "close": [1.0]})), ARROW_FILE, "dates are dates"),
        (arrow(pa.table({"id": ["A"], "date": ["2024-01-02"], "close": [[1.0]]})), ARROW_FILE, "closes are numbers"),
        (arrow(pa.table({"date": ["2024-01-02"], "AAPL": [1.0]})), ARROW_FILE, "a row a series"),
        (parquet(pa.table({str(at): [1] for at in range(1000)})), PARQUET, "found the columns '0', '1'"),
    ],
)
def test_an_upload_that_is_no_table_is_refused_as_a_whole(body: bytes, media_type: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        records(body, media_type)

    assert words in str(caught.value)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut", "changed", "another"])
def test_a_packed_upload_that_does_not_unpack_is_refused(encoding: str, damage: str) -> None:
    body = PACKED[encoding](LONG * 100)
    damaged = {"cut": body[:-3], "changed": b"\0\0\0\0" + body[4:], "another": LONG}[damage]

    with pytest.raises(TableError, match=f"not {encoding}"):
        records(damaged, CSV, encoding)


def test_an_encoding_that_is_not_taken_is_refused() -> None:
    with pytest.raises(InputError, match="'br' is none of gzip, zstd"):
        records(LONG, CSV, "br")


@pytest.mark.parametrize("opened", [pa.ipc.new_file, pa.ipc.new_stream])
def test_an_arrow_table_whose_lists_go_beyond_their_values_is_refused(opened: Callable) -> None:
    body = arrow(table_of([("A", [1.0] * 1717)]), opened)
    ends = np.array([0, 1717], np.int32).tobytes()
    at = body.rindex(ends)
    damaged = body[:at] + np.array([0, 500_000_000], np.int32).tobytes() + body[at + len(ends) :]

    with pytest.raises(TableError, match="can be read"):
        records(damaged, _ARROW[opened])


@pytest.mark.parametrize("opened", [pa.ipc.new_file, pa.ipc.new_stream])
def test_an_arrow_table_whose_lists_run_backwards_is_refused_before_they_are_followed(opened: Callable) -> None:
    closes = pa.array([[1.0] * 17, None, [1.0] * 1700], pa.list_(pa.float64()))
    body = arrow(pa.table({"id": ["A", "B", "C"], "closes": closes}), opened)
    ends = np.array([0, 17, 17, 1717], np.int32).tobytes()
    damaged = body.replace(ends, np.array([0, -5, 17, 1717], np.int32).tobytes())

    with pytest.raises(TableError, match="non-monotonic offset"):
        records(damaged, _ARROW[opened])


_ARROW = {pa.ipc.new_file: ARROW_FILE, pa.ipc.new_stream: ARROW_STREAM}


def test_columns_without_number_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.reading.limits.MAX_COLUMNS", 100)
    table = pa.table({f"c{at}": [1] for at in range(101)})
    bodies = [(parquet(table), PARQUET), (arrow(table), ARROW_FILE), (csv_text([table.column_names]), CSV)]

    for body, media_type in bodies:
        with pytest.raises(TableError, match="101 columns; at most 100"):
            records(body, media_type)


@pytest.mark.parametrize(
    ("limits", "setting"),
    [({"rows": 1}, "NEXTDAY_MAX_JOB_ROWS"), ({"closes": 3}, "NEXTDAY_MAX_JOB_CLOSES")],
)
@pytest.mark.parametrize("way", WAYS)
def test_more_series_or_closes_than_are_taken_name_the_setting(way: str, limits: dict[str, int], setting: str) -> None:
    body, media_type = WAYS[way](SERIES)

    with pytest.raises(UploadTooLarge, match=setting):
        store(body, media_type, Limits(**limits))


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("media_type", [JSON, NDJSON, CSV, PARQUET])
def test_what_unpacks_to_more_than_is_taken_is_unpacked_no_further(encoding: str, media_type: str) -> None:
    head = b"id,closes\n" if media_type == CSV else b""
    bomb = PACKED[encoding](head + b"0\n" * 8_000_000)

    with pytest.raises(UploadTooLarge, match="NEXTDAY_MAX_JOB_DECODED_BYTES"):
        records(bomb, media_type, encoding, decoded_bytes=1_000_000)


def test_rows_of_a_long_table_in_any_order_give_the_same_series() -> None:
    rows = [
        (f"S{name}", str(datetime.date(2024, 1, 2) + datetime.timedelta(at)), name + at / 8 + 1)
        for name in range(700)
        for at in range(5)
    ]
    shuffled = [rows[at] for at in np.random.default_rng(0).permutation(len(rows))]
    bodies = [
        csv_text([["id", "date", "close"], *each]) for each in (rows, sorted(rows, key=lambda row: row[1]), shuffled)
    ]

    found = [{each["id"]: each["closes"] for each in records(body, CSV)} for body in bodies]

    assert (
        found[0] == found[1] == found[2] == {f"S{name}": [name + at / 8 + 1 for at in range(5)] for name in range(700)}
    )


def test_rows_that_do_not_fit_in_memory_go_to_disk_and_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    series = [(f"S{name}", [name + at + 1.0 for at in range(20)]) for name in range(1000)]
    rows = sorted((day, name, close) for name, closes in series for day, close in enumerate(closes))
    text = [["symbol", "close", "date"], *([name, close, datetime.date(2024, 1, 1 + day)] for day, name, close in rows)]
    whole = records(csv_text(text), CSV)
    monkeypatch.setattr("worker.reading.sources.BLOCK_BYTES", 4096)
    monkeypatch.setattr("worker.reading.grouping.HELD_RECORDS", 1000)
    monkeypatch.setattr("worker.reading.grouping.RANGE_RECORDS", 6000)

    in_parts = records(csv_text(text), CSV)

    assert in_parts == whole
    assert sorted((each["id"], each["closes"]) for each in whole) == sorted(series)


def test_the_same_id_is_one_series_in_the_long_layout_and_two_rows_in_the_other() -> None:
    long = records(b"id,date,close\nA,2024-01-02,1\nB,2024-01-02,1\nA,2024-01-03,2\n", CSV)
    rows = records(b"id,closes\nA,1 2\nA,3 4\n", CSV)

    assert [(each["id"], each["closes"]) for each in long] == [("A", [1, 2]), ("B", [1])]
    assert [(each["id"], each["closes"]) for each in rows] == [("A", [1, 2]), ("A", [3, 4])]


@pytest.mark.parametrize("kind", [pa.float32(), pa.float16(), pa.int32(), pa.uint64(), pa.decimal128(22, 2)])
@pytest.mark.parametrize(
    "nest",
    [
        lambda closes: closes,
        lambda closes: closes.cast(pa.large_list(closes.type.value_type)),
        lambda closes: closes.cast(pa.list_(closes.type.value_type, 2)),
    ],
    ids=["list", "large", "fixed"],
)
def test_closes_of_any_type_of_numbers_are_read(kind: pa.DataType, nest: Callable) -> None:
    closes = pa.array([[1, 2], [3, 4]], pa.list_(pa.int32())).cast(pa.list_(kind))
    closes = nest(closes)
    table = pa.table({"id": pa.array([7, 8]), "closes": closes})

    assert [(each["id"], each["closes"]) for each in records(arrow(table), ARROW_FILE)] == [
        ("7", [1, 2]),
        ("8", [3, 4]),
    ]


@pytest.mark.parametrize(
    "ids",
    [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.string()],
)
def test_ids_of_any_type_of_text_are_read_and_stay_text(ids: pa.DataType) -> None:
    table = pa.table({"id": pa.array(["007", "7"]).cast(ids), "closes": [[1.0], [2.0]]})

    assert [each["id"] for each in records(arrow(table), ARROW_FILE)] == ["007", "7"]


def test_nothing_uploaded_is_no_job() -> None:
    with pytest.raises(EmptyRequest):
        write_chunks([], io.BytesIO(), chunk_rows=1, chunk_closes=1)


@pytest.mark.parametrize("at_a_time", [1, 2, 6])
def test_chunks_are_cut_by_rows_and_by_closes_and_lose_none(at_a_time: int) -> None:
    lengths = [5, 5, 50, 5, 5, 5]
    whole = batch_of(lengths)
    batches = [whole.slice(begin, at_a_time) for begin in range(0, 6, at_a_time)]

    chunks = cut(batches, chunk_rows=2, chunk_closes=50)

    assert [chunk["row"].to_pylist() for chunk in chunks] == [[0, 1], [2], [3, 4], [5]]
    assert [len(closes) for chunk in chunks for closes in chunk["closes"].to_pylist()] == lengths


def test_chunks_grow_with_what_came_before_so_that_a_large_job_has_some_hundreds() -> None:
    whole = batch_of([1] * 100_000)

    sizes = [len(chunk) for chunk in cut([whole] * 20, chunk_rows=100_000, chunk_closes=6_000_000)]

    largest = sizes.index(max(sizes))
    assert sizes[:256] == [4000] * 256
    assert sizes[:largest] == sorted(sizes[:largest])
    assert sum(sizes[largest:]) < 40_000
    assert len(sizes) < 500
    assert all(size <= max(4000, sum(sizes[:at]) // 256) for at, size in enumerate(sizes))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("length", [2, 60, 2500])
@pytest.mark.parametrize("rows", [1, 499, 1000, 4000, 7999, 30_000])
def test_the_last_chunks_become_smaller_so_that_all_threads_are_done_at_about_the_same_time(
    rows: int, length: int, threads: int
) -> None:
    rows = min(rows, 3_000_000 // length)
    whole = batch_of([length] * rows)
    batches = [whole.slice(begin, 1000) for begin in range(0, rows, 1000)]

    chunks = cut(batches, chunk_rows=100_000, chunk_closes=6_000_000)

    done = [0] * threads
    for chunk in chunks:
        done[int(np.argmin(done))] += len(chunk)
    least = min(500, 30_000 // length)
    assert [number for chunk in chunks for number in chunk["row"].to_pylist()] == list(range(rows))
    assert max(done) - min(done) <= least + rows % least
    assert rows < least or min(len(chunk) for chunk in chunks) >= min(250, 15_000 // length)


def test_rows_without_closes_that_come_last_are_in_a_chunk_too() -> None:
    chunks = cut([batch_of([3, 3]), batch_of([0, 0])], chunk_rows=2)

    assert [chunk["row"].to_pylist() for chunk in chunks] == [[0, 1], [2, 3]]


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31m", "x" * 5000, "\u202e"])
def test_an_id_that_cannot_be_shown_is_a_fault(name: str) -> None:
    (bad,) = batch_of([3], [name]).to_pylist()

    assert "at most 200 printable" in bad["fault"]
    assert bad["closes"] == []
    assert len(bad["id"]) <= 200 * 4
    assert bad["id"].isprintable()


@pytest.mark.parametrize("way", ["csv rows", "ndjson rows", "parquet rows", "csv long", "parquet long"])
def test_a_series_of_too_many_closes_is_a_fault_and_takes_no_room(way: str) -> None:
    body, media_type = WAYS[way]([("A", [1.5] * (MAX_DAYS + 1)), ("B", [1.5])])

    bad, good = records(body, media_type)

    assert bad["closes"] == []
    assert str(MAX_DAYS) in bad["fault"]
    assert (good["id"], good["closes"]) == ("B", [1.5])


def test_lines_with_the_line_ends_of_windows_and_blank_lines_are_read() -> None:
    body = lines([{"id": "A", "closes": [1, 2]}]).replace(b"\n", b"\r\n") + b"\r\n" + b'{"id":"B","closes":[3,4]}\r\n'

    assert [(each["id"], each["closes"]) for each in records(body, NDJSON)] == [("A", [1, 2]), ("B", [3, 4])]
