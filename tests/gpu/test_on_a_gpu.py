"""Drill: forecasts on a GPU, where there is one: the CPU's but for rounding, and all of the graph runs there."""

import ctypes
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime as ort
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from models.bundle import read_bundle
from models.errors import ProviderUnavailable
from models.execution import CUDA, elsewhere, open_session
from models.forecaster import Forecaster
from models.ragged import Ragged
from models.repository import Repository
from tests.gpu.device_memory import free_mib
from tests.integration.server_process import Server, serving
from tests.integration.up_process import press_ctrl_c, start, until

pytestmark = pytest.mark.drill

ROUNDING = 5e-7
"""Greatest relative difference of a quantile between a GPU and the CPU; float32 has 1.2e-7."""
BUNDLES = [(name, version) for name in ("lstm", "rnn", "mlp") for version in (1, 2)]
LENGTHS = [60, 61, 64, 65, 66, 128, 129, 130, 250, 1000, 2500, 10_000]


@pytest.fixture(scope="module", autouse=True)
def gpu() -> None:
    if CUDA not in ort.get_available_providers():
        pytest.skip("this onnxruntime is the package for the CPU")
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        pytest.skip("this machine has no CUDA driver")


def walks(lengths: list[int], seed: int = 0) -> Ragged:
    rng = np.random.default_rng(seed)
    return Ragged.of([100 * np.exp(np.cumsum(0.012 * rng.standard_t(5, days))) for days in lengths])


def off(one: Any, other: Any) -> float:
    return float(np.max(np.abs(np.asarray(one, np.float64) / np.asarray(other, np.float64) - 1)))


@pytest.mark.parametrize(("name", "version"), BUNDLES)
def test_every_bundle_runs_whole_on_the_gpu_and_answers_as_on_the_cpu(
    models: Repository, name: str, version: int
) -> None:
    bundle = read_bundle(models.root / name / str(version))
    session = open_session(bundle.model, device="cuda")
    gpu, cpu = Forecaster(bundle, device="cuda"), Forecaster(bundle)
    rng = np.random.default_rng(version)
    mixed = walks([*LENGTHS, *rng.integers(60, 400, 3000).tolist()])

    assert elsewhere(session, CUDA) == []
    assert gpu.provider == CUDA
    together = gpu.predict(mixed)
    assert off(together, cpu.predict(mixed)) < ROUNDING
    assert (np.diff(together) >= 0).all()
    alone = np.concatenate([gpu.predict(Ragged.of([mixed[row]])) for row in range(40)])
    assert off(alone, together[:40]) < ROUNDING
    print("off the CPU by", off(together, cpu.predict(mixed)), "alone by", off(alone, together[:40]))


def test_the_walk_and_the_gates_of_a_model_on_a_gpu_run_on_the_cpu(models: Repository) -> None:
    path = models.root / "lstm" / "2"
    gpu, cpu = Forecaster.load(path, device="cuda"), Forecaster.load(path)
    closes = walks([300])[0]

    assert gpu.walk.quantiles(closes).tobytes() == cpu.walk.quantiles(closes).tobytes()
    told, wanted = gpu.gates()(closes), cpu.gates()(closes)
    assert {name: each.tobytes() for name, each in told.items()} == {
        name: each.tobytes() for name, each in wanted.items()
    }


def test_auto_takes_the_gpu_and_a_gpu_that_is_not_there_is_refused(models: Repository) -> None:
    bundle = read_bundle(models.root / "mlp" / "2")

    assert Forecaster(bundle, device="auto").provider == CUDA
    with pytest.raises(ProviderUnavailable, match="there is no GPU 77; the driver finds "):
        open_session(bundle.model, device="cuda", device_id=77)


def test_models_that_come_and_go_leave_nothing_on_the_gpu(models: Repository) -> None:
    bundle = read_bundle(models.root / "lstm" / "2")

    def once() -> int:
        forecaster = Forecaster(bundle, device="cuda")
        forecaster.predict(walks([250] * 2000))
        del forecaster
        return free_mib()

    first = once()
    left = [once() for _ in range(6)]

    assert min(left) >= first - 64, (first, left)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("gpu"), NEXTDAY_DEVICE="cuda", NEXTDAY_PROCESSES="1") as running_one:
        yield running_one


