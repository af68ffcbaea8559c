import csv
import gzip
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from service import score
from service.downloads import FORMATS as FORMATS_GIVEN
from tests.integration.up_process import DEADLINE_S, NEXTDAY, Family, running, until
from worker.reading import formats
from worker.reading.sources import ENCODINGS

pytestmark = pytest.mark.slow
DAYS = 250


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Family]:
    with running(tmp_path_factory.mktemp("score")) as family:
        assert family.nextday("prices", "sp500", "--days", DAYS, "-o", "prices.csv").returncode == 0
        yield family


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def series(family: Family) -> dict[str, list[float]]:
    by_id: dict[str, list[float]] = {}
    for row in read(family.folder / "prices.csv"):
        by_id.setdefault(row["id"], []).append(float(row["close"]))
    return by_id


def forecasts(family: Family) -> list[dict[str, object]]:
    body = {"series": [{"id": name, "closes": closes} for name, closes in series(family).items()]}
    answer = httpx.post(f"{family.url}/v1/forecasts", json=body, timeout=30).raise_for_status()
    found: list[dict[str, object]] = answer.json()["forecasts"]
    return found


def test_twenty_stocks_come_back_in_order_with_the_numbers_of_v1_forecasts(family: Family) -> None:
    done = family.nextday("score", "prices.csv", "-o", "out.ndjson")

    assert done.returncode == 0, done.stderr
    assert "20 of 20 rows have a forecast: out.ndjson" in done.stderr
    rows = [json.loads(line) for line in (family.folder / "out.ndjson").read_text().splitlines()]
    assert {row.pop("as_of") for row in rows} == {"2022-12-28"}
    assert rows == [{key: value for key, value in row.items() if key != "as_of"} for row in forecasts(family)]
    assert len(rows) == 20


def test_the_csv_has_the_same_bits(family: Family) -> None:
    assert family.nextday("score", "prices.csv", "-o", "out.csv").returncode == 0

    for row, wanted in zip(read(family.folder / "out.csv"), forecasts(family), strict=True):
        assert row["id"] == wanted["id"]
        assert isinstance(wanted["quantiles"], dict)
        for level, quantile in wanted["quantiles"].items():
            assert np.float32(row[level]) == np.float32(quantile)


def test_the_same_file_again_is_the_same_job_and_other_options_are_another(family: Family) -> None:
    first, again, other = (
        json.loads(family.nextday("score", "prices.csv", "-o", "out.csv", "--json", *options).stdout)
        for options in ((), (), ("--levels", "0.5"))
    )

    assert again == first
    assert other["id"] != first["id"]
    assert other["levels"] == [0.5]


def test_rows_with_an_error_go_beside_the_others_and_are_told_by_the_exit_code(family: Family) -> None:
    (family.folder / "mixed.ndjson").write_text('{"id":"a","closes":[1,2]}\n{"id":"b","closes":[1,-2]}\n')

    done = family.nextday("score", "mixed.ndjson", "-o", "mixed.csv")

    assert done.returncode == 3
    assert [row["id"] for row in read(family.folder / "mixed.csv")] == ["a"]
    (error,) = read(family.folder / "mixed.errors.csv")
    assert (error["row"], error["id"]) == ("1", "b")
    assert "positive, finite" in error["error"]


def test_errors_of_an_earlier_run_do_not_stay_beside_a_good_one(family: Family) -> None:
    (family.folder / "fresh.errors.csv").write_text("row,id,error\n0,old,old\n")

    assert family.nextday("score", "prices.csv", "-o", "fresh.csv").returncode == 0

    assert not (family.folder / "fresh.errors.csv").exists()
    assert not list(family.folder.glob(".*.part"))


FORMATS = {
    ".parquet": pq.read_table,
    ".arrow": lambda path: pa.ipc.open_file(path).read_all(),
    ".arrows": lambda path: pa.ipc.open_stream(path.read_bytes()).read_all(),
}


