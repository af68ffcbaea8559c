"""Files in a bucket, named in an upload's place, over a real S3 server."""

from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

import pyarrow.fs as pafs
import pytest
from moto.server import ThreadedMotoServer

from models.errors import InputError
from tests.unit.uploads import PACKED, WAYS
from worker import intake
from worker.blobs import Blobs
from worker.errors import ReferenceRefused
from worker.intake import Reference
from worker.settings import WorkerSettings

SERIES = [("B", [10.0, 11.0, 12.5]), ("A", [5.0, 6.5])]
NAMES = {
    "csv long": "long.csv",
    "ndjson rows": "rows.jsonl",
    "parquet rows": "rows.parquet",
    "arrow rows": "rows.arrow",
    "stream long": "long.arrows",
}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Host and port of an S3 server."""
    moto = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    moto.start()
    try:
        yield "{}:{}".format(*moto.get_host_and_port())
    finally:
        moto.stop()


@pytest.fixture(scope="module")
def store(server: str) -> pafs.S3FileSystem:
    made = pafs.S3FileSystem(
        endpoint_override=server, scheme="http", access_key="a", secret_key="b", allow_bucket_creation=True
    )
    made.create_dir("prices")
    return made


@pytest.fixture
def take(tmp_path: Path, server: str) -> Any:
    settings = WorkerSettings(
        jobs_url=str(tmp_path),
        input_prefixes=f"s3://prices/in/?endpoint_override={server}&scheme=http&region=us-east-1",
    )
    return lambda uri: intake.take(
        Reference(uri), job_id="0" * 32, blobs=Blobs.of(str(tmp_path)), settings=settings, join=()
    )


@pytest.fixture(scope="module", autouse=True)
def credentials() -> Iterator[None]:
    """Where the machine that reads has them from; before the server of processes starts, which inherits them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        forkserver._forkserver._stop()
        yield
    forkserver._forkserver._stop()


def put(store: pafs.S3FileSystem, name: str, body: bytes) -> None:
    with store.open_output_stream(f"prices/{name}", compression=None) as file:
        file.write(body)


@pytest.mark.parametrize("encoding", PACKED)
@pytest.mark.parametrize("way", NAMES)
def test_a_file_in_a_bucket_is_read_whatever_its_format(
    way: str, encoding: str, store: pafs.S3FileSystem, take: Any, tmp_path: Path
) -> None:
    name = f"in/{NAMES[way]}{ {'': '', 'gzip': '.gz', 'zstd': '.zst'}[encoding] }"
    put(store, name, PACKED[encoding](WAYS[way](SERIES)[0]))

    taken = take(f"s3://prices/{name}")

    stored = Blobs.of(str(tmp_path)).open_arrow(f"{'0' * 32}/input.arrow").read_all().to_pylist()
    assert [(each["id"], each["closes"]) for each in stored] == SERIES
    assert taken.source == f"s3://prices/{name}"
    assert taken.input_bytes == store.get_file_info(f"prices/{name}").size


def test_a_file_that_has_changed_has_another_fingerprint(store: pafs.S3FileSystem, take: Any) -> None:
    fingerprints = []
    for series in (SERIES, SERIES, [("B", [10.0, 11.0, 12.5]), ("A", [5.0, 6.25])]):
        if not fingerprints or series is not SERIES:
            put(store, "in/changing.csv", WAYS["csv rows"](series)[0])
        fingerprints.append(take("s3://prices/in/changing.csv").sha256)

    assert fingerprints[0] == fingerprints[1] != fingerprints[2]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3://prices/in/none.csv", "there is no file"),
        ("s3://prices/in/folder.csv", "is a folder"),
        ("s3://prices/secret.csv", "is not below what may be read here"),
        ("s3://prices/in/../secret.csv", "is not below what may be read here"),
        ("s3://prices/in/%2e%2e/secret.csv", "is not below what may be read here"),
        ("s3://others/in/rows.csv", "is not below what may be read here"),
        ("s3://prices/in/rows.csv?endpoint_override=evil", "is not below what may be read here"),
        ("s3://key:secret@prices/in/rows.csv", "is not below what may be read here"),
    ],
)
def test_a_file_in_a_bucket_that_cannot_be_had_is_refused(
    uri: str, words: str, store: pafs.S3FileSystem, take: Any
) -> None:
    put(store, "secret.csv", b"id,closes\nA,1 2\n")
    put(store, "in/folder.csv/x", b"")

    with pytest.raises(InputError) as caught:
        take(uri)

    assert words in str(caught.value)


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    settings = WorkerSettings(
        jobs_url=str(tmp_path), input_prefixes="s3://prices/?endpoint_override=127.0.0.1:1&scheme=http"
    )

    with pytest.raises(ReferenceRefused, match="cannot be read"):
        intake.take(
            Reference("s3://prices/x.csv"),
            job_id="0" * 32,
            blobs=Blobs.of(str(tmp_path)),
            settings=settings,
            join=(),
        )
