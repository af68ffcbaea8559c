"""Loading and unloading as Triton's client asks for it, of a server of two processes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

from tests.contract.protocol import ROWS, address, bits, tensors
from tests.integration.server_process import DEADLINE_S, Server, serving, wait_until_both_follow
from tests.operator_key import AUTHORIZED, key_file
from tests.versions import other_weights, put, store_of

LOOKS = 8
"""So many questions on connections of their own that each process is asked but for bad luck."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return store_of(tmp_path_factory.mktemp("store"), "lstm", "mlp")


@pytest.fixture(scope="module")
def running(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that does not look for new versions by itself."""
    folder = tmp_path_factory.mktemp("repository")
    with serving(folder, NEXTDAY_STORE=str(store), NEXTDAY_WATCH_S="0", **key_file(folder)) as server:
        wait_until_both_follow(server)
        yield server


class WithKey(triton.InferenceServerClientPlugin):
    def __call__(self, request: Any) -> None:
        request.headers |= AUTHORIZED


@contextmanager
def connected(server: Server) -> Iterator[triton.InferenceServerClient]:
    """An operator's client, on a connection of its own."""
    with triton.InferenceServerClient(address(server), network_timeout=DEADLINE_S) as client:
        client.register_plugin(WithKey())
        yield client


@pytest.fixture
def client(running: Server) -> Iterator[triton.InferenceServerClient]:
    with connected(running) as client:
        yield client
        client.load_model("lstm")


def answers(running: Server) -> set[tuple[str, bytes]]:
    """Versions and quantiles that the processes of a server answer."""
    found = set()
    for _ in range(LOOKS):
        with connected(running) as client:
            answer = client.infer("lstm", tensors(ROWS))
            found.add((answer.get_response()["model_version"], bits(answer.as_numpy("quantiles"))))
    return found


def test_an_unloaded_model_is_gone_in_every_process_and_comes_back(
    running: Server, client: triton.InferenceServerClient
) -> None:
    before = answers(running)

    client.unload_model("lstm")

    for _ in range(LOOKS):
        with connected(running) as other:
            assert not other.is_model_ready("lstm")
            assert other.is_server_ready()
            index = {each["name"]: each for each in other.get_model_repository_index()}
            assert (index["lstm"]["state"], index["lstm"]["reason"]) == ("UNAVAILABLE", "unloaded")
            assert index["mlp"]["state"] == "READY"
            with pytest.raises(InferenceServerException, match="unloaded") as refusal:
                other.infer("lstm", tensors(ROWS))
            assert refusal.value.status() == "409"
    client.load_model("lstm")
    assert answers(running) == before


def test_a_model_may_be_unloaded_twice_and_with_what_depends_on_it(client: triton.InferenceServerClient) -> None:
    client.unload_model("lstm")
    client.unload_model("lstm", unload_dependents=True)

    assert not client.is_model_ready("lstm")


def test_loading_takes_a_new_version_in_every_process_and_not_before(
    running: Server, client: triton.InferenceServerClient, store: Path
) -> None:
    (before,) = answers(running)
    put(store, other_weights(2))
    (unnoticed,) = answers(running)

    client.load_model("lstm")

    (after,) = answers(running)
    assert before == unnoticed
    assert (before[0], after[0]) == ("1", "2")
    assert before[1] != after[1]


def test_loading_a_version_that_is_refused_says_why_and_the_old_one_goes_on(
    running: Server, client: triton.InferenceServerClient, store: Path
) -> None:
    before = answers(running)
    bundle = other_weights(3)
    (put(store, bundle) / "walk.onnx").write_bytes(b"")

    with pytest.raises(InferenceServerException, match=r"refused: walk.onnx has sha256 .* goes on") as refusal:
        client.load_model("lstm")

    assert refusal.value.status() == "400"
    assert answers(running) == before
    (store / "lstm" / "3" / "walk.onnx").write_bytes(bundle.walk)  # mended, for whoever comes next
