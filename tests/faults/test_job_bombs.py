"""Uploads that unpack to far more than they are, or that are damaged: D19, D20."""

import gzip
import hashlib
import io
import random
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults.jobs_calls import NDJSON, Caller, assert_whole, ndjson, walks
from tests.faults.jobs_installation import Installation, installation
from tests.faults.wire import probe_s

CSV, PARQUET = "text/csv", "application/vnd.apache.parquet"
MIB = 1024 * 1024
DECODED_BYTES, CLOSES, ROWS = 32 * MIB, 1_000_000, 100_000
GROWTH_MIB = 64
"""What a service may grow by at most while it refuses a bomb: a hundredth of what the bombs come to."""
REFUSED = {400, 413, 422}
FLIPS = 300


@pytest.fixture(scope="module")
def bombed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    limits = {"max_job_decoded_bytes": DECODED_BYTES, "max_job_closes": CLOSES, "max_job_rows": ROWS, "intake_mib": 256}
    with installation(tmp_path_factory.mktemp("bombed"), **limits) as running:
        running.work()
        yield running


@pytest.fixture
def running(bombed: Installation) -> Iterator[Installation]:
    """An installation that afterwards is as it was: no file more, not much memory more, and it answers."""
    files, before = names(bombed), memory_mib(bombed)
    yield bombed
    assert names(bombed) == files
    assert memory_mib(bombed) < before + GROWTH_MIB
    assert probe_s(bombed.services[0].url) < 5


def names(running: Installation) -> set[str]:
    return {path.name for path in running.jobs_folder.iterdir()} if running.jobs_folder.exists() else set()


