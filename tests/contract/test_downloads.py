"""What an ended job gives back, in every format: the same rows, the same bits, the same bytes each time."""

import csv
import hashlib
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from worker.answers import forecasts as answered
from worker.answers import level_columns
from worker.blobs import Blobs, sha256
from worker.chunks import input_name, result_name
from worker.downloads import Download, Downloads
from worker.errors import ResultsDamaged, StorageUnavailable, UnsupportedFormat
from worker.folder import Folder
from worker.formats import FORMATS, ROW_GROUP_ROWS, json_texts
from worker.ledger import Done, Record
from worker.media_types import ARROW_FILE, ARROW_STREAM, CSV, NDJSON, PARQUET
from worker.scoring import RESULT_SCHEMA
from worker.tables import CHUNK_SCHEMA

JOB = "0" * 32
MODEL_LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]
LEVELS = [0.05, 0.5, 0.95]
HEADER = ["id", "as_of", "last_close", "median", "0.05", "0.5", "0.95"]
WHOLE = (pa.array(["north", None, "south"]), pa.array([1, None, 3]), pa.array([0.1, 1e-7, 2.5], pa.float32()))
JOINED = {"desk": WHOLE[0], "lots": WHOLE[1], "weight": WHOLE[2]}
"""Of each chunk's three rows, of which the second has an error."""


class Stored:
    """An ended job of chunks of three rows, as workers leave it."""

    def __init__(self, root: Path, *, chunks: int = 3, joined: dict[str, pa.Array] | None = None) -> None:
        self.blobs = Blobs.of(str(root))
        self.joined = joined or {}
        self.record = Record(
            id=JOB, status="completed", model="lstm", version=1, digest="d", levels=orjson.dumps(LEVELS).decode(),
            model_levels=orjson.dumps(MODEL_LEVELS).decode(), total=3 * chunks, chunks=chunks, completed=2 * chunks,
            failed=chunks, created_at=1, expires_at=2, joined=orjson.dumps([*self.joined]).decode(),
        )  # fmt: skip
        self.quantiles = np.random.default_rng(0).normal(100, 1, (3 * chunks, 5)).astype(np.float32)
        self.done = {chunk: self.store(chunk) for chunk in range(chunks)}
        self.write_input(chunks)

    def store(self, chunk: int, ids: list[str | None] | None = None, error: str = "has 1 close") -> Done:
        rows = [3 * chunk, 3 * chunk + 1, 3 * chunk + 2]
        quantiles = list(self.quantiles[rows])
        columns = [
            rows,
            ids or [f"s{row}" for row in rows],
            ["2024-01-02", None, None],
            [quantiles[0][2], None, quantiles[2][2]],
            [quantiles[0], None, quantiles[2]],
            [None, error, None],
        ]
        arrays = [pa.array(column, field.type) for column, field in zip(columns, RESULT_SCHEMA, strict=True)]
        return self.store_table(chunk, pa.Table.from_arrays(arrays, schema=RESULT_SCHEMA))

    def store_table(self, chunk: int, table: pa.Table) -> Done:
        sink = io.BytesIO()
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
        with self.blobs.create(result_name(JOB, chunk, sha256(sink.getvalue()))) as file:
            file.write(sink.getvalue())
        failed = len(table) - table["error"].null_count
        return Done(len(table) - failed, failed, sha256(sink.getvalue()))

    def write_input(self, chunks: int, *, first_row: int = 0) -> None:
        fields = [pa.field(f"joined.{name}", values.type) for name, values in self.joined.items()]
        schema = pa.schema([*CHUNK_SCHEMA, *fields])
        with self.blobs.create(input_name(JOB)) as file, pa.ipc.new_file(file, schema) as writer:
            for chunk in range(chunks):
                rows = pa.array([first_row + 3 * chunk + place for place in range(3)])
                own = [rows, *(pa.array([None] * 3, field.type) for field in CHUNK_SCHEMA if field.name != "row")]
                writer.write_batch(pa.RecordBatch.from_arrays([*own, *self.joined.values()], schema=schema))

    def get(self, media_type: str, kind: str = "forecasts", downloads: Downloads | None = None) -> Download:
        return getattr(downloads or Downloads(self.blobs), kind)(self.record, self.done, media_type)

    def rendered(self) -> list[Path]:
        return sorted(path for path in self.blobs.scratch_folder.rglob("rendered-*") if path.suffix != ".json")