@pytest.mark.parametrize("suffix", FORMATS)
def test_columns_go_in_and_come_out_in_every_format_with_what_is_joined(family: Family, suffix: str) -> None:
    table = pa.table({"id": ["a", "b"], "closes": [[1.0, 2.0], [3.0, 4.0]], "sector": ["x", "y"]})
    pq.write_table(table, family.folder / "in.parquet")
    with pa.OSFile(str(family.folder / "in.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    with pa.OSFile(str(family.folder / "in.arrows"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)

    done = family.nextday("score", f"in{suffix}", "-o", f"joined{suffix}", "--join", "sector")

    assert done.returncode == 0, done.stderr
    assert FORMATS[suffix](family.folder / f"joined{suffix}")["sector"].to_pylist() == ["x", "y"]


@pytest.mark.parametrize("encoding", ["gz", "zst"])
def test_a_packed_file_is_unpacked_by_the_service(family: Family, encoding: str) -> None:
    plain = (family.folder / "prices.csv").read_bytes()
    packed = gzip.compress(plain) if encoding == "gz" else pa.Codec("zstd").compress(plain, asbytes=True)
    (family.folder / f"prices.csv.{encoding}").write_bytes(packed)

    assert family.nextday("score", f"prices.csv.{encoding}", "-o", "packed.csv").returncode == 0

    assert len(read(family.folder / "packed.csv")) == 20


def test_a_webhook_that_the_operator_does_not_allow_is_told(family: Family) -> None:
    done = family.nextday("score", "prices.csv", "-o", "out.csv", "--webhook", "https://hooks.example.com/")

    assert done.returncode == 2
    assert "webhook refused" in done.stderr


def test_suffixes_are_those_of_uploads_and_downloads() -> None:
    assert set(score.BY_SUFFIX.values()) == set(formats.MEDIA_TYPES)
    assert set(score.ENCODINGS_BY_SUFFIX.values()) == set(ENCODINGS[1:])
    assert set(score.SUFFIXES.values()) == set(FORMATS_GIVEN)


def test_a_dash_is_standard_output(family: Family) -> None:
    done = family.nextday("score", "prices.csv", "-o", "-", "--levels", "0.5")

    assert done.stdout.splitlines()[0] == "id,as_of,last_close,median,0.5"
    assert len(done.stdout.splitlines()) == 21


def test_what_the_service_refuses_is_told_in_its_words(family: Family) -> None:
    (family.folder / "broken.csv").write_text("id,price\na,1\n")

    broken = family.nextday("score", "broken.csv", "-o", "broken.out.csv")
    unknown = family.nextday("score", "prices.csv", "-o", "out.csv", "--model", "oracle")

    assert (broken.returncode, unknown.returncode) == (2, 2)
    assert "found the columns 'id', 'price'" in broken.stderr
    assert "there is no model 'oracle'; there are: lstm, mlp, rnn" in unknown.stderr
    assert not (family.folder / "broken.out.csv").exists()


def test_a_detached_job_goes_on_by_itself(family: Family) -> None:
    done = family.nextday("score", "prices.csv", "-o", "later.csv", "--levels", "0.25", "--detach", "--json")

    job = json.loads(done.stdout)
    assert not (family.folder / "later.csv").exists()
    assert until(lambda: family.get(f"/v1/jobs/{job['id']}")["status"] == "completed", "the job")


@contextmanager
def paused(process: int) -> Iterator[None]:
    """A process that stands still meanwhile, as one that is busy or away."""
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def test_ctrl_c_cancels_the_job_and_the_next_run_makes_a_new_one(family: Family) -> None:
    command = [*NEXTDAY, "score", "prices.csv", "-o", "stopped.csv", "--levels", "0.75"]
    (worker,) = family.members("celery")
    with (
        subprocess.Popen(command, cwd=family.folder, env=family.env, stderr=subprocess.PIPE, text=True) as process,
        paused(worker),
    ):
        until(lambda: [0.75] in [job["levels"] for job in family.get("/v1/jobs")["jobs"]], "submitted")

        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130, said
    job = family.get("/v1/jobs?limit=1")["jobs"][0]
    assert f"job {job['id']} is cancel" in said
    assert until(lambda: family.get(f"/v1/jobs/{job['id']}")["status"] == "cancelled", "cancelled")
    again = json.loads(family.nextday("score", "prices.csv", "-o", "out.csv", "--levels", "0.75", "--json").stdout)
    assert again["status"] == "completed"
    assert again["id"] != job["id"]
    third = json.loads(family.nextday("score", "prices.csv", "-o", "out.csv", "--levels", "0.75", "--json").stdout)
    assert third["id"] == again["id"]


@dataclass(frozen=True)
class SlowToAccept:
    """A service that has the whole upload, and makes its job only once it is told to."""

    url: str
    has_upload: threading.Event
    may_answer: threading.Event
    cancelled: list[str]


@contextmanager
def slow_to_accept() -> Iterator[SlowToAccept]:
    has_upload, may_answer, cancelled = threading.Event(), threading.Event(), list[str]()
    job = {"id": "0b", "status": "queued", "counts": {"total": 20}, "links": {"results": "/v1/jobs/0b/results"}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.endswith("/cancel"):
                cancelled.append(self.path)
                self.answer(job | {"status": "cancelling"})
                return
            has_upload.set()
            may_answer.wait(DEADLINE_S)
            self.answer(job)

        def answer(self, document: object) -> None:
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_words: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield SlowToAccept(f"http://127.0.0.1:{server.server_port}", has_upload, may_answer, cancelled)
        server.shutdown()


def test_ctrl_c_while_the_service_makes_the_job_cancels_it_too(family: Family) -> None:
    with slow_to_accept() as service:
        command = [*NEXTDAY, "score", "prices.csv", "-o", "never.csv", "--url", service.url]
        with subprocess.Popen(command, cwd=family.folder, env=family.env, stderr=subprocess.PIPE, text=True) as process:
            assert service.has_upload.wait(DEADLINE_S)
            process.send_signal(signal.SIGINT)
            time.sleep(0.2)  # the signal is there before the answer
            service.may_answer.set()
            _, said = process.communicate(timeout=DEADLINE_S)

    assert process.returncode == 130, said
    assert "job 0b is cancelling" in said
    assert service.cancelled == ["/v1/jobs/0b/cancel"]


def test_a_second_ctrl_c_waits_for_nothing(family: Family) -> None:
    with slow_to_accept() as service:
        command = [*NEXTDAY, "score", "prices.csv", "-o", "never.csv", "--url", service.url]
        with subprocess.Popen(command, cwd=family.folder, env=family.env, stderr=subprocess.DEVNULL) as process:
            assert service.has_upload.wait(DEADLINE_S)
            for _ in range(2):
                process.send_signal(signal.SIGINT)
                time.sleep(0.2)  # two of a kind that are pending count as one

            assert process.wait(DEADLINE_S) == 130
        service.may_answer.set()
    assert service.cancelled == []


def test_a_queue_that_is_away_is_waited_for(family: Family) -> None:
    command = [*NEXTDAY, "score", "prices.csv", "-o", "waited.csv", "--levels", "0.9"]
    (valkey,) = family.members("valkey-server")
    with (family.folder / "waiting").open("w") as said:
        with paused(valkey):
            process = subprocess.Popen(command, cwd=family.folder, env=family.env, stderr=said)
            until(lambda: "trying again in 5 s" in (family.folder / "waiting").read_text(), "it says that it waits")

        assert process.wait(DEADLINE_S) == 0
    assert len(read(family.folder / "waited.csv")) == 20
