"""Uploads taken in by a process of their own: what is stored, what is refused, and that nothing is left behind."""

import base64
import gzip
import hashlib
import io
import mmap
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from models.errors import InputError, SettingError
from tests.unit.uploads import WAYS, arrow, parquet, table_of
from worker import intake
from worker.blobs import Blobs
from worker.errors import DigestMismatch, IntakeBusy, ReferenceRefused, TableError, UploadTooLarge
from worker.folder import Folder
from worker.intake import Reference, Upload, held_bytes
from worker.media_types import ARROW_FILE, CSV, NDJSON, PARQUET
from worker.settings import WorkerSettings

SERIES = [("B", [10.0, 11.0, 12.5]), ("A", [5.0, 6.5])]
JOB = "0" * 32


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


def take(folder: Path, source: Upload | Reference, join: tuple[str, ...] = (), **changes: Any) -> intake.Stored:
    settings = WorkerSettings(jobs_url=str(folder), **changes)
    return intake.take(source, job_id=JOB, blobs=Blobs.of(str(folder)), settings=settings, join=join)


def upload(body: bytes, media_type: str, **more: str) -> Upload:
    return Upload(io.BytesIO(body), media_type, **more)


def stored(folder: Path) -> list[dict]:
    with pa.ipc.open_file(folder / JOB / "input.arrow") as reader:
        return reader.read_all().to_pylist()


def left(folder: Path) -> list[Path]:
    return list(folder.rglob("*"))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_uploaded_is_stored_with_its_rows_numbered(way: str, folder: Path) -> None:
    body, media_type = WAYS[way](SERIES)

    taken = take(folder, upload(body, media_type))

    assert (taken.plan.total, taken.plan.closes, taken.plan.joined) == (2, 5, ())
    assert (taken.input_bytes, taken.source) == (len(body), media_type)
    assert [(each["row"], each["id"], each["closes"]) for each in stored(folder)] == [(0, *SERIES[0]), (1, *SERIES[1])]
    assert [path.name for path in left(folder)] == [JOB, "input.arrow"]