def forecasts(server: Server, rows: Ragged) -> httpx.Response:
    series = [{"id": str(place), "closes": row.tolist()} for place, row in enumerate(rows)]
    return httpx.post(f"{server.url}/v1/forecasts", json={"series": series}, timeout=60)


def test_a_service_answers_from_the_gpu_and_names_it_everywhere(server: Server, models: Repository) -> None:
    rows = walks([60, 90, 250, 7])
    answer = forecasts(server, rows).json()

    quantiles = [list(each["quantiles"].values()) for each in answer["forecasts"]]
    assert off(quantiles, models.get("lstm").predict(rows)) < ROUNDING
    assert answer["model"]["provider"] == CUDA
    listed = httpx.get(f"{server.url}/v1/models").json()["models"]
    assert {(each["ready"], each["provider"]) for each in listed} == {(True, CUDA)}
    assert httpx.get(f"{server.url}/v2/models/lstm").json()["parameters"]["execution_provider"] == CUDA
    assert f'provider="{CUDA}"' in httpx.get(f"{server.url}/metrics").text
    said = server.log.read_text()
    assert all(line.startswith("{") for line in said.splitlines()), said


def test_requests_that_come_while_the_gpu_runs_share_the_next_run(server: Server, models: Repository) -> None:
    asked = [walks([days], seed=days) for days in range(60, 260)]
    wanted = [models.get("lstm").predict(rows) for rows in asked]

    with ThreadPoolExecutor(32) as callers:
        answers = [each.json() for each in callers.map(lambda rows: forecasts(server, rows), asked)]

    found = [list(each["forecasts"][0]["quantiles"].values()) for each in answers]
    assert max(off(one, other[0]) for one, other in zip(found, wanted, strict=True)) < ROUNDING


def test_a_bulk_job_is_scored_on_the_gpu(tmp_path: Path, models: Repository) -> None:
    rows = walks(np.random.default_rng(9).integers(2, 300, 20_000).tolist())
    series = pa.ListArray.from_arrays(pa.array(rows.offsets, pa.int32()), pa.array(rows.values))
    ids = [str(place) for place in range(len(rows))]
    pq.write_table(pa.table({"id": ids, "closes": series}), tmp_path / "closes.parquet")

    family = start(tmp_path, NEXTDAY_DEVICE="cuda", NEXTDAY_PROCESSES="1")
    try:
        done = family.nextday("score", "closes.parquet", "-o", "out.parquet")
        until(lambda: family.get("/v1/models")["models"][0]["provider"] == CUDA, "the service is on the GPU")
    finally:
        press_ctrl_c(family)

    assert done.returncode == 0, done.stderr
    out = pq.read_table(tmp_path / "out.parquet")
    found = np.column_stack([out[name].to_numpy() for name in out.column_names if name.startswith("0.")])
    assert out["id"].to_pylist() == ids
    assert off(found, models.get("lstm").predict(rows)) < ROUNDING
    print(done.stderr, family.said)


def test_a_gpu_without_memory_is_said_and_the_service_comes_back_once_there_is_some(server: Server) -> None:
    rows = walks([2500] * 60)
    assert forecasts(server, walks([60])).status_code == 200
    command = [sys.executable, "-m", "tests.gpu.device_memory", "8"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as hog:
        try:
            assert hog.stdout
            assert hog.stdout.readline() == "taken\n"
            refused = forecasts(server, rows)
            missing = httpx.get(f"{server.url}/readyz").json()
        finally:
            hog.kill()
    deadline = time.monotonic() + 90
    while httpx.get(f"{server.url}/readyz", timeout=60).status_code != 200:
        assert time.monotonic() < deadline, server.log.read_text()[-3000:]
        time.sleep(0.5)

    print(missing["missing"])
    assert refused.status_code == 503, refused.text
    assert missing["missing"]["lstm"].startswith(
        f"execution provider {CUDA} is not available: it failed while it ran: "
    )
    assert "/" not in missing["missing"]["lstm"]
    assert forecasts(server, rows).status_code == 200
    assert {each["provider"] for each in httpx.get(f"{server.url}/v1/models").json()["models"]} == {CUDA}
