"""Files of jobs: a folder and a bucket of a real S3 server through the same checks."""

import gc
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest

from models.errors import SettingError
from tests.bucket_server import BUCKET, CREDENTIALS, Answer, Request, bucket_server, in_front_of, jobs_url
from worker import bucket
from worker.blobs import Blobs

JOB, OTHER = "a" * 32, "b" * 32
NAME = f"{JOB}/input.arrow"
TABLE = pa.table({"row": [0, 1, 2], "closes": [[1.0], [2.0, 3.0], []], "joined.name": ["x", None, "z"]})
READS: list[Callable[[Blobs], Any]] = [
    lambda blobs: blobs.read(NAME),
    lambda blobs: blobs.open(NAME),
    lambda blobs: blobs.open_here(NAME, 0, 5),
    lambda blobs: blobs.open_arrow(NAME),
    lambda blobs: blobs.size(NAME),
    lambda blobs: blobs.stamp(NAME),
]
DENIED = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
FAILED = b"<Error><Code>InternalError</Code><Message>We encountered an internal error</Message></Error>"
SEVERAL_PIECES = bucket.PIECE_BYTES * 2 + 12345


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, bucket_server() as address:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture
def uploads(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Uploads in progress in a folder of the test's own, whatever the store."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))


@pytest.fixture(params=["folder", "bucket"])
def store(request: pytest.FixtureRequest, tmp_path: Path, uploads: None) -> Callable[[str], Blobs]:
    """Makes the files of an installation; what differs between installations is the name."""
    if request.param == "folder":
        return lambda name: Blobs.of(str(tmp_path / name))
    address, test = request.getfixturevalue("s3"), tmp_path.name
    return lambda name: Blobs.of(jobs_url(address, prefix=f"{test}/{name}"))


@pytest.fixture
def blobs(store: Callable[[str], Blobs]) -> Blobs:
    return store("jobs")


def write(blobs: Blobs, name: str, content: bytes) -> None:
    with blobs.create(name) as file:
        file.write(content)


def write_arrow(blobs: Blobs) -> None:
    with blobs.create(NAME) as file, pa.ipc.new_file(file, TABLE.schema) as writer:
        for batch in TABLE.to_batches(max_chunksize=2):
            writer.write_batch(batch)


@pytest.mark.parametrize("size_bytes", [0, 1, 300_000, pytest.param(SEVERAL_PIECES, marks=pytest.mark.slow)])
def test_what_was_written_is_read(blobs: Blobs, size_bytes: int) -> None:
    content = np.random.default_rng(0).bytes(size_bytes)

    write(blobs, NAME, content)

    assert (blobs.exists(NAME), blobs.size(NAME)) == (True, size_bytes)
    assert blobs.read(NAME) == content
    with blobs.open(NAME) as file:
        file.seek(size_bytes // 2)
        assert file.read() == content[size_bytes // 2 :]
    with blobs.open_here(NAME, 0, size_bytes - 1) as file:
        assert os.fstat(file.fileno()).st_size == size_bytes
        assert file.read() == content


def test_a_part_of_a_file_is_there_with_a_descriptor_from_its_first_byte_on(blobs: Blobs) -> None:
    write(blobs, NAME, b"0123456789")

    with blobs.open_here(NAME, 3, 5) as file:
        assert file.fileno() >= 0
        assert file.read(3) == b"345"


def test_a_batch_of_an_arrow_file_is_read_alone_and_with_the_columns_asked_for(blobs: Blobs) -> None:
    write_arrow(blobs)

    assert blobs.open_arrow(NAME).get_batch(1).to_pylist() == TABLE.slice(2).to_pylist()
    chosen = blobs.open_arrow(NAME, columns=["row", "joined.name"]).get_batch(0)
    assert chosen.to_pydict() == {"row": [0, 1], "joined.name": ["x", None]}


def test_a_block_that_fails_leaves_nothing(blobs: Blobs) -> None:
    with suppress(ZeroDivisionError), blobs.create(NAME) as file:
        file.write(b"half")
        raise ZeroDivisionError

    assert not blobs.exists(NAME)
    assert blobs.left_behind(older_than_s=-1) in ([], [JOB])  # a folder may be there, without a file
    assert not [*blobs.scratch_folder.rglob(".part-*")]


def test_another_file_of_the_same_name_takes_its_place(blobs: Blobs) -> None:
    write(blobs, NAME, b"first")
    before = blobs.stamp(NAME)

    write(blobs, NAME, b"second!")

    assert blobs.read(NAME) == b"second!"
    assert blobs.stamp(NAME) != before


@pytest.mark.parametrize("read", READS)
def test_a_file_that_is_not_there_is_said_so(blobs: Blobs, read: Callable[[Blobs], Any]) -> None:
    write(blobs, f"{JOB}/another", b"")

    with pytest.raises(FileNotFoundError):
        read(blobs)
    assert not blobs.exists(NAME)
    assert not blobs.exists(JOB)


@pytest.mark.parametrize("read", READS)
def test_a_store_that_is_away_is_not_a_file_that_is_missing(
    request: pytest.FixtureRequest, tmp_path: Path, read: Callable[[Blobs], Any]
) -> None:
    for away in (str(tmp_path / "unmounted"), jobs_url(request.getfixturevalue("s3"), bucket="nobodys-bucket")):
        with pytest.raises(OSError, match=r"is not there|there is no bucket") as said:
            read(Blobs.of(away))

        assert not isinstance(said.value, FileNotFoundError)
        assert said.value.strerror


def test_deleting_a_file_leaves_the_others_and_the_last_takes_the_folder_along(blobs: Blobs) -> None:
    write(blobs, NAME, b"1")
    write(blobs, f"{JOB}/result", b"2")

    blobs.delete_file(NAME)
    assert (blobs.exists(NAME), blobs.read(f"{JOB}/result")) == (False, b"2")
    for _ in range(2):
        blobs.delete_file(f"{JOB}/result")

    assert blobs.left_behind(older_than_s=-10) == []


def test_deleting_a_job_leaves_the_others(blobs: Blobs) -> None:
    for job in (JOB, OTHER):
        write(blobs, f"{job}/input.arrow", b"1")
        write(blobs, f"{job}/result", b"2")

    for _ in range(2):
        blobs.delete(JOB)

    assert not blobs.exists(NAME)
    assert blobs.read(f"{OTHER}/input.arrow") == b"1"
    assert blobs.left_behind(older_than_s=-10) == [OTHER]


def test_what_is_left_behind_is_ours_and_old(blobs: Blobs) -> None:
    for name in (NAME, f"{OTHER}/input.arrow", "precious/file", f"{JOB[:31]}/file"):
        write(blobs, name, b"1")
    blobs.scratch_folder.mkdir(exist_ok=True)
    (blobs.scratch_folder / ".part-upload").touch()

    assert blobs.left_behind(older_than_s=3600) == []
    assert sorted(blobs.left_behind(older_than_s=-10)) == [".part-upload", JOB, OTHER]
    assert [blobs.delete_scratch(name) for name in (".part-upload", JOB)] == [True, False]
    assert sorted(blobs.left_behind(older_than_s=-10)) == [JOB, OTHER]


def test_two_installations_do_not_see_each_other(store: Callable[[str], Blobs]) -> None:
    write(store("one"), NAME, b"1")

    assert not store("two").exists(NAME)
    assert store("two").left_behind(older_than_s=-10) == []


def silent() -> socket.socket:
    """Takes connections and never says a word."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=50)
    listening.settimeout(0)
    return listening


def answers_in_seconds(blobs: Blobs) -> None:
    began = time.monotonic()
    for ask in (lambda: blobs.read(NAME), lambda: write(blobs, NAME, b"1")):
        with pytest.raises(OSError, match=r"bucket jobs-of-tests: NETWORK_CONNECTION in \w+") as said:
            ask()
        assert said.value.strerror
    assert time.monotonic() - began < 50, "an error in seconds, not minutes"


def test_a_bucket_that_nobody_answers_for_is_an_error_soon(s3: str) -> None:
    answers_in_seconds(Blobs.of(jobs_url("http://127.0.0.1:1")))


@pytest.mark.drill
def test_a_bucket_that_stays_silent_is_an_error_soon(s3: str) -> None:
    with silent() as listening:
        answers_in_seconds(Blobs.of(jobs_url(f"http://127.0.0.1:{listening.getsockname()[1]}")))


def test_a_bucket_that_refuses_us_is_an_error_that_gives_no_secret_away(s3: str) -> None:
    with in_front_of(s3, lambda asked: (403, b"" if asked.method == "HEAD" else DENIED)) as address:
        blobs = Blobs.of(jobs_url(address))

        for ask in (*READS, lambda blobs: write(blobs, NAME, b"1"), lambda blobs: blobs.left_behind(older_than_s=0)):
            with pytest.raises(OSError, match="bucket jobs-of-tests: ACCESS_DENIED") as said:
                ask(blobs)

            assert not isinstance(said.value, FileNotFoundError)
            assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in f"{said.value!r} {said.value.__cause__!r} {blobs!r}"


@pytest.mark.slow
def test_a_large_file_of_which_a_part_does_not_get_through_is_never_seen(s3: str) -> None:
    def second_part_fails(asked: Request) -> Answer | None:
        return (500, FAILED) if "partNumber=2" in asked.path else None

    with in_front_of(s3, second_part_fails) as address, pytest.raises(OSError, match="bucket jobs-of-tests"):
        write(Blobs.of(jobs_url(address, prefix="parts")), NAME, bytes(SEVERAL_PIECES))
    gc.collect()

    assert not Blobs.of(jobs_url(s3, prefix="parts")).exists(NAME)


@pytest.mark.slow
def test_a_large_file_whose_writer_is_interrupted_is_not_there(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(content: Any, stream: Any) -> None:
        stream.write(content[: bucket.PIECE_BYTES])
        stream.flush()
        raise KeyboardInterrupt

    monkeypatch.setattr(bucket, "_send", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(Blobs.of(jobs_url(s3, prefix="stopped")), NAME, bytes(SEVERAL_PIECES))
    gc.collect()

    assert not Blobs.of(jobs_url(s3, prefix="stopped")).exists(NAME)


@pytest.mark.slow
def test_a_process_killed_within_a_large_upload_leaves_nothing_to_be_seen(s3: str, tmp_path: Path) -> None:
    url = jobs_url(s3, prefix="killed")
    killed = f"""
import os
from worker import bucket
def send(content, stream):
    stream.write(content[: bucket.PIECE_BYTES])
    stream.flush()
    os.kill(os.getpid(), 9)
bucket._send = send
with bucket.Bucket.of({url!r}).create({NAME!r}) as file:
    file.write(bytes({SEVERAL_PIECES}))
"""

    own = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", killed], env=own, capture_output=True, timeout=60, check=False)

    assert ended.returncode == -signal.SIGKILL
    assert not Blobs.of(url).exists(NAME)
    assert b"<Key>killed/" in httpx.get(f"{s3}/{BUCKET}?uploads").content  # which the bucket's own rule deletes


def test_a_bucket_keeps_names_below_its_prefix(s3: str) -> None:
    write(Blobs.of(jobs_url(s3, prefix="here/and there")), NAME, b"1")

    assert f"<Key>here/and there/{NAME}</Key>" in httpx.get(f"{s3}/{BUCKET}?list-type=2&prefix=here").text


@pytest.mark.parametrize(
    "url",
    [
        "gs://bucket/jobs",
        "s3://",
        "s3:///jobs",
        "s3://key:a-secret@bucket/jobs",
        "s3://bucket/jobs?secret_key=a-secret",
        "s3://bucket/jobs?endpoint_override=ftp://127.0.0.1",
        "s3://bucket/jobs?scheme=ftp",
    ],
)
def test_an_address_that_cannot_be_is_refused_at_once_and_shows_no_secret(url: str) -> None:
    with pytest.raises(SettingError, match=r"NEXTDAY_JOBS_URL=.* a folder, or s3://bucket/prefix") as said:
        Blobs.of(url)

    assert "a-secret" not in str(said.value)


def test_a_folder_for_uploads_that_is_somebody_else_s_is_not_used(
    s3: str, uploads: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getuid", lambda: -5)

    with pytest.raises(PermissionError, match="somebody else's"):
        write(Blobs.of(jobs_url(s3)), NAME, b"1")
