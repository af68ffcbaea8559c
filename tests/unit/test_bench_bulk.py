"""The benchmark of bulk jobs: the same series in every format, wrong results are not timed, goals can be missed."""

import csv
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from bench import bulk_data, bulk_profile, bulk_report
from bench.bulk_check import Answers
from bench.bulk_data import Series, series_id
from bench.bulk_goals import LANES, Verdict
from bench.bulk_http import Caller, JobFailed, NotOffered
from bench.bulk_limit import limit_of
from bench.bulk_trials import grown
from bench.bulk_watch import Sample
from bench.check import WrongAnswer
from models.bundle import folder_of
from models.repository import Repository

SERIES = Series(5, 3)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_data, "CACHE", tmp_path / "cache")


def test_every_format_has_the_same_series() -> None:
    ((_, closes),) = SERIES.slices()
    wanted = [(series_id(row), each) for row, each in enumerate(closes.tolist())]

    table = pq.read_table(SERIES.file("parquet"))
    assert list(zip(table["id"].to_pylist(), table["closes"].to_pylist(), strict=True)) == wanted
    assert pa.ipc.open_file(SERIES.file("arrow")).read_all() == table
    assert pa.ipc.open_stream(SERIES.file("arrows").read_bytes()).read_all() == table
    lines = [json.loads(line) for line in SERIES.file("ndjson").read_text().splitlines()]
    assert [(line["id"], line["closes"]) for line in lines] == wanted
    cells = list(csv.reader(SERIES.file("csv").read_text().splitlines()))[1:]
    assert [(name, [float(close) for close in each.split()]) for name, each in cells] == wanted
    days = list(csv.DictReader(SERIES.file("long.csv").read_text().splitlines()))
    assert [float(day["close"]) for day in days] == closes.ravel().tolist()
    np.testing.assert_array_equal(np.load(SERIES.file("npy")), closes.astype(np.float32))


def test_series_of_many_slices_are_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk_data, "SLICE_ROWS", 2)

    assert pq.read_table(SERIES.file("parquet"))["id"].to_pylist() == [series_id(row) for row in range(5)]
    assert np.load(SERIES.file("npy")).shape == (5, 3)


@pytest.fixture(scope="module")
def answers(models: Repository) -> Answers:  # it loads its own; `models` says that they can be
    return Answers(SERIES)


def results(answers: Answers, kind: str, file: Path, rows: list[int]) -> Path:
    quantiles = {level: answers.quantiles[rows, place] for place, level in enumerate(answers.levels)}
    table = pa.table({"id": [series_id(row) for row in rows], **quantiles})
    if kind == "parquet":
        pq.write_table(table, file)
    elif kind == "csv":
        lines = [",".join(map(str, row.values())) for row in table.to_pylist()]
        file.write_text("\n".join([",".join(table.column_names), *lines]))
    else:
        told = [{"id": row.pop("id"), "quantiles": row} for row in table.to_pylist()]
        file.write_text("\n".join(map(json.dumps, told)))
    return file


@pytest.mark.parametrize("kind", ["parquet", "csv", "ndjson"])
def test_right_results_are_passed_and_others_named(answers: Answers, kind: str, tmp_path: Path) -> None:
    answers.check(results(answers, kind, tmp_path / "right", [0, 1, 2, 3, 4]), kind)

    for rows in ([0, 1, 2, 3], [0, 1, 2, 4, 3], [0, 1, 2, 3, 4, 4]):
        with pytest.raises(WrongAnswer, match="in order"):
            answers.check(results(answers, kind, tmp_path / "wrong", rows), kind)
    answers.quantiles[2, 0] = np.nextafter(answers.quantiles[2, 0], np.float32(0))
    changed = results(answers, kind, tmp_path / "changed", [0, 1, 2, 3, 4])
    answers.quantiles[2, 0] = np.nextafter(answers.quantiles[2, 0], np.float32(np.inf))
    with pytest.raises(WrongAnswer, match="1 rows have other quantiles"):
        answers.check(changed, kind)


