"""A real server of two processes under a steady stream of requests, while versions come, go and return."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from models.bundle import Bundle, read_bundle
from models.forecaster import Forecaster
from models.ragged import Ragged
from tests.integration.server_process import DEADLINE_S, Server, serving, wait_until_both_follow
from tests.integration.test_server_life import answering
from tests.operator_key import AUTHORIZED, key_file
from tests.versions import other_weights, put, store_of

CLOSES = [100.0 + day % 7 / 4 for day in range(80)]
BODY = json.dumps({"series": [{"id": "a", "closes": CLOSES}]}).encode()
AHEAD = json.dumps({"series": [{"id": "a", "closes": CLOSES}], "horizon": 2}).encode()
INFER = json.dumps(
    {
        "inputs": [
            {"name": "closes", "datatype": "FP32", "shape": [1, len(CLOSES)], "data": CLOSES},
            {"name": "lengths", "datatype": "INT64", "shape": [1], "data": [len(CLOSES)]},
        ]
    }
).encode()
ASKING = (("/v1/forecasts", BODY), ("/v1/forecasts", AHEAD), ("/v2/models/lstm/infer", INFER))
OFF = 409
"""What an unloaded model answers."""


@dataclass(frozen=True)
class Answer:
    """What came back: when it was asked for, the status, the digest and the quantiles."""

    asked_s: float
    status: int
    digest: str = ""
    quantiles: tuple[float, ...] = ()


@dataclass
class Stream:
    """Requests one after the other on several connections, each answer kept."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)
    threads: list[threading.Thread] = field(default_factory=list)

    def __enter__(self) -> "Stream":
        self.threads = [threading.Thread(target=self._ask, args=each) for each in (*ASKING, ASKING[0])]
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stopped.set()
        for thread in self.threads:
            thread.join(DEADLINE_S)

    def since(self, asked_s: float) -> list[Answer]:
        return [each for each in self.answers if each.asked_s >= asked_s]

    def flow(self, answers: int = 40) -> None:
        """Wait for so many answers more."""
        wanted = len(self.answers) + answers
        until(lambda: len(self.answers) >= wanted or bool(self.failures), "answers")

    def _ask(self, path: str, body: bytes) -> None:
        turn = 0
        while not self.stopped.is_set():
            with httpx.Client(base_url=self.url, timeout=DEADLINE_S, headers=AUTHORIZED) as client:
                for _ in range(10):  # then another connection, and with it perhaps the other process
                    turn += 1
                    try:
                        self.answers.append(_asked(client, path, body))
                    except Exception as error:
                        self.failures.append(f"{path}: {error!r}")


def _asked(client: httpx.Client, path: str, body: bytes) -> Answer:
    asked_s = time.monotonic()
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    if answer.status_code != 200:
        return Answer(asked_s, answer.status_code)
    document = answer.json()
    if path.startswith("/v2"):
        return Answer(asked_s, 200, document["parameters"]["digest"], tuple(document["outputs"][0]["data"]))
    (forecast,) = document["forecasts"]
    for day in forecast.get("days", [])[:1]:
        assert day["quantiles"] == forecast["quantiles"]
    return Answer(asked_s, 200, document["model"]["digest"], tuple(forecast["quantiles"].values()))