def test_a_small_text_and_the_same_read_by_a_process_are_stored_alike(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, media_type = WAYS["csv long"](SERIES)
    here = take(folder, upload(body, media_type))
    before = (folder / JOB / "input.arrow").read_bytes()
    monkeypatch.setattr(intake, "SMALL_BYTES", 0)

    there = take(folder, upload(body, media_type))

    assert there == here
    assert (folder / JOB / "input.arrow").read_bytes() == before


def test_a_column_that_is_joined_is_stored_under_a_name_of_its_own(folder: Path) -> None:
    table = table_of(SERIES, {"sector": ["x", "y"]})

    taken = take(folder, upload(parquet(table), PARQUET), join=("sector",))

    assert taken.plan.joined == ("sector",)
    assert [each["joined.sector"] for each in stored(folder)] == ["x", "y"]


def test_the_same_bytes_have_one_fingerprint_and_others_another(folder: Path) -> None:
    table = parquet(table_of(SERIES, {"sector": ["x", "y"]}))

    same = [take(folder, upload(table, PARQUET)).sha256 for _ in range(2)]
    joined = take(folder, upload(table, PARQUET), join=("sector",)).sha256
    changed = take(folder, upload(parquet(table_of(SERIES[:1])), PARQUET)).sha256

    assert same[0] == same[1]
    assert len({same[0], joined, changed}) == 3


@pytest.mark.parametrize("name", ["sha-256", "sha-512"])
def test_an_upload_that_is_not_what_its_digest_says_is_refused(name: str, folder: Path) -> None:
    body, media_type = WAYS["parquet rows"](SERIES)
    header = f"{name}=:{base64.b64encode(hashlib.new(name.replace('-', ''), body).digest()).decode()}:"
    take(folder, upload(body, media_type, content_digest=header))
    damaged = bytearray(body)
    damaged[40] ^= 1

    with pytest.raises(DigestMismatch, match=name):
        take(folder, upload(bytes(damaged), media_type, content_digest=header))

    assert left(folder) == []


def on_disk(body: bytes, media_type: str, path: Path, **more: str) -> Upload:
    path.write_bytes(body)
    return Upload(path.open("rb"), media_type, on_disk=True, **more)


@pytest.mark.parametrize("small_bytes", [0, intake.SMALL_BYTES])
@pytest.mark.parametrize("way", WAYS)
def test_an_upload_that_lies_on_the_disk_is_read_there_and_stored_as_a_copy_of_it_is(
    way: str, small_bytes: int, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, media_type = WAYS[way](SERIES)
    copied = take(folder, upload(body, media_type))
    before = (folder / JOB / "input.arrow").read_bytes()
    monkeypatch.setattr(intake, "SMALL_BYTES", small_bytes)
    monkeypatch.setattr(Folder, "scratch", None)
    there = on_disk(body, media_type, tmp_path / "body")

    with there.body:
        taken = take(folder, there)

    assert taken == copied
    assert (folder / JOB / "input.arrow").read_bytes() == before
    assert (tmp_path / "body").read_bytes() == body


@pytest.mark.parametrize(("at", "error"), [(None, TableError), (0, DigestMismatch)])
def test_that_what_lies_on_the_disk_is_not_what_its_digest_says_goes_before_all_else(
    at: int | None, error: type[Exception], folder: Path, tmp_path: Path
) -> None:
    body = bytearray(b"no Parquet" * 100)
    header = f"sha-256=:{base64.b64encode(hashlib.sha256(body).digest()).decode()}:"
    if at is not None:
        body[at] ^= 1
    there = on_disk(bytes(body), PARQUET, tmp_path / "body", content_digest=header)

    with there.body, pytest.raises(error):
        take(folder, there)

    assert left(folder) == []


def test_more_than_is_taken_is_refused_where_it_lies(folder: Path, tmp_path: Path) -> None:
    there = on_disk(b"x" * 2000, CSV, tmp_path / "body")

    with there.body, pytest.raises(UploadTooLarge, match="NEXTDAY_MAX_JOB_BYTES"):
        take(folder, there, max_job_bytes=1000)

    assert left(folder) == []


def rle_bomb() -> bytes:
    """Fifty million series in some hundred kilobytes."""
    ids = pa.DictionaryArray.from_arrays(pa.array(np.zeros(50_000_000, np.int8)), pa.array(["A"]))
    closes = pa.ListArray.from_arrays(pa.array(np.zeros(50_000_001, np.int32)), pa.array([], pa.float64()))
    return parquet(pa.table({"id": ids, "closes": closes}), compression="zstd")


HOSTILE: dict[str, tuple[Callable[[], bytes], str, dict[str, Any], str]] = {
    "too many bytes": (lambda: b"x" * 2000, CSV, {"max_job_bytes": 1000}, "NEXTDAY_MAX_JOB_BYTES"),
    "a Parquet of one row of ten million closes": (
        lambda: parquet(pa.table({"id": ["A"], "closes": pa.array([np.ones(10_000_000)])})),
        PARQUET,
        {"max_job_closes": 1_000_000},
        "NEXTDAY_MAX_JOB_CLOSES",
    ),
    "a type nested deep": (
        lambda: arrow(pa.table({"id": ["A"], "closes": nested(60)})),
        ARROW_FILE,
        {},
        "lists of numbers",
    ),
    "memory": (
        lambda: parquet(table_of([("A" * 20_000_000, [1.0])] * 8), use_dictionary=False),
        PARQUET,
        {"intake_mib": 64},
        "NEXTDAY_INTAKE_MIB",
    ),
}


def nested(depth: int) -> pa.Array:
    array = pa.array([1.0])
    for _ in range(depth):
        array = pa.ListArray.from_arrays(pa.array([0, 1], pa.int32()), array)
    return array


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_upload_is_refused_with_the_limit_s_setting_and_leaves_nothing(name: str, folder: Path) -> None:
    make, media_type, changes, words = HOSTILE[name]

    with pytest.raises(InputError) as caught:
        take(folder, upload(make(), media_type), **changes)

    assert words in str(caught.value)
    assert left(folder) == []


@pytest.mark.slow
def test_a_parquet_of_kilobytes_that_holds_fifty_million_rows_is_refused_before_they_are_made(folder: Path) -> None:
    body = rle_bomb()

    with pytest.raises(UploadTooLarge, match="NEXTDAY_MAX_JOB_ROWS"):
        take(folder, upload(body, PARQUET))

    assert len(body) < 1_000_000


@pytest.mark.slow
@pytest.mark.parametrize("way", ["parquet rows", pytest.param("arrow rows", marks=pytest.mark.drill)])
def test_three_hundred_flipped_bits_are_each_answered_and_none_harms_who_asks(way: str, folder: Path) -> None:
    random = np.random.default_rng(0)
    body, media_type = WAYS[way]([(f"series {at}", random.random(30).tolist()) for at in range(50)])
    outcomes = {"stored": 0, "refused": 0}

    for place in random.choice(len(body), 300, replace=False).tolist():
        damaged = bytearray(body)
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            take(folder, upload(bytes(damaged), media_type))
            outcomes["stored"] += 1
        except InputError:
            outcomes["refused"] += 1
            assert left(folder) == []

    assert sum(outcomes.values()) == 300
    assert outcomes["refused"] > 0


def test_a_reader_that_dies_of_an_upload_is_the_upload_s_fault(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "run", die)

    with pytest.raises(TableError, match="the process that read it died"):
        take(folder, upload(b"PAR1", PARQUET))

    assert left(folder) == []


def die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def test_a_reader_that_hangs_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "run", hang)

    with pytest.raises(UploadTooLarge, match="NEXTDAY_INTAKE_S"):
        take(folder, upload(b"PAR1", PARQUET), intake_s=0.2)

    assert left(folder) == []


def hang(*_: object) -> None:
    signal.pause()


def refused(folder: Path, **changes: Any) -> None:
    with pytest.raises(InputError):
        take(folder, upload(b"PAR1", PARQUET), **changes)


def test_no_more_are_read_at_a_time_than_may_be_and_who_waits_too_long_is_told(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "run", hang)
    first = threading.Thread(target=refused, args=(folder / "a",), kwargs={"intakes": 1, "intake_s": 3.0})
    first.start()
    deadline = time.monotonic() + 10
    while intake._slots(1)._value:
        assert time.monotonic() < deadline
        time.sleep(0.01)

    with pytest.raises(IntakeBusy, match="try again"):
        take(folder / "b", upload(b"PAR1", PARQUET), intakes=1, intake_wait_s=0.1)

    first.join()
    assert left(folder / "b") == []


def test_a_full_disk_is_an_error_of_the_system_s(folder: Path) -> None:
    class Full(Folder):
        def create(self, _: str):
            return closing(Path("/dev/full").open("wb", buffering=0))

    settings = WorkerSettings(jobs_url=str(folder))

    with pytest.raises(OSError, match="No space"):
        intake.take(upload(*WAYS["parquet rows"](SERIES)), job_id=JOB, blobs=Full(folder), settings=settings, join=())

    assert not list(folder.iterdir())


def test_memory_of_a_process_is_what_it_holds() -> None:
    before = held_bytes(os.getpid())
    with mmap.mmap(-1, 50_000_000) as held:
        held.write(b"x" * 50_000_000)

        assert held_bytes(os.getpid()) - before > 40_000_000

    assert held_bytes(2**22 + 1) == 0


@pytest.fixture
def inbox(tmp_path: Path) -> Iterator[Path]:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "prices.parquet").write_bytes(parquet(table_of(SERIES)))
    (tmp_path / "in" / "prices.csv.gz").write_bytes(gzip.compress(WAYS["csv long"](SERIES)[0]))
    (tmp_path / "in" / "prices.arrow").write_bytes(arrow(table_of(SERIES)))
    (tmp_path / "in" / "a folder.csv").mkdir()
    (tmp_path / "in" / "nothing.txt").write_text("x")
    (tmp_path / "secret.csv").write_bytes(WAYS["csv rows"](SERIES)[0])
    (tmp_path / "in" / "link.csv").symlink_to(tmp_path / "secret.csv")
    os.mkfifo(tmp_path / "in" / "pipe.csv")
    return tmp_path / "in"