def test_the_limit_scores_every_row_with_the_best_sub_batch(models: Repository) -> None:
    model = folder_of(models.root, "lstm") / "model.onnx"

    with limit_of(SERIES, model, 2) as limit:
        scored = limit.score()

    assert limit.sub_batch in (16, 32, 64)
    assert scored.seconds > 0


@pytest.fixture
def port() -> Iterator[int]:
    """Of a server that takes no CSV, fails at NDJSON, and breaks off results."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.answer(415 if self.headers["Content-Type"] == "text/csv" else 503)

        def do_GET(self) -> None:
            self.answer(200, more=1)

        def answer(self, status: int, more: int = 0) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(4 + more))
            self.end_headers()
            self.wfile.write(b"said")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


def test_what_is_not_offered_is_told_apart_from_what_fails(port: int, tmp_path: Path) -> None:
    with pytest.raises(NotOffered, match="415 said"):
        Caller(port).submit(b"id,closes", "text/csv")
    with pytest.raises(JobFailed, match="503 said"):
        Caller(port).submit(b"{}", "application/x-ndjson")
    with pytest.raises(JobFailed, match="4 of 5 bytes"):
        Caller(port).fetch("a", "csv", tmp_path / "results")


def a_round(seconds: float, limit_s: float) -> dict:
    return {
        "lane": LANES[0].name,
        "series": SERIES.name,
        "rows": 100,
        "seconds": seconds,
        "limit_s": limit_s,
        "limit_cpu_s": 1.0,
        **dict.fromkeys(bulk_report.PHASES, seconds / 3),
        "cpu_s": dict.fromkeys(bulk_report.TAKERS, 2.0),
    }


def test_goals_are_judged_by_the_median_of_the_shares() -> None:
    rounds = [a_round(2.0, 1.9), a_round(4.0, 1.9), a_round(4.0, 3.8)]

    (verdict,) = bulk_report.verdicts({"lanes": rounds})

    assert verdict.met
    assert verdict.found == pytest.approx(95)
    (missed,) = bulk_report.verdicts({"lanes": [a_round(4.0, 1.9)]})
    assert not missed.met
    assert missed.cells()[-1] == "**missed**"


def test_two_workers_are_held_beside_one() -> None:
    seen = [{"workers": 1, "scoring_s": 4.0}, {"workers": 2, "scoring_s": 2.0}]

    (verdict,) = bulk_report.verdicts({"workers": seen})

    assert verdict == Verdict("two workers beside one, scoring", 2.0, 1.9, least=True)


def test_the_page_has_what_was_measured_and_what_was_not_offered() -> None:
    machine = {"when": "", "cores": 2, "processor": "", "system": "", "busy_cores": 0, "rounds": 1, "versions": {}}

    page = bulk_report.page(machine, {"lanes": [a_round(2.0, 1.9)], "not_offered": {"csv in": "415"}, "small": [0.1]})

    assert f"| 5 x 3 | {LANES[0].name} | 50 | 53 | 95% |" in page
    assert "| csv in | 415 |" in page
    assert "a job of 10 rows" in page


def test_memory_that_grows_is_seen_and_memory_that_stays_is_not() -> None:
    def samples(grows_mib: float) -> list[Sample]:
        return [Sample(at, 0.0, 100 + at * grows_mib, 0.0, 200.0, 0.0) for at in range(30)]

    assert grown(samples(0)) == {"worker_own_mib": 0.0, "service_all_mib": 0.0}
    assert grown(samples(5))["worker_own_mib"] > 30


def test_a_profile_counts_what_waits_for_nobody() -> None:
    stacks = (
        "a (worker/scoring.py:9);run (onnxruntime/capi/x.py:9) 6\n"
        "a (worker/chunks.py:3);dumps (json.py:1) 2\n"
        "a (worker/sweeper.py:3);wait (threading.py:331) 90"
    )

    assert bulk_profile.shares(stacks) == (0.75, [("a (worker/chunks.py:3)", 0.25)])
    assert "| onnxruntime | 75.0% |" in bulk_profile.page(stacks)
