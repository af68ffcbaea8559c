"""The benchmark: wrong answers are not timed, goals can be missed, tables say what was measured."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from bench import questions
from bench.check import Truth, WrongAnswer, check
from bench.goals import GOALS, judge
from bench.lineup import PEERS, VENVS, Peer
from bench.load import LoadFailed, read
from bench.processes import APPS, alive, family, stop
from bench.report import best_of, medians, page
from models.bundle import folder_of
from models.repository import Repository
from service.app import create_app
from service.settings import ServiceSettings

PLAIN = Peer(name="plain", product="plain", command=(), venv=None, one=questions.PLAIN)
SAID = 'Running 1s test\nRESULT {{"requests":500,"us":1000000,"p50_us":900.0,"p99_us":4000.0,"errors":{errors}}}\n'


@pytest.fixture(scope="module")
def truth(models: Repository) -> Truth:
    return Truth(folder_of(models.root, "lstm") / "model.onnx")


@contextmanager
def serving(forecast: Callable[[list[list[float]]], np.ndarray]) -> Iterator[str]:
    """The URL of a server that answers rows of closes with a function."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = json.dumps({"quantiles": forecast(asked["closes"]).tolist()}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    class Server(ThreadingHTTPServer):
        block_on_close = False
        request_queue_size = 128

    with Server(("127.0.0.1", 0), Handler) as running:
        threading.Thread(target=running.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_a_server_that_answers_rightly_is_let_through(truth: Truth) -> None:
    with serving(truth) as url:
        check(PLAIN, url, truth)


def test_a_server_that_mixes_up_its_callers_is_not_timed(truth: Truth) -> None:
    turn, last = threading.Lock(), []

    def another_ones(rows: list[list[float]]) -> np.ndarray:
        with turn:
            last.append(truth(rows))
            return last.pop(0) if len(last) > 1 and len(rows[0]) < 60 else last[-1]

    with serving(another_ones) as url, pytest.raises(WrongAnswer, match="off by"):
        check(PLAIN, url, truth)


def test_a_server_that_pads_wrongly_is_not_timed(truth: Truth) -> None:
    with (
        serving(lambda rows: truth([[*row, row[-1]] if len(row) < 60 else row for row in rows])) as url,
        pytest.raises(WrongAnswer, match="off by"),
    ):
        check(PLAIN, url, truth)


def test_our_doors_are_asked_rightly(truth: Truth, models: Repository) -> None:
    client = create_app(ServiceSettings(device="cpu"), models=models).test_client()
    rows = questions.closes(3, 60)
    for wire in (questions.OURS, questions.OURS_BINARY, questions.MLSERVER):
        answer = client.post(wire.path, data=wire.body(rows), headers=wire.headers(rows))

        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(wire.quantiles(answer.data), truth(rows), rtol=1e-6)


def test_every_peer_has_its_app_and_its_environment() -> None:
    for peer in PEERS.values():
        assert peer.venv is None or peer.venv in VENVS
        apps = [part.format(apps=APPS, bin="", port=1) for part in peer.command if "_app" in part]
        assert peer.venv is None or apps
        for app in apps:
            assert (APPS / app.partition(":")[0]).with_suffix(".py").exists(), app


def test_what_wrk_says_is_read() -> None:
    speed = read(SAID.format(errors=0))

    assert (speed.rate, speed.p50_ms, speed.p99_ms) == (500, 0.9, 4)


@pytest.mark.parametrize("said", [SAID.format(errors=3), "unable to connect", ""])
def test_a_load_with_failed_requests_is_no_speed(said: str) -> None:
    with pytest.raises(LoadFailed):
        read(said)


@pytest.mark.slow
def test_a_server_ends_with_all_that_it_started() -> None:
    server = subprocess.Popen(
        ["sh", "-c", "setsid sleep 60 & sleep 60 & echo up; wait"],
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    with server:
        server.stdout.readline()
        while len(pids := family(server.pid)) < 3:
            pass

        stop(server)

        assert not alive(pids)


ROUNDS = [
    {"round": 1, "name": "nextday", "product": "nextday", "one@16": {"rate": 900, "p99_ms": 5}, "start_s": 2.0},
    {"round": 2, "name": "nextday", "product": "nextday", "one@16": {"rate": 1100, "p99_ms": 3}},
    {"round": 3, "name": "nextday", "product": "nextday", "one@16": {"rate": 1000, "p99_ms": 9}},
    {"round": 1, "name": "MLServer, batching", "product": "MLServer", "one@16": {"rate": 250, "p99_ms": 5}},
    {"round": 1, "name": "MLServer", "product": "MLServer", "one@16": {"rate": 100, "p99_ms": 5}},
    {"round": 1, "name": "BentoML", "product": "BentoML", "failure": "WrongAnswer: off | by 0.1"},
]


def test_a_ratio_is_that_of_medians_to_the_best_set_up() -> None:
    found = medians(ROUNDS)
    best = best_of({entry["name"]: entry["product"] for entry in ROUNDS}, found)

    (verdict,) = judge({"one@16": found["nextday"]["one@16"]["rate"]}, best)

    assert (verdict.goal.product, verdict.ratio, verdict.met) == ("MLServer", 4.0, False)
    assert str(verdict) == "missed by 20%"


def test_every_goal_can_be_met_and_missed() -> None:
    for goal in GOALS:
        measured = "one@64" if goal.part == "one" else goal.part
        best = {(goal.product, measured): 100.0}
        just, short = goal.least * 100 * 1.001, goal.least * 100 * 0.999

        assert [each.met for each in judge({measured: just}, best)] == [True]
        assert [each.met for each in judge({measured: short}, best)] == [False]


def test_the_page_has_what_was_measured_and_what_was_not() -> None:
    about = {"when": "now", "processor": "P", "cores": 2, "system": "S", "busy_cores": 0.0, "model": "lstm/1"}

    told = page({**about, "rounds": 3, "seconds": 5, "versions": {"web": {"flask": "3.1.3"}}}, ROUNDS)

    assert "| nextday | 1,000 (5.0) |" in told
    assert "| one series, 16 connections | MLServer | 4.00 | 5 | missed by 20% |" in told
    assert "| BentoML | WrongAnswer: off / by 0.1 |" in told
    assert "closes |" not in told  # no table of what nobody measured


def test_the_files_of_peers_hide_no_package() -> None:
    packages = {"bentoml", "fastapi", "flask", "granian", "litserve", "mlserver", "pytriton", "ray", "uvicorn"}

    assert not {path.stem for path in Path(APPS).glob("*.py")} & packages
