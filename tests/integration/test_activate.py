"""`nextday activate` beside a real server of two processes."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.server_process import DEADLINE_S, Server, free_port, serving, wait_until_both_follow
from tests.operator_key import SECRET, key_file
from tests.versions import other_weights, put, store_of


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("activate")
    store = store_of(folder / "store", "lstm")
    put(store, other_weights(2))
    spoilt = other_weights(3)
    (put(store, spoilt) / "model.onnx").write_bytes(spoilt.model[:-1])
    with serving(folder, NEXTDAY_STORE=str(store), **key_file(folder)) as running:
        wait_until_both_follow(running)
        yield running


def activate(url: str, model: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "nextday", "activate", model, "--url", url, *more]
    env = {**os.environ, "NEXTDAY_API_KEY": SECRET}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def test_the_previous_version_comes_back_in_one_command_and_the_newest_in_another(server: Server) -> None:
    back, newest = activate(server.url, "lstm:1"), activate(server.url, "lstm")

    assert (back.returncode, back.stdout) == (0, "lstm: version 1 serves, pinned, in 2 processes\n")
    assert (newest.returncode, newest.stdout) == (
        0,
        "lstm: version 2 serves, the newest that can, in 2 processes\n",
    )


def test_what_serves_is_json_for_programs(server: Server) -> None:
    done = activate(server.url, "lstm", "--json")

    serving = json.loads(done.stdout)
    assert (serving["name"], serving["serving"], serving["pinned"]) == ("lstm", 2, None)
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("lstm:3", "refused: model.onnx has sha256"),
        ("lstm:9", "there is no model 'lstm version 9'"),
        ("gpt", "there is no model 'gpt'"),
        ("a/b:1", "nothing at this path"),
        ("lstm:", "'lstm:' is no NAME or NAME:VERSION"),
        ("lstm:new", "is no NAME or NAME:VERSION"),
        (":1", "is no NAME or NAME:VERSION"),
    ],
)
def test_what_cannot_serve_is_one_line_and_the_exit_code_of_a_wrong_input(
    server: Server, model: str, words: str
) -> None:
    done = activate(server.url, model)

    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_service_that_is_away_is_told() -> None:
    done = activate(f"http://127.0.0.1:{free_port()}", "lstm:1")

    assert done.returncode == 1
    assert "no service answers" in done.stderr
