"""The Open Inference Protocol: every call of its real clients, to a real server process."""

import asyncio
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from tritonclient.utils import InferenceServerException

from models.bundle import versions
from models.repository import Repository
from models.settings import ModelSettings
from service.oip import schemas
from tests.contract.protocol import ROWS, SECRET, address, bits, refused, shape, tensors, walk, wanted, with_key
from tests.integration.server_process import DEADLINE_S, Server, starting

SHIPS = str(versions(ModelSettings().store / "lstm")[-1])

PAGE = (Path(__file__).parent.parent.parent / "docs" / "protocol.md").read_text()


# Every call of the client


def test_the_server_and_its_models_are_live_and_ready(tritonclient: triton.InferenceServerClient) -> None:
    assert tritonclient.is_server_live()
    assert tritonclient.is_server_ready()
    assert tritonclient.is_model_ready("lstm")
    assert tritonclient.is_model_ready("lstm", SHIPS)
    assert not tritonclient.is_model_ready("gpt")
    assert not tritonclient.is_model_ready("lstm", "99")


def test_the_metadata_are_those_of_the_card(tritonclient: triton.InferenceServerClient, models: Repository) -> None:
    for version, listed in (("", ["1", "2"]), (SHIPS, [SHIPS])):
        each = tritonclient.get_model_metadata("lstm", version)
        shape(each, schemas.ModelMetadata)
        assert each.pop("parameters")["digest"] == models.card("lstm").digest
        assert each == {
            "name": "lstm",
            "versions": listed,
            "platform": "onnxruntime_onnx",
            "inputs": [
                {"name": "closes", "datatype": "FP32", "shape": [-1, -1]},
                {"name": "lengths", "datatype": "INT64", "shape": [-1]},
            ],
            "outputs": [{"name": "quantiles", "datatype": "FP32", "shape": [-1, 9]}],
        }


def test_only_extensions_that_are_offered_are_advertised(
    tritonclient: triton.InferenceServerClient, http: httpx.Client
) -> None:
    metadata = tritonclient.get_server_metadata()

    assert http.get("/v2/").json() == metadata

    shape(metadata, schemas.ServerMetadata)
    assert metadata["name"] == "nextday"
    assert metadata["extensions"] == [
        "binary_tensor_data",
        "model_configuration",
        "model_repository",
        "statistics",
    ]


def test_the_configuration_is_in_tritons_form(tritonclient: triton.InferenceServerClient) -> None:
    for config in (tritonclient.get_model_config("mlp"), tritonclient.get_model_config("mlp", SHIPS)):
        shape(config, schemas.ModelConfig)
        assert config["max_batch_size"] == 0
        assert config["input"][0] == {"name": "closes", "data_type": "TYPE_FP32", "dims": [-1, -1]}
        assert config["output"] == [{"name": "quantiles", "data_type": "TYPE_FP32", "dims": [-1, 9]}]
        assert config["parameters"]["execution_provider"]["string_value"].endswith("ExecutionProvider")


def test_the_repository_is_listed_and_loading_what_is_there_goes_well(
    tritonclient: triton.InferenceServerClient,
) -> None:
    tritonclient.load_model("lstm")

    index = tritonclient.get_model_repository_index()

    shape(index, list[schemas.IndexEntry])
    assert [(each["name"], each["version"], each["state"]) for each in index] == [
        (name, version, "READY" if version == SHIPS else "UNAVAILABLE")
        for name in ("lstm", "mlp", "rnn")
        for version in ("1", "2")
    ]