@pytest.fixture
def job(tmp_path: Path) -> Stored:
    return Stored(tmp_path, joined=JOINED)


def whole(download: Download) -> bytes:
    content = b"".join(download.read(0, download.size_bytes - 1))
    assert len(content) == download.size_bytes
    assert hashlib.sha256(content).hexdigest() == download.etag
    return content


def table(download: Download) -> pa.Table:
    """What a caller reads, as Arrow; numbers of texts as float32."""
    content = whole(download)
    if download.media_type == PARQUET:
        return pq.read_table(io.BytesIO(content), page_checksum_verification=True)
    if download.media_type == ARROW_FILE:
        return pa.ipc.open_file(content).read_all()
    if download.media_type == ARROW_STREAM:
        return pa.ipc.open_stream(content).read_all()
    if download.media_type == NDJSON:
        return pa.Table.from_pylist([_flat(orjson.loads(line)) for line in content.splitlines()])
    header, *lines = csv.reader(io.StringIO(content.decode()))
    return pa.table({name: [_parsed(line[at]) for line in lines] for at, name in enumerate(header)})


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    return {**{key: value for key, value in row.items() if not isinstance(value, dict)}, **row.get("quantiles", {}),
            **row.get("joined", {})}  # fmt: skip


def _parsed(cell: str) -> str | float | None:
    try:
        return float(cell)
    except ValueError:
        return cell or None


def texts_and_bits(rows: pa.Table) -> dict[str, list[Any]]:
    """Columns whose numbers are compared as float32."""
    return {
        name: [np.float32(value) if isinstance(value, int | float) else value for value in column]
        for name, column in rows.to_pydict().items()
    }


@pytest.mark.parametrize("media_type", FORMATS)
def test_every_format_has_the_same_rows_in_the_input_s_order_and_to_the_bit(job: Stored, media_type: str) -> None:
    rows = texts_and_bits(table(job.get(media_type)))

    good = [0, 2, 3, 5, 6, 8]
    assert list(rows) == [*HEADER, "desk", "lots", "weight"]
    assert rows["id"] == [f"s{row}" for row in good]
    assert rows["as_of"] == ["2024-01-02", None] * 3
    for name, column in {"last_close": 2, "median": 2, "0.05": 0, "0.5": 2, "0.95": 4}.items():
        assert np.array_equal(np.array(rows[name], np.float32), job.quantiles[good, column]), name
    assert rows["desk"] == ["north", "south"] * 3
    assert rows["lots"] == [1, 3] * 3
    assert rows["weight"] == [np.float32(0.1), 2.5] * 3


@pytest.mark.parametrize("media_type", FORMATS)
def test_every_format_has_the_same_errors(job: Stored, media_type: str) -> None:
    rows = texts_and_bits(table(job.get(media_type, "errors")))

    assert rows == {
        "row": [1, 4, 7],
        "id": ["s1", "s4", "s7"],
        "error": ["has 1 close"] * 3,
        "desk": [None] * 3,
        "lots": [None] * 3,
        "weight": [np.float32(1e-7)] * 3,
    }


@pytest.mark.parametrize("media_type", [PARQUET, ARROW_FILE, ARROW_STREAM])
def test_columns_have_the_types_that_they_should(job: Stored, media_type: str) -> None:
    schema = table(job.get(media_type)).schema

    assert [schema.field(name).type for name in HEADER] == [pa.string()] * 2 + [pa.float32()] * 5
    assert [schema.field(name).type for name in JOINED] == [values.type for values in JOINED.values()]


