"""Two replicas behind nginx, told to stop or killed one after the other while they are asked: nobody notices."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.faults.load import load
from tests.faults.nginx_process import proxying
from tests.faults.replicas import Replica
from tests.faults.wire import forecast, talk

TURNS = 6
LEAST = 3000
BETWEEN = 100
"""Requests that are answered between two deaths, and while a replica is away."""


@pytest.fixture
def replicas(tmp_path: Path, valkey_url: str) -> Iterator[list[Replica]]:
    """Two that are ready."""
    with ExitStack() as ending:
        found = [Replica(tmp_path, NEXTDAY_REDIS_URL=valkey_url, NEXTDAY_DRAIN_NOTICE_S="0.3") for _ in range(2)]
        for each in found:
            each.start()
            ending.callback(each.stop)
        for each in found:
            each.wait_until_ready()
        yield found


@pytest.fixture
def proxy_url(tmp_path: Path, replicas: list[Replica]) -> Iterator[str]:
    """An nginx in front of them."""
    with proxying(tmp_path, [each.url for each in replicas]) as address:
        yield address


def die_in_turn(replicas: list[Replica], proxy_url: str, *, turns: int, least: int, killed: bool) -> Counter[str]:
    """What became of the requests that came while replicas ended and started anew in turn."""
    wanted = talk(proxy_url, forecast(Connection="close")).last.body
    with load(proxy_url, wanted) as running:
        for turn in range(turns):
            replica = replicas[turn % 2]
            running.wait_for(BETWEEN)
            if killed:
                replica.kill()
            else:
                assert replica.stop() == 0
            running.wait_for(BETWEEN)
            replica.start()
            replica.wait_until_ready()
        running.wait_for(max(BETWEEN, least - running.asked))
    return running.outcomes


@pytest.mark.parametrize("killed", [False, True], ids=["told to stop", "killed"])
def test_a_replica_that_ends_costs_no_answer(replicas: list[Replica], proxy_url: str, *, killed: bool) -> None:
    outcomes = die_in_turn(replicas, proxy_url, turns=1, least=0, killed=killed)

    assert set(outcomes) == {"right"}


@pytest.mark.drill
@pytest.mark.parametrize("killed", [False, True], ids=["told to stop", "killed"])
def test_replicas_that_end_in_turn_six_times_cost_none_of_three_thousand_answers(
    replicas: list[Replica], proxy_url: str, *, killed: bool
) -> None:
    outcomes = die_in_turn(replicas, proxy_url, turns=TURNS, least=LEAST, killed=killed)

    print(f"{outcomes.total()} requests over {TURNS} ends: {dict(outcomes)}")
    assert set(outcomes) == {"right"}
    assert outcomes["right"] >= LEAST


def test_with_no_replica_left_nginx_says_so_as_the_service_would(replicas: list[Replica], proxy_url: str) -> None:
    for each in replicas:
        each.kill()

    answer = talk(proxy_url, forecast(Connection="close", X_Request_Id="nobody")).last

    assert (answer.status, answer.headers["retry-after"], answer.headers["x-request-id"]) == (503, "1", "nobody")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/not-ready"