def refer(folder: Path, inbox: Path, uri: str, media_type: str | None = None, **changes: Any) -> intake.Stored:
    prefixes = changes.pop("input_prefixes", f"{inbox.as_uri()}/")
    return take(folder, Reference(uri, media_type), input_prefixes=prefixes, **changes)


@pytest.mark.parametrize("name", ["prices.parquet", "prices.csv.gz", "prices.arrow"])
def test_a_file_that_is_allowed_is_read_where_it_is(name: str, folder: Path, inbox: Path) -> None:
    uri = f"{inbox.as_uri()}/{name}"

    taken = refer(folder, inbox, uri)

    assert (taken.source, taken.input_bytes) == (uri, (inbox / name).stat().st_size)
    assert [(each["id"], each["closes"]) for each in stored(folder)] == SERIES


def test_a_file_that_has_changed_has_another_fingerprint(folder: Path, inbox: Path) -> None:
    uri = f"{inbox.as_uri()}/prices.parquet"
    before = [refer(folder, inbox, uri).sha256 for _ in range(2)]
    (inbox / "prices.parquet").write_bytes(parquet(table_of(SERIES[:1])))

    after = refer(folder, inbox, uri).sha256

    assert before[0] == before[1] != after


@pytest.mark.parametrize(
    "path",
    [
        "../secret.csv", "link.csv", "%2e%2e/secret.csv", "../in2/x.csv", "../none.csv", "x.csv?endpoint_override=evil",
        "x.csv#y", "a%00.csv",
    ],
)  # fmt: skip
def test_a_file_that_is_not_allowed_is_refused_whether_it_is_there_or_not(path: str, folder: Path, inbox: Path) -> None:
    with pytest.raises(ReferenceRefused, match="is not below what may be read here"):
        refer(folder, inbox, f"{inbox.as_uri()}/{path}")

    assert left(folder) == []


