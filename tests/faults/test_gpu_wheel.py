"""
Drill: onnxruntime's GPU package on a machine without a GPU. Nothing runs on the CPU in its stead unless that is asked.

The wheel is downloaded once, a quarter of a gigabyte, and put in front of the installed onnxruntime.
"""

import ctypes
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.server_process import DEADLINE_S, Server, starting

pytestmark = pytest.mark.drill

ROOT = Path(__file__).parents[2]
CACHE = ROOT / "build" / "onnxruntime-gpu"
MODELS = ("lstm", "mlp", "rnn")
SERIES = {"series": [{"id": "a", "closes": [1.0 + day % 3 for day in range(80)]}]}
CPU = "CPUExecutionProvider"
DRIVER = "libcuda.so.1: cannot open shared object file"


@pytest.fixture(scope="module")
def wheel() -> Path:
    """A folder with the GPU package, of a version that the extra `gpu` allows."""
    if not (CACHE / "onnxruntime").exists():
        extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        wanted = re.sub(r"\[.*?\]", "", extras["gpu"][0])
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(CACHE), wanted]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"the wheel {wanted} cannot be had: {done.stderr.strip()[-300:]}")
    return CACHE


@pytest.fixture(autouse=True)
def no_gpu() -> None:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return
    pytest.skip("this machine has a CUDA driver; the drill is about one that has none")


@contextmanager
def up(folder: Path, *front: Path, **env: str) -> Iterator[Server]:
    """A server whose two processes are up, ready or not, with some folders in front of what is installed."""
    path = os.pathsep.join(map(str, (*front, ROOT)))
    with starting(folder, PYTHONPATH=path, **env) as server:
        deadline = time.monotonic() + DEADLINE_S
        while server.log.read_text().count(' runtime-1"') < 2:
            assert server.process.poll() is None, server.log.read_text()
            assert time.monotonic() < deadline, server.log.read_text()
            time.sleep(0.05)
        yield server


def get(server: Server, path: str) -> Any:
    return httpx.get(server.url + path, timeout=DEADLINE_S).json()


def took(server: Server) -> list[str]:
    """What `auto` took, a line of each process, once both have said so."""
    deadline = time.monotonic() + DEADLINE_S
    while len(said := [line for line in lines(server) if line.startswith("execution provider auto takes")]) < 2:
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)
    return said


def lines(server: Server) -> list[str]:
    """What the server said, apart from onnxruntime's own lines."""
    return [json.loads(line)["message"] for line in server.log.read_text().splitlines() if line.startswith("{")]


def refuses_everything(server: Server, reason: str) -> None:
    """The process is up, is not ready and says why, and nothing ran in place of the GPU."""
    ready = httpx.get(f"{server.url}/readyz", timeout=DEADLINE_S)
    assert httpx.get(f"{server.url}/healthz").status_code == 200
    assert ready.status_code == 503
    assert set(ready.json()["missing"]) == set(MODELS)
    for why in ready.json()["missing"].values():
        assert why.startswith(f"execution provider CUDAExecutionProvider is not available: {reason}"), why
        assert "/" not in why
    forecast = httpx.post(f"{server.url}/v1/forecasts", json=SERIES)
    assert (forecast.status_code, forecast.json()["type"]) == (503, "/problems/model-not-ready")
    assert httpx.get(f"{server.url}/v2/health/ready").status_code == 503
    assert [(each["ready"], each["provider"]) for each in get(server, "/v1/models")["models"]] == [(False, None)] * 3
    assert CPU not in "".join(lines(server))
    assert server.process.poll() is None
    print(ready.json()["missing"]["lstm"])


def test_cuda_without_a_driver_names_the_driver_and_serves_nothing(tmp_path: Path, wheel: Path) -> None:
    with up(tmp_path, wheel, NEXTDAY_DEVICE="cuda") as server:
        refuses_everything(server, DRIVER)


def test_cuda_with_a_driver_and_without_the_toolkit_names_the_library_of_the_toolkit(
    tmp_path: Path, wheel: Path
) -> None:
    if not (compiler := shutil.which("cc")):
        pytest.skip("there is no C compiler to make an empty driver with")
    driver = tmp_path / "driver" / "libcuda.so.1"
    driver.parent.mkdir()
    make = [compiler, "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-x", "c", "/dev/null", "-o", str(driver)]
    subprocess.run(make, check=True)

    with up(tmp_path, wheel, NEXTDAY_DEVICE="cuda", LD_LIBRARY_PATH=str(driver.parent)) as server:
        refuses_everything(server, "libcu")  # libcublasLt.so.13, whose number goes with the wheel
        assert DRIVER not in "".join(get(server, "/readyz")["missing"].values())


def test_cuda_with_the_package_for_the_cpu_names_the_package_to_install(tmp_path: Path) -> None:
    with up(tmp_path, NEXTDAY_DEVICE="cuda") as server:
        refuses_everything(server, "this onnxruntime is the package for the CPU; put onnxruntime-gpu in its place")


def test_auto_says_what_it_took_everywhere(tmp_path: Path, wheel: Path) -> None:
    with up(tmp_path, wheel, NEXTDAY_DEVICE="auto") as server:
        assert httpx.get(f"{server.url}/readyz", timeout=DEADLINE_S).status_code == 200
        inference = httpx.post(
            f"{server.url}/v2/models/lstm/infer",
            json={
                "inputs": [
                    {"name": "closes", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]},
                    {"name": "lengths", "shape": [1], "datatype": "INT64", "data": [2]},
                ]
            },
        ).json()
        forecast = httpx.post(f"{server.url}/v1/forecasts", json=SERIES).json()

        assert len(took(server)) == 2
        assert all(
            line.startswith(f"execution provider auto takes {CPU}: ") and DRIVER in line for line in took(server)
        )
        assert {each["provider"] for each in get(server, "/v1/models")["models"]} == {CPU}
        assert get(server, "/v2/models/lstm")["parameters"]["execution_provider"] == CPU
        assert get(server, "/v2/models/lstm/config")["parameters"]["execution_provider"] == {"string_value": CPU}
        assert inference["parameters"]["execution_provider"] == CPU
        assert forecast["model"]["provider"] == CPU
        print(took(server)[0])