def test_an_ndjson_row_is_the_object_that_a_forecast_is_answered_as_with_what_is_joined_behind(job: Stored) -> None:
    lines = whole(job.get(NDJSON)).splitlines()

    levels = level_columns(LEVELS, MODEL_LEVELS)
    one = answered(["s0"], ["2024-01-02"], job.quantiles[:1, 2], job.quantiles[:1], levels)[0]
    assert lines[0] == one.removesuffix(b"}") + b',"joined":{"desk":"north","lots":1,"weight":0.1}}'


def test_a_job_without_joined_columns_has_none_and_needs_no_input(tmp_path: Path) -> None:
    job = Stored(tmp_path)
    job.blobs.delete_file(input_name(JOB))

    assert b"joined" not in whole(job.get(NDJSON))
    assert whole(job.get(CSV)).splitlines()[0].decode().split(",") == HEADER


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("kind", ["forecasts", "errors"])
def test_a_job_of_which_nothing_was_done_gives_an_empty_file(job: Stored, media_type: str, kind: str) -> None:
    job.done = {}

    assert table(job.get(media_type, kind)).num_rows == 0


HARMLESS = ["AAPL", "BRK-B", "a=b", "", "-1.5", "+49", "-3e5", "-.5", "3-4", "'quoted'", "a,b", 'a"b', "Ä"]
FORMULAS = [
    "=1+1",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\n=1",
    "  =1",
    "\u00a0=1",
    "\ufeff=1",
    " \t @x",
    "-",
    "=",
    "\uff1d1+1",
    "-1.5 ",
    '=HYPERLINK("http://x","y")',
    "--1",
    "+1,2",
]


@pytest.mark.parametrize("text", [*HARMLESS, *FORMULAS])
def test_no_cell_of_csv_can_be_taken_for_a_formula(tmp_path: Path, text: str) -> None:
    job = Stored(tmp_path, chunks=1, joined={text: pa.array([text, text, "x"])})
    job.done = {0: job.store(0, ids=[text, text, "x"], error=text)}
    shown = f"'{text}" if text in FORMULAS else text

    header, first, _ = csv.reader(io.StringIO(whole(job.get(CSV)).decode(), newline=""))
    errors_header, error = csv.reader(io.StringIO(whole(job.get(CSV, "errors")).decode(), newline=""))

    # An id is a name, and does not become a number.
    named = f"'{text}" if text in FORMULAS or text.startswith(("+", "-")) else text
    assert (header[-1], first[0], first[-1]) == (shown, named, shown)
    assert (errors_header[-1], error) == (shown, ["1", named, shown, shown])


def test_numbers_in_csv_stay_numbers(tmp_path: Path) -> None:
    job = Stored(tmp_path, chunks=1, joined={"change": pa.array([-1.5, 0.0, -2.0])})

    assert whole(job.get(CSV)).splitlines()[1].endswith(b",-1.5")


def test_joined_columns_called_as_ours_are_told_apart(tmp_path: Path) -> None:
    job = Stored(tmp_path, chunks=1, joined={"id": pa.array(["x", "y", "z"]), "100%": pa.array([1, 2, 3])})

    assert table(job.get(PARQUET)).schema.names == [*HEADER, "joined.id", "100%"]
    assert orjson.loads(whole(job.get(NDJSON)).splitlines()[0])["joined"] == {"id": "x", "100%": 1}


COLUMNS: list[tuple[pa.Array, list[Any]]] = [
    (pa.array([0, None, 86_400_000_000_001], pa.timestamp("ns")),
     ["1970-01-01 00:00:00.000000000", "1970-01-02 00:00:00.000000001"]),
    (pa.array([0, None, 1], pa.date32()), ["1970-01-01", "1970-01-02"]),
    (pa.array(["1.50", None, "2"]).cast(pa.decimal128(5, 2)), ["1.50", "2.00"]),
    (pa.array(["a", None, "b"]).dictionary_encode(), ["a", "b"]),
    (pa.array(["a", None, "b"], pa.large_string()), ["a", "b"]),
    (pa.array([True, None, False]), [True, False]),
    (pa.array([2**63, None, 1], pa.uint64()), [2**63, 1]),
    (pa.array([2**63, 2, 1], pa.uint64()), [2**63, 1]),
    (pa.array([1.5, None, float("nan")]), [1.5, None]),
    (pa.array([1.5, None, 2.5], pa.float16()), [1.5, 2.5]),
    (pa.array([[1, 2], None, []], pa.list_(pa.int64())), ["[1,2]", "[]"]),
    (pa.array([b"\xff", None, b"\xfe"]), ['"/w=="', '"/g=="']),
    (pa.nulls(3), [None, None]),
]  # fmt: skip
"""What can be joined, and what it is in JSON; of the first row and the last, since the one between has an error."""