@pytest.mark.parametrize(
    "uri", ["/etc/passwd", "http://127.0.0.1/x.csv", "file://host/etc/x.csv", "s3://b/x.csv", "", "gs://b/x"]
)
def test_what_no_prefix_begins_is_refused(uri: str, folder: Path, inbox: Path) -> None:
    with pytest.raises(ReferenceRefused, match="is not below what may be read here"):
        refer(folder, inbox, uri)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("none.csv", "there is no file"),
        ("a%20folder.csv", "is a folder; name one file"),
        ("pipe.csv", "is no file; name one file"),
        ("nothing.txt", "does not say what it holds"),
    ],
)
def test_a_reference_that_is_no_file_says_why(name: str, words: str, folder: Path, inbox: Path) -> None:
    with pytest.raises(InputError) as caught:
        refer(folder, inbox, f"{inbox.as_uri()}/{name}")

    assert words in str(caught.value)
    assert left(folder) == []


def test_a_file_larger_than_is_taken_is_refused(folder: Path, inbox: Path) -> None:
    with pytest.raises(UploadTooLarge, match="NEXTDAY_MAX_JOB_BYTES"):
        refer(folder, inbox, f"{inbox.as_uri()}/prices.parquet", max_job_bytes=10)


def test_nothing_is_allowed_unless_an_operator_says_so(folder: Path, inbox: Path) -> None:
    with pytest.raises(ReferenceRefused):
        refer(folder, inbox, f"{inbox.as_uri()}/prices.parquet", input_prefixes="")


def test_ndjson_of_some_megabytes_is_read_by_a_process(folder: Path) -> None:
    series = [(f"S{at}", [1.5] * 300) for at in range(1000)]
    body, media_type = WAYS["ndjson rows"](series)
    assert len(body) > intake.SMALL_BYTES

    taken = take(folder, upload(body, NDJSON))

    assert (taken.plan.total, media_type) == (1000, NDJSON)


@pytest.mark.parametrize(
    "prefixes",
    [
        "/data/in/",
        "file:///data/in",
        "file://host/data/",
        "s3:///x/",
        "s3://b/?key=x",
        "http://b/",
        "file:///a/,s3://b",
    ],
)
def test_places_that_cannot_be_stop_the_start(prefixes: str) -> None:
    with pytest.raises(SettingError, match="NEXTDAY_INPUT_PREFIXES"):
        intake.start(WorkerSettings(input_prefixes=prefixes))
