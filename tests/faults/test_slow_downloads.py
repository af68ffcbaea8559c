"""A download of a hundred megabytes, and callers who take none of it: the server holds it on disk, not in memory."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

from tests.faults.processes import memory_mib
from tests.faults.wire import probe_s, request, talk
from tests.integration.server_process import DEADLINE_S, Server, serving
from worker.blobs import Blobs, sha256
from worker.chunks import result_name
from worker.ledger import Done
from worker.scoring import RESULT_SCHEMA
from worker.settings import WorkerSettings
from worker.work import connect_ledger

CHUNKS, ROWS = 64, 4096
READERS = 6
HELD_MIB = 30.0


@pytest.fixture
def server(tmp_path: Path, valkey_url: str) -> Iterator[Server]:
    """A server in whose jobs each series is a chunk; of few threads, since each keeps some memory once it has run."""
    settings = {"NEXTDAY_CHUNK_ROWS": "1", "NEXTDAY_PROCESSES": "1", "NEXTDAY_THREADS": "2"}
    with serving(tmp_path, NEXTDAY_REDIS_URL=valkey_url, **settings) as running:
        yield running


def ended_job(server: Server, valkey_url: str) -> str:
    """The path of the results of a job that has ended, made without a model: ids are long, so that they are large."""
    table = b"id,closes\n" + b"".join(b"s%d,1 2 3\n" % row for row in range(CHUNKS))
    sent = request("POST", "/v1/jobs", table, Content_Type="text/csv", Connection="close")
    job = talk(server.url, sent).last.json()
    settings = replace(WorkerSettings(), redis_url=valkey_url, jobs_url=str(server.log.parent / "jobs"))
    content = results()
    with closing(connect_ledger(settings)) as ledger:
        for chunk in range(CHUNKS):
            with Blobs(Path(settings.jobs_url)).create(result_name(job["id"], chunk, sha256(content))) as file:
                file.write(content)
            claim = ledger.claim("drill", lease_s=60, max_attempts=3)
            assert (claim.kind, claim.job_id, claim.chunk) == ("score", job["id"], chunk)
            ledger.done(claim, Done(1, 0, sha256(content)), cost=3)
        assert ledger.verified(ledger.claim("drill", lease_s=60, max_attempts=3), []) == "completed"
    return str(job["links"]["results"])


def results() -> bytes:
    """A chunk's results, of more rows than it has series."""
    quantiles = np.linspace(99, 101, 9 * ROWS, dtype=np.float32).reshape(ROWS, 9)
    columns = [range(ROWS), ["x" * 200] * ROWS, ["2022-12-28"] * ROWS, quantiles[:, 4], list(quantiles), [None] * ROWS]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, RESULT_SCHEMA, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=RESULT_SCHEMA)
    sink = BytesIO()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def downloaded_bytes(url: str) -> int:
    return len(httpx.get(url, timeout=DEADLINE_S).content)


def announced_bytes(connection: socket.socket) -> int:
    """The Content-Length of an answer of which no more than a little is read."""
    head = connection.recv(1000)
    (line,) = [each for each in head.split(b"\r\n") if each.lower().startswith(b"content-length:")]
    return int(line.split(b":")[1])


@pytest.mark.drill
def test_who_takes_nothing_of_a_large_download_holds_no_memory(server: Server, valkey_url: str) -> None:
    path = ended_job(server, valkey_url)
    sent = request("GET", path, Connection="close")
    with ThreadPoolExecutor(4) as warming_up:
        whole_bytes = max(warming_up.map(downloaded_bytes, [server.url + path] * 8))
    before = memory_mib(server)

    with ExitStack() as opened:
        readers = [opened.enter_context(socket.socket()) for _ in range(READERS)]
        for each in readers:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
            each.sendall(sent)
        sizes = {announced_bytes(each) for each in readers}
        slowest_s = max(probe_s(server.url) for _ in range(10))
        held_mib = memory_mib(server) - before

    print(f"{sizes} bytes, held {held_mib:.1f} MiB, slowest probe {slowest_s:.3f} s")
    assert sizes == {whole_bytes}
    assert whole_bytes > 100_000_000
    assert held_mib < HELD_MIB
    assert slowest_s < 1