@pytest.mark.parametrize(("values", "shown"), COLUMNS, ids=[str(values.type) for values, _ in COLUMNS])
def test_a_column_of_any_type_can_be_joined(tmp_path: Path, values: pa.Array, shown: list[Any]) -> None:
    job = Stored(tmp_path, chunks=1, joined={"extra": values})

    assert [orjson.loads(line)["joined"]["extra"] for line in whole(job.get(NDJSON)).splitlines()] == shown
    assert table(job.get(CSV)).num_rows == 2
    for media_type in (PARQUET, ARROW_FILE, ARROW_STREAM):
        column = table(job.get(media_type))["extra"].combine_chunks()
        assert (column.type, column.to_string()) == (values.type, values.take(pa.array([0, 2])).to_string())


AWKWARD = ["", ",", '"', '","', "\\", '\\"', '",', ',"', '\\","', "a\nb", "\0", "\1", "null", "Ä\u2028", "%b", None]


@given(st.lists(st.sampled_from(AWKWARD) | st.text(max_size=4), min_size=1, max_size=9))
@example(AWKWARD)
@example([""])
def test_texts_are_the_json_that_they_are_one_by_one(texts: list[str | None]) -> None:
    column = pa.chunked_array([pa.array(texts, pa.string())])

    assert json_texts(column) == [orjson.dumps(text) for text in texts]


@pytest.mark.parametrize("media_type", FORMATS)
def test_the_same_job_is_the_same_bytes_wherever_it_is_rendered(tmp_path: Path, media_type: str) -> None:
    one, other = (Stored(tmp_path / name, joined=JOINED).get(media_type) for name in ("one", "other"))

    assert one.etag == other.etag
    assert whole(one) == whole(other)


@pytest.mark.parametrize(("first", "last"), [(0, 0), (0, 9), (7, 20), (100, 10**9)])
def test_a_part_of_a_file_is_those_bytes_both_ends_included(job: Stored, first: int, last: int) -> None:
    found = job.get(CSV)

    assert b"".join(found.read(first, last)) == whole(found)[first : last + 1]


def test_what_was_rendered_is_not_rendered_again(job: Stored) -> None:
    first = job.get(CSV)
    (file,) = job.rendered()
    written = file.stat().st_mtime_ns

    assert job.get(CSV).etag == first.etag
    assert file.stat().st_mtime_ns == written


@pytest.mark.parametrize("harm", ["changed", "cut", "gone", "record gone", "record damaged"])
@pytest.mark.parametrize("known", [True, False], ids=["known", "new process"])
def test_a_rendered_file_that_was_harmed_is_rendered_anew(job: Stored, harm: str, known: bool) -> None:
    downloads = Downloads(job.blobs)
    before = whole(job.get(CSV, downloads=downloads))
    (file,) = job.rendered()
    record = file.with_name(file.name + ".json")
    {
        "changed": lambda: file.write_bytes(before.replace(b"s0", b"s9")),
        "cut": lambda: file.write_bytes(before[:-5]),
        "gone": file.unlink,
        "record gone": record.unlink,
        "record damaged": lambda: record.write_bytes(b"{"),
    }[harm]()

    assert whole(job.get(CSV, downloads=downloads if known else None)) == before


