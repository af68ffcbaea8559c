import io

import numpy as np
import pyarrow as pa
import pytest

from models.errors import EmptyRequest, InputError
from models.forecaster import MAX_DAYS
from worker.tables import CSV, JSON, NDJSON, Entry, read_upload, write_chunks

LONG = b"id,date,close\nB,2024-01-03,11\nB,2024-01-02,10\nA,2024-01-02,5\nA,2024-01-03,6.5\n"
WIDE = b"date,B,A\n2024-01-02,10,5\n2024-01-03,11,6.5\n"
LISTS = b"id,closes\nB,10 11\nA,5;6.5\n"
LINES = b'{"id":"B","closes":[10,11]}\n\n{"id":"A","closes":[5,6.5]}\n'
DOCUMENT = b'{"series":[{"id":"B","closes":[10,11]},{"id":"A","closes":[5,6.5]}]}'


def read(body: bytes, media_type: str) -> list[Entry]:
    return list(read_upload(io.BytesIO(body), media_type)[0])


def cut(entries: list[Entry], **limits: int) -> list[pa.RecordBatch]:
    sink = io.BytesIO()
    plan = write_chunks(entries, sink, **{"chunk_rows": 100, "chunk_closes": 1000, **limits})
    reader = pa.ipc.open_file(sink.getvalue())
    assert plan.chunks == reader.num_record_batches
    return [reader.get_batch(chunk) for chunk in range(plan.chunks)]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [(LONG, CSV), (WIDE, CSV), (LISTS, CSV), (LINES, NDJSON), (DOCUMENT, JSON)],
    ids=["long", "wide", "lists", "ndjson", "json"],
)
def test_every_format_gives_the_same_series_in_the_same_order(body: bytes, media_type: str) -> None:
    entries = read(body, media_type)

    assert [(entry.id, [*entry.closes], entry.fault) for entry in entries] == [
        ("B", [10, 11], None),
        ("A", [5, 6.5], None),
    ]


@pytest.mark.parametrize("body", [LONG, WIDE])
def test_a_dated_series_knows_its_last_day(body: bytes) -> None:
    assert [entry.as_of for entry in read(body, CSV)] == ["2024-01-03", "2024-01-03"]


def test_a_json_document_brings_its_own_options() -> None:
    body = b'{"model":"rnn","version":1,"levels":[0.5],"series":[]}'

    options = read_upload(io.BytesIO(body), JSON)[1]

    assert (options.model, options.version, options.levels) == ("rnn", 1, [0.5])


@pytest.mark.parametrize(
    ("body", "media_type", "words"),
    [
        (b'{"id":"A","closes":[1,"x"]}\n', NDJSON, ["line 1", "close 1", "x"]),
        (b'\n{"id":"A","closes":[1,NaN]}\n', NDJSON, ["line 2", "NaN"]),
        (b"not json\n", NDJSON, ["line 1", "JSON"]),
        (b'{"series":[{"id":"A","closes":[1,null]}]}', JSON, ["close 1", "null"]),
        (b"id,closes\nA,1 x\n", CSV, ["line 2", "'x'"]),
        (b"\xef\xbb\xbfid,closes\nA,1 1_0\n", CSV, ["line 2", "'1_0'"]),
        (b"id,date,close\nA,2024-01-02,1\nA,2024-01-02,2\n", CSV, ["2024-01-02", "twice"]),
        (b"id,date,close\nA,2024-01-02,1\nA,2024-01-03,-2\n", CSV, ["2024-01-03", "-2"]),
    ],
)
def test_a_bad_series_keeps_its_place_with_its_fault(body: bytes, media_type: str, words: list[str]) -> None:
    (bad,) = read(body, media_type)

    assert all(word in (bad.fault or "") for word in words), bad.fault


def test_a_bad_line_leaves_its_neighbours_as_they_are() -> None:
    entries = read(b'{"id":"A","closes":[1,2]}\n{"id":\n{"id":"C","closes":[3,4]}\n', NDJSON)

    assert [(entry.id, entry.fault is None) for entry in entries] == [("A", True), (None, False), ("C", True)]


@pytest.mark.parametrize(
    ("body", "media_type"),
    [
        (b"", JSON),
        (b"[]", JSON),
        (b'{"series":3}', JSON),
        (b"a,b\n1,2\n", CSV),
        (b"", CSV),
        (b"x" * (5 * 1024 * 1024), NDJSON),
        (b"<xml/>", "application/xml"),
        (b" " * (64 * 1024 * 1024 + 1), JSON),
    ],
)
def test_an_upload_that_is_no_table_is_refused_as_a_whole(body: bytes, media_type: str) -> None:
    with pytest.raises(InputError):
        read(body, media_type)


def test_nothing_uploaded_is_no_job() -> None:
    with pytest.raises(EmptyRequest):
        write_chunks([], io.BytesIO(), chunk_rows=1, chunk_closes=1)


def test_chunks_are_cut_by_rows_and_by_closes_and_lose_none() -> None:
    entries = [Entry(str(row), None, np.full(length, 1.0)) for row, length in enumerate([5, 5, 50, 5, 5, 5])]

    chunks = cut(entries, chunk_rows=2, chunk_closes=50)

    assert [chunk["row"].to_pylist() for chunk in chunks] == [[0, 1], [2], [3, 4], [5]]
    assert [len(closes) for chunk in chunks for closes in chunk["closes"].to_pylist()] == [5, 5, 50, 5, 5, 5]


@pytest.mark.parametrize("name", ["line\nbreak", "\x1b[31m", "x" * 5000])
def test_an_id_that_cannot_be_shown_is_a_fault(name: str) -> None:
    (chunk,) = cut([Entry(name, None, np.ones(3))])

    assert "at most 200 printable" in chunk["fault"].to_pylist()[0]
    assert len(chunk["id"].to_pylist()[0]) <= 200 * 4


def test_a_series_of_too_many_closes_is_a_fault_and_takes_no_room() -> None:
    (chunk,) = cut([Entry("A", None, np.ones(MAX_DAYS + 1))])

    assert chunk["closes"].to_pylist() == [[]]
    assert str(MAX_DAYS) in chunk["fault"].to_pylist()[0]
