"""What nginx keeps to itself, and what it hands on."""

from pathlib import Path

import pytest

from tests.faults.nginx_process import proxying
from tests.faults.processes import eventually
from tests.faults.wire import forecast, request, talk
from tests.integration.server_process import Server

KEY = "nd_01234567_" + "S" * 43


def test_metrics_are_not_for_strangers(url: str, nginx_url: str) -> None:
    answer = talk(nginx_url, request("GET", "/metrics", Connection="close")).last

    assert (answer.status, answer.json()["type"]) == (404, "/problems/not-found")


@pytest.mark.parametrize("given", ["mine-1", "a b", ""])
def test_the_id_of_a_request_is_the_same_in_the_answer_and_in_both_logs(
    url: str, nginx_url: str, server: Server, given: str
) -> None:
    answer = talk(nginx_url, forecast(X_Request_Id=given, Connection="close")).last

    told = answer.headers["x-request-id"]
    assert (told == given) == (given == "mine-1")
    eventually(lambda: told.encode() in server.log.read_bytes())


def test_no_log_has_a_key_that_somebody_put_into_a_path(server: Server, tmp_path: Path) -> None:
    with proxying(tmp_path, [server.url]) as address:
        found = talk(address, request("GET", f"/v1/jobs/{KEY}", Connection="close"))

    assert found.statuses == [404]
    assert b"SSSS" not in (tmp_path / "nginx.log").read_bytes() + server.log.read_bytes()
    assert b"(a key)" in (tmp_path / "nginx.log").read_bytes()


def test_the_server_does_not_say_what_stands_in_front_of_it(url: str, nginx_url: str) -> None:
    found = talk(nginx_url, forecast(Connection="close"))

    assert found.last.headers["server"] == "nextday"