def memory_mib(running: Installation) -> float:
    """The most that the process of the service that answers has ever held."""
    group = running.services[0].pid
    peaks = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            in_group = int((folder / "stat").read_text().rpartition(")")[2].split()[2]) == group
            status = (folder / "status").read_text().splitlines()
            answers = b"spawn_main" in (folder / "cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if in_group and answers:
            peaks.append(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
    return max(peaks)


def packed(body: bytes, encoding: str) -> bytes:
    return gzip.compress(body) if encoding == "gzip" else pa.Codec("zstd").compress(body, asbytes=True)


@cache
def bomb(head: bytes, encoding: str) -> bytes:
    """A quarter of a gigabyte of lines' ends, in less than a megabyte."""
    found = packed(head + b"\n" * (256 * MIB), encoding)
    assert len(found) < MIB
    return found


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_a_packed_upload_gives_what_the_plain_one_does(bombed: Installation, encoding: str) -> None:
    rows = walks(100)

    answer = bombed.caller.post(packed(ndjson(rows), encoding), Content_Encoding=encoding)

    assert answer.status_code == 202, answer.text
    assert_whole(bombed.caller, answer.json()["id"], rows)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("media_type", [NDJSON, CSV, "application/json", PARQUET])
def test_a_bomb_is_refused_by_what_it_unpacks_to(running: Installation, encoding: str, media_type: str) -> None:
    head = b"id,closes\n" if media_type == CSV else b""
    answer = running.caller.post(bomb(head, encoding), media_type, Content_Encoding=encoding)

    assert answer.status_code == 413, answer.text
    assert "NEXTDAY_MAX_JOB_DECODED_BYTES" in answer.text


@pytest.mark.slow
def test_a_bomb_of_many_small_members_is_refused_by_their_sum(running: Installation) -> None:
    answer = running.caller.post(gzip.compress(b"\n" * MIB) * 256, Content_Encoding="gzip")

    assert answer.status_code == 413, answer.text
    assert "NEXTDAY_MAX_JOB_DECODED_BYTES" in answer.text


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize("damage", ["cut off", "garbage behind it", "flipped", "not packed at all"])
def test_a_packed_upload_that_is_damaged_is_refused(running: Installation, encoding: str, damage: str) -> None:
    whole = packed(ndjson(walks(1000)), encoding)
    middle = len(whole) // 2
    bodies = {
        "cut off": whole[:-10],
        "garbage behind it": whole + b"garbage that is no member",
        "flipped": whole[:middle] + bytes([whole[middle] ^ 0xFF]) + whole[middle + 1 :],
        "not packed at all": ndjson(walks(10)),
    }

    check_refused(running.caller, bodies[damage], NDJSON, Content_Encoding=encoding)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["br", "deflate, gzip", "gzip, gzip", "identity, zstd", "GZIP2"])
def test_an_encoding_that_is_not_taken_is_said(running: Installation, encoding: str) -> None:
    assert running.caller.post(ndjson(walks(1)), Content_Encoding=encoding).status_code == 415


def check_refused(caller: Caller, body: bytes, media_type: str, **headers: str) -> None:
    answer = caller.post(body, media_type, **headers)
    assert answer.status_code in REFUSED, (answer.status_code, answer.text)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "died" not in answer.text


def parquet(table: pa.Table, *, times: int = 1, **options: object) -> bytes:
    sink = io.BytesIO()
    with pq.ParquetWriter(sink, table.schema, **options) as writer:
        for _ in range(times):
            writer.write_table(table)
    return sink.getvalue()


def wide(rows: int) -> pa.Table:
    return pa.table({"id": [f"series-{row}" for row in range(rows)], "closes": walks(rows)})


@pytest.mark.slow
def test_parquet_gives_what_ndjson_does(bombed: Installation) -> None:
    answer = bombed.caller.post(parquet(wide(100)), PARQUET)

    assert answer.status_code == 202, answer.text
    assert_whole(bombed.caller, answer.json()["id"], walks(100))


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["long", "one long list", "many rows", "a long string"])
def test_a_parquet_bomb_is_refused(running: Installation, layout: str) -> None:
    million = 1_000_000
    closes = pa.array([1.5]).take(pa.array([0] * million))
    ids = pa.array(["a"]).take(pa.array([0] * million))
    tables = {
        "long": pa.table({"id": ids, "date": pa.array(["2026-01-02"]).take(pa.array([0] * million)), "close": closes}),
        "one long list": pa.table({"id": ["a"], "closes": pa.ListArray.from_arrays([0, million], closes)}),
        "many rows": pa.table({"id": ids, "closes": pa.array([[1.5, 1.5]]).take(pa.array([0] * million))}),
        "a long string": pa.table({"id": ["a" * million * 10], "closes": [[1.5, 1.5]]}),
    }
    packed_up = parquet(tables[layout], times=100, compression="zstd")
    assert len(packed_up) < 4 * MIB

    check_refused(running.caller, packed_up, PARQUET)


@pytest.mark.slow
def test_parquet_of_a_hundred_thousand_columns_is_refused(running: Installation) -> None:
    names = [f"day-{column}" for column in range(100_000)]

    check_refused(running.caller, parquet(pa.table([[1.5]] * len(names), names=names)), PARQUET)


@pytest.mark.drill
def test_no_flipped_bit_of_a_parquet_file_harms_who_reads_it(bombed: Installation) -> None:
    whole, chance, statuses = parquet(wide(200)), random.Random(20), set()
    for _ in range(FLIPS):
        answer = bombed.caller.post(flipped(whole, chance), PARQUET)
        statuses.add(answer.status_code)
        if answer.status_code == 202:
            assert bombed.caller.wait(answer.json()["id"])["status"] == "completed"

    assert statuses <= {202, *REFUSED}
    assert probe_s(bombed.services[0].url) < 5


@pytest.mark.drill
def test_with_its_digest_no_flipped_bit_comes_through(running: Installation) -> None:
    whole, chance = parquet(wide(200)), random.Random(21)
    digest = f"sha-256=:{b64encode(hashlib.sha256(whole).digest()).decode()}:"

    for _ in range(FLIPS):
        check_refused(running.caller, flipped(whole, chance), PARQUET, Content_Digest=digest)


def flipped(whole: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(whole))
    return whole[:at] + bytes([whole[at] ^ 1 << chance.randrange(8)]) + whole[at + 1 :]