@pytest.mark.parametrize(
    ("call", "arguments", "status", "words"),
    [
        ("get_model_metadata", ["gpt"], "404", "there is no model 'gpt'; there are: lstm, mlp, rnn"),
        ("get_model_metadata", ["lstm", "99"], "404", "there is no version '99' of the model 'lstm'"),
        ("get_model_metadata", ["lstm", "one"], "404", "there is no version 'one'"),
        ("get_model_metadata", ["lstm", "01"], "404", "there is no version '01'"),
        ("get_model_config", ["gpt"], "404", "there is no model"),
        ("get_inference_statistics", ["gpt"], "404", "there is no model"),
        ("infer", ["gpt", tensors(ROWS)], "404", "there is no model"),
        ("infer", ["lstm", tensors(ROWS), "99"], "404", "there is no version"),
        ("load_model", ["gpt"], "404", "there is no model"),
        ("unload_model", ["gpt"], "404", "there is no model"),
        ("get_log_settings", [], "404", "there is nothing at this path"),
        ("get_trace_settings", [], "404", "there is nothing at this path"),
        ("get_system_shared_memory_status", [], "404", "there is nothing at this path"),
    ],
)
def test_what_is_not_there_or_not_offered_is_told_in_words(
    tritonclient: triton.InferenceServerClient, call: str, arguments: list[Any], status: str, words: str
) -> None:
    with pytest.raises(InferenceServerException, match=words) as refusal:
        getattr(tritonclient, call)(*arguments)

    assert refusal.value.status() == status
    assert tritonclient.is_server_live()


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("outputs", ["none named", "binary", "json"])
def test_rows_answer_to_the_bit_what_the_forecasts_route_answers(
    tritonclient: triton.InferenceServerClient, http: httpx.Client, binary_in: bool, outputs: str
) -> None:
    asked = None if outputs == "none named" else [triton.InferRequestedOutput("quantiles", outputs == "binary")]

    result = tritonclient.infer(
        "lstm", tensors(ROWS, padding=1, binary=binary_in), outputs=asked, request_id="order 17"
    )

    answer = result.get_response()
    shape(answer, schemas.InferenceAnswer)
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("lstm", SHIPS, "order 17")
    assert ("data" in answer["outputs"][0]) == (outputs == "json")
    assert bits(result.as_numpy("quantiles")) == bits(wanted(http, ROWS))


@pytest.mark.parametrize("model", ["rnn", "mlp"])
def test_every_model_answers(tritonclient: triton.InferenceServerClient, http: httpx.Client, model: str) -> None:
    rows = [walk(days) for days in (64, 100, 90)]

    quantiles = tritonclient.infer(model, tensors(rows), model_version=SHIPS).as_numpy("quantiles")

    np.testing.assert_allclose(quantiles, wanted(http, rows, model), rtol=1e-5)


def test_requests_of_different_lengths_that_wait_together_keep_their_own_answers(
    protocol_server: Server, http: httpx.Client
) -> None:
    expected = [wanted(http, [row]) for row in ROWS]
    with triton.InferenceServerClient(address(protocol_server), concurrency=8, network_timeout=DEADLINE_S) as client:
        with_key(client)
        waiting = [(row % 5, client.async_infer("lstm", tensors([ROWS[row % 5]]))) for row in range(60)]

        for row, answer in waiting:
            assert bits(answer.get_result().as_numpy("quantiles")) == bits(expected[row])


def test_one_bad_request_fails_alone(protocol_server: Server, http: httpx.Client) -> None:
    expected = bits(wanted(http, ROWS))
    bad = [[*walk(60), -1.0]]
    with triton.InferenceServerClient(address(protocol_server), concurrency=8, network_timeout=DEADLINE_S) as client:
        with_key(client)
        waiting = [client.async_infer("lstm", tensors(bad if turn % 2 else ROWS)) for turn in range(40)]

        for turn, answer in enumerate(waiting):
            if turn % 2:
                with pytest.raises(InferenceServerException, match=r"series 0, close 60 is -1\.0"):
                    answer.get_result()
            else:
                assert bits(answer.get_result().as_numpy("quantiles")) == expected


def test_the_asyncio_client_speaks_every_call(protocol_server: Server, http: httpx.Client) -> None:
    async def speak() -> list[bytes]:
        async with triton_aio.InferenceServerClient(address(protocol_server)) as client:
            with_key(client)
            assert await client.is_server_live()
            assert await client.is_server_ready()
            assert await client.is_model_ready("lstm", SHIPS)
            assert (await client.get_server_metadata())["name"] == "nextday"
            assert (await client.get_model_metadata("lstm"))["versions"] == ["1", "2"]
            assert (await client.get_model_config("lstm"))["name"] == "lstm"
            assert (await client.get_model_repository_index())[-1]["state"] == "READY"
            assert (await client.get_inference_statistics())["model_stats"]
            await client.load_model("lstm")
            with pytest.raises(InferenceServerException, match="there is no model"):
                await client.unload_model("gpt")
            with pytest.raises(InferenceServerException, match=r"close 1 is nan"):
                await client.infer("lstm", tensors([[1.0, np.nan]]))
            answers = await asyncio.gather(*(client.infer("lstm", tensors([row])) for row in ROWS))
            return [bits(each.as_numpy("quantiles")) for each in answers]

    assert b"".join(asyncio.run(speak())) == bits(wanted(http, ROWS))