def until(look: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def expected(bundle: Bundle) -> tuple[str, tuple[float, ...]]:
    """A version's digest and its quantiles, as answers print them."""
    quantiles = Forecaster(bundle).predict(Ragged.of([CLOSES]))[0]
    return bundle.card.digest, tuple(float(str(each)) for each in quantiles.astype(np.float32))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return store_of(tmp_path / "store", "lstm", "mlp")


@pytest.fixture
def server(store: Path, tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path, NEXTDAY_STORE=str(store), NEXTDAY_WATCH_S="0.2", **key_file(tmp_path)) as running:
        wait_until_both_follow(running)
        yield running


def serve(server: Server, version: int | None) -> float:
    """Switch, and say when the call had returned."""
    url = f"{server.url}/v1/models/lstm/serving"
    answer = httpx.put(url, json={"version": version}, headers=AUTHORIZED, timeout=DEADLINE_S)
    assert answer.json()["applied"] | {"generation": 0} == {"generation": 0, "processes": 2, "behind": 0}, answer.text
    return time.monotonic()


def repository(server: Server, call: str) -> float:
    url = f"{server.url}/v2/repository/models/lstm/{call}"
    answer = httpx.post(url, headers=AUTHORIZED, timeout=DEADLINE_S)
    assert (answer.status_code, answer.json()["behind"]) == (200, 0), answer.text
    return time.monotonic()


def test_no_answer_is_lost_or_mixed_while_versions_come_and_go(server: Server, store: Path) -> None:
    old, new = read_bundle(store / "lstm" / "1"), other_weights(2)
    right = dict([expected(old), expected(new)])
    digests = {1: old.card.digest, 2: new.card.digest}

    with Stream(server.url) as stream:
        stream.flow()
        put(store, new)
        until(lambda: {each.digest for each in stream.answers[-16:]} == {digests[2]}, "the new version")
        stream.flow(100)
        after = {1: serve(server, 1)}
        stream.flow()
        until_unpinned = time.monotonic()
        after[2] = serve(server, None)
        stream.flow()
        unloading = time.monotonic()
        unloaded = repository(server, "unload")
        stream.flow()
        loading = time.monotonic()
        loaded = repository(server, "load")
        stream.flow()

    assert stream.failures == []
    assert not [each for each in stream.answers if each.status == 200 and right[each.digest] != each.quantiles]
    assert {each.status for each in stream.answers} == {200, OFF}
    assert {each.digest for each in stream.answers if each.asked_s < unloading} == set(digests.values())
    assert {each.digest for each in stream.since(after[1]) if each.asked_s < until_unpinned} == {digests[1]}
    assert {each.digest for each in stream.since(after[2]) if each.asked_s < unloading} == {digests[2]}
    assert {each.status for each in stream.answers if each.asked_s < unloading - 1} == {200}
    assert {each.status for each in stream.since(unloaded) if each.asked_s < loading} == {OFF}
    assert {(each.status, each.digest) for each in stream.since(loaded)} == {(200, digests[2])}


def test_versions_and_models_that_are_not_at_hand_are_looked_for_while_the_others_are_answered(
    server: Server, store: Path
) -> None:
    put(store, other_weights(2))
    put(store, other_weights(3))
    repository(server, "load")
    rows = [{"id": "a", "closes": CLOSES}]

    with Stream(server.url) as stream:
        stream.flow()
        asked = {
            wish: httpx.post(f"{server.url}/v1/forecasts", json={"series": rows, **dict([wish])}, headers=AUTHORIZED)
            for wish in (("version", 2), ("version", 9), ("model", "gpt"), ("model", "mlp"))
        }
        stream.flow()

    assert [answer.status_code for answer in asked.values()] == [200, 422, 422, 200]
    assert asked["version", 2].json()["model"]["digest"] == other_weights(2).card.digest
    assert stream.failures == []
    assert {(each.status, each.digest) for each in stream.answers} == {(200, other_weights(3).card.digest)}


def truncate(folder: Path) -> None:
    (folder / "model.onnx").write_bytes((folder / "model.onnx").read_bytes()[:-1])


def flip_a_bit(folder: Path) -> None:
    model = bytearray((folder / "model.onnx").read_bytes())
    model[5000] ^= 1
    (folder / "model.onnx").write_bytes(model)


def break_the_card(folder: Path) -> None:
    (folder / "card.json").write_text("{")


@pytest.mark.parametrize("spoil", [truncate, flip_a_bit, break_the_card])
def test_a_bad_version_that_is_rolled_out_under_load_changes_nothing(
    server: Server, store: Path, spoil: Callable[[Path], None]
) -> None:
    digest = read_bundle(store / "lstm" / "1").card.digest
    path = f"{server.url}/v1/models/lstm"

    with Stream(server.url) as stream:
        stream.flow()
        spoil(put(store, other_weights(2)))
        until(lambda: "refused" in httpx.get(path, headers=AUTHORIZED).json()["states"][1]["reason"], "the refusal")
        ready = [httpx.get(f"{server.url}/readyz").status_code for _ in range(8)]
        stream.flow()

    assert stream.failures == []
    assert {(each.status, each.digest) for each in stream.answers} == {(200, digest)}
    assert set(ready) == {200}
    until(lambda: len(refusals(server)) == 2, "a line of each process")
    assert all("version 2 is refused" in line for line in refusals(server))


def refusals(server: Server) -> list[str]:
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    return [line["message"] for line in lines if line["level"] == "error" and line["logger"] == "models.refusals"]


def test_a_process_that_is_started_anew_follows_what_was_wanted(server: Server, store: Path) -> None:
    put(store, other_weights(2))
    serve(server, 1)
    dead, other = answering(server)

    os.kill(dead, signal.SIGKILL)
    until(lambda: len(set(answering(server)) - {dead, other}) == 1, "another process")
    until(lambda: server.log.read_text().count(' runtime-1"') >= 3, "it listens")

    digest = read_bundle(store / "lstm" / "1").card.digest
    with Stream(server.url) as stream:
        stream.flow(100)
    assert {(each.status, each.digest) for each in stream.answers} == {(200, digest)}