def test_a_job_that_went_on_gives_what_it_has_now(job: Stored) -> None:
    all_done, job.done = job.done, {0: job.done[0]}
    assert table(job.get(CSV)).num_rows == 2

    job.done = dict(reversed(all_done.items()))

    assert table(job.get(CSV))["id"].to_pylist() == ["s0", "s2", "s3", "s5", "s6", "s8"]


@pytest.mark.parametrize("media_type", FORMATS)
@pytest.mark.parametrize("harm", ["changed", "gone", "input gone", "input of other rows", "input of fewer chunks"])
def test_damaged_results_are_an_error_and_no_file(tmp_path: Path, job: Stored, media_type: str, harm: str) -> None:
    file = tmp_path / result_name(JOB, 2, job.done[2].sha256)
    source = tmp_path / input_name(JOB)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    {
        "changed": lambda: file.write_bytes(content),
        "gone": file.unlink,
        "input gone": source.unlink,
        "input of other rows": lambda: job.write_input(3, first_row=1),
        "input of fewer chunks": lambda: job.write_input(2),
    }[harm]()  # fmt: skip

    with pytest.raises(ResultsDamaged):
        job.get(media_type)

    assert job.rendered() == []


def test_another_format_is_refused(job: Stored) -> None:
    with pytest.raises(UnsupportedFormat, match="text/csv"):
        job.get("application/pdf")


class Counting(Folder):
    """Remembers what was made, or has no room for it."""

    full = False

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.made: list[str] = []

    @contextmanager
    def create(self, name: str) -> Iterator[BinaryIO]:
        self.made.append(name)
        with super().create(name) as file:
            if self.full:
                raise OSError(28, "No space left on device")
            yield file


def test_many_who_ask_at_once_wait_for_one_rendering(tmp_path: Path, job: Stored) -> None:
    job.blobs = Counting(tmp_path)
    downloads = Downloads(job.blobs)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: job.get(PARQUET, downloads=downloads).etag, range(24)))

    assert len(found) == 1
    assert len(job.blobs.made) == 2  # the file, and its record


def test_a_full_disk_is_said_and_leaves_nothing(tmp_path: Path, job: Stored) -> None:
    job.blobs = Counting(tmp_path)
    job.blobs.full = True

    with pytest.raises(StorageUnavailable, match="No space left"):
        job.get(PARQUET)

    assert job.rendered() == []
    assert not [*tmp_path.rglob(".part-*")]


def test_parquet_has_row_groups_of_one_size_and_checksums(tmp_path: Path) -> None:
    job, rows = Stored(tmp_path, chunks=1), ROW_GROUP_ROWS // 2 + 7
    wide = pa.table(
        {
            "row": np.arange(rows),
            "id": ["x"] * rows,
            "as_of": pa.nulls(rows, pa.string()),
            "last_close": np.ones(rows, np.float32),
            "quantiles": pa.array(list(np.ones((rows, 5), np.float32)), pa.list_(pa.float32())),
            "error": pa.nulls(rows, pa.string()),
        },
        schema=RESULT_SCHEMA,
    )
    job.done = {chunk: job.store_table(chunk, wide) for chunk in range(3)}

    content = whole(job.get(PARQUET))

    groups = pq.ParquetFile(io.BytesIO(content)).metadata
    sizes = [groups.row_group(group).num_rows for group in range(groups.num_row_groups)]
    assert sizes == [ROW_GROUP_ROWS, 3 * rows - ROW_GROUP_ROWS]
    harmed = bytearray(content)
    harmed[groups.row_group(0).column(2).data_page_offset + 60] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.read_table(io.BytesIO(harmed), page_checksum_verification=True)


def test_a_record_without_joined_columns_is_that_of_a_job_from_before_there_were_any() -> None:
    assert msgspec.convert({"id": JOB, "status": "completed", "model": "lstm", "version": 1, "digest": "", "levels": "",
        "model_levels": "", "total": 1, "chunks": 1, "completed": 1, "failed": 0, "created_at": 1, "expires_at": 2},
        Record).joined == "[]"  # fmt: skip