def batches(statistics: dict[str, Any]) -> Counter[int]:
    """How many requests there were, by how many rows they had."""
    return Counter({each["batch_size"]: each["compute_infer"]["count"] for each in statistics["batch_stats"]})


def test_statistics_count_rows_requests_failures_and_the_time_of_each_stage(
    tritonclient: triton.InferenceServerClient,
) -> None:
    before = tritonclient.get_inference_statistics("rnn", SHIPS)["model_stats"][0]
    for rows in (ROWS, ROWS, ROWS[:1]):
        tritonclient.infer("rnn", tensors(rows))
    with pytest.raises(InferenceServerException):
        tritonclient.infer("rnn", tensors([[1.0, -1.0]]))

    statistics = tritonclient.get_inference_statistics("rnn")

    shape(statistics, schemas.StatisticsAnswer)
    (after,) = statistics["model_stats"]
    stages, earlier = after["inference_stats"], before["inference_stats"]
    assert after["inference_count"] - before["inference_count"] == 11
    assert after["execution_count"] - before["execution_count"] == 3
    assert {name: stages[name]["count"] - earlier[name]["count"] for name in stages} == {
        "success": 3, "fail": 1, "queue": 3, "compute_input": 3, "compute_infer": 3, "compute_output": 3,
    }  # fmt: skip
    parts = [stages[name]["ns"] for name in ("queue", "compute_input", "compute_infer", "compute_output")]
    assert 0 < sum(parts) <= stages["success"]["ns"]
    assert stages["fail"]["ns"] > earlier["fail"]["ns"]
    assert batches(after) - batches(before) == {1: 1, 5: 2}
    assert abs(after["last_inference"] / 1000 - time.time()) < DEADLINE_S
    assert tritonclient.get_inference_statistics()["model_stats"][2] == after


# What goes wrong elsewhere: two tests stand above, of requests that wait together and of a bad one among them


@contextmanager
def serving_unready(folder: Path, **env: str) -> Iterator[Server]:
    """A server process that is live, and has ended afterwards."""
    with starting(folder, **env) as running:
        deadline = time.monotonic() + DEADLINE_S
        while running.log.read_text().count(' runtime-1"') < 2:
            assert running.process.poll() is None, running.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield running


@pytest.mark.slow
@pytest.mark.parametrize(("variable", "status"), [("NEXTDAY_STORE", "404"), ("NEXTDAY_DEVICE", "503")])
def test_a_server_without_its_models_or_its_gpu_is_live_and_not_ready(
    tmp_path: Path, variable: str, status: str
) -> None:
    if variable == "NEXTDAY_DEVICE" and "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    (tmp_path / "empty").mkdir()
    value = "cuda" if variable == "NEXTDAY_DEVICE" else str(tmp_path / "empty")

    with (
        serving_unready(tmp_path, **{variable: value}) as unready,
        triton.InferenceServerClient(address(unready), network_timeout=DEADLINE_S) as client,
    ):
        assert client.is_server_live()
        assert not client.is_server_ready()
        assert not client.is_model_ready("lstm")
        assert not [each for each in client.get_model_repository_index() if each["state"] == "READY"]
        with pytest.raises(InferenceServerException) as refusal:
            client.infer("lstm", tensors(ROWS))
        assert refusal.value.status() == status
        assert str(tmp_path) not in str(refusal.value)
        refused(httpx.get(f"{unready.url}/v2/health/ready"), 503, "not ready: lstm")


def test_the_python_of_the_page_prints_the_medians_of_the_page(
    protocol_server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTDAY_API_KEY", SECRET)
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    shown = re.search(r'"data": \[([^]]*)', PAGE[PAGE.index("two stocks") :].split("```json")[1])[1].split(",")
    printed = StringIO()

    with redirect_stdout(printed):
        exec(code.replace("127.0.0.1:8000", address(protocol_server)), {})

    medians = [float(number) for number in printed.getvalue().strip("[]\n ").split()]
    np.testing.assert_allclose(medians, [float(shown[4]), float(shown[13])], rtol=2e-5)
