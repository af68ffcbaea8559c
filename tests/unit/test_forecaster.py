"""The forecaster: a row's answer is the row's alone, and what cannot be answered never reaches onnxruntime."""

import os
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from models.bounds import MAX_DAYS
from models.bundle import read_bundle
from models.errors import EmptyRequest, InvalidSeries, ProviderUnavailable
from models.execution import CPU, CUDA, InTurns, Sessions, _for_cuda, elsewhere, in_short, open_session
from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from models.repository import Repository

NAMES = ["lstm", "rnn", "mlp"]


@pytest.fixture(params=NAMES)
def forecaster(request: pytest.FixtureRequest, models: Repository) -> Forecaster:
    return models.get(request.param)


def walk(rng: np.random.Generator, days: int) -> Floats:
    return (100 * np.exp(np.cumsum(0.02 * rng.standard_t(4, days).clip(-9, 9)))).astype(np.float32)


def ragged(rng: np.random.Generator, forecaster: Forecaster, rows: int, longest: int) -> Ragged:
    return Ragged.of([walk(rng, days) for days in rng.integers(forecaster.card.min_days, longest, rows)])


@pytest.mark.parametrize("name", ["lstm", "mlp"])
def test_a_row_does_not_depend_on_who_shared_its_batch(name: str, models: Repository) -> None:
    forecaster, rng = models.get(name), np.random.default_rng(0)
    rows = ragged(rng, forecaster, 120, 400)
    alone = np.concatenate([forecaster.predict(rows.take(np.array([row]))) for row in range(len(rows))])

    for _ in range(100):
        chosen = rng.choice(len(rows), rng.integers(1, 70))

        assert np.array_equal(forecaster.predict(rows.take(chosen)), alone[chosen])


def test_a_row_of_the_plain_rnn_moves_by_a_rounding_at_most(models: Repository) -> None:
    forecaster, rng = models.get("rnn"), np.random.default_rng(0)
    rows = ragged(rng, forecaster, 60, 400)
    alone = np.concatenate([forecaster.predict(rows.take(np.array([row]))) for row in range(len(rows))])

    assert np.allclose(forecaster.predict(rows), alone, rtol=1e-6, atol=0)


def test_two_closes_and_ten_thousand_are_answered(models: Repository) -> None:
    closes = walk(np.random.default_rng(0), MAX_DAYS)

    quantiles = models.get("lstm").predict(Ragged.of([closes[:2], closes]))

    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


@pytest.mark.parametrize("factor", [1e-3, 7, 1e6])
def test_closes_times_a_constant_give_quantiles_times_that_constant(forecaster: Forecaster, factor: float) -> None:
    rows = ragged(np.random.default_rng(1), forecaster, 20, 300)

    scaled = forecaster.predict(Ragged(rows.values * factor, rows.offsets))

    assert np.allclose(scaled / factor, forecaster.predict(rows), rtol=2e-5)


@pytest.mark.parametrize("level", [1e-30, 1e-6, 1.0, 1e12, 1e30])
def test_a_series_that_never_moves_has_a_narrow_band_around_its_close(forecaster: Forecaster, level: float) -> None:
    quantiles = forecaster.predict(Ragged.of([np.full(300, level)]))[0]

    assert np.allclose(quantiles / np.float32(level), 1, atol=0.01)
    assert (np.diff(quantiles) >= 0).all()


@pytest.mark.parametrize("jump", [1e-25, 0.25, 4.0, 1e25])
def test_a_jump_of_any_size_leaves_the_forecast_finite_and_in_order(forecaster: Forecaster, jump: float) -> None:
    closes = walk(np.random.default_rng(2), 120).astype(np.float64)
    closes[80:] *= jump

    quantiles = forecaster.predict(Ragged.of([closes, closes[::-1]]))

    assert np.isfinite(quantiles).all()
    assert (quantiles > 0).all()
    assert (np.diff(quantiles, axis=1) >= 0).all()


def test_nothing_to_forecast_is_refused_before_onnxruntime_aborts(forecaster: Forecaster) -> None:
    with pytest.raises(EmptyRequest):
        forecaster.predict(Ragged.of([]))


@pytest.mark.parametrize(
    ("closes", "fault"),
    [
        ([], "series 1 has 0 closes; this model needs at least 2"),
        ([1.0], "series 1 has 1 close; this model needs at least 2"),
        ([1.0] * (MAX_DAYS + 1), f"series 1 has {MAX_DAYS + 1} closes; at most {MAX_DAYS} are taken"),
        ([1.0, 2.0, np.nan], "series 1, close 2 is nan; a close is a positive, finite number"),
        ([1.0, np.inf], "series 1, close 1 is inf"),
        ([0.0, 1.0], "series 1, close 0 is 0.0"),
        ([1.0, -1.0], "series 1, close 1 is -1.0"),
        ([1.0, 1e308], "series 1, close 1 is 1e\\+308; a close lies between"),
        ([1.0, 1e-40], "series 1, close 1 is 1e-40; a close lies between"),
    ],
)
def test_a_series_that_cannot_be_forecast_is_named_with_its_place(
    models: Repository, closes: list[float], fault: str
) -> None:
    with pytest.raises(InvalidSeries, match=fault):
        models.get("lstm").predict(Ragged.of([[1.0, 2.0], closes]))


def test_the_mlp_refuses_less_than_its_window(models: Repository) -> None:
    with pytest.raises(InvalidSeries, match="has 59 closes; this model needs at least 60"):
        models.get("mlp").predict(Ragged.of([[1.0] * 59]))


def test_a_forecaster_that_crossed_a_fork_refuses(models: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getpid", lambda: -1)

    with pytest.raises(RuntimeError, match="across a fork"):
        models.get("lstm").predict(Ragged.of([[1.0, 2.0]]))


def test_cuda_that_is_not_there_is_refused_and_never_replaced() -> None:
    ort = pytest.importorskip("onnxruntime")
    if "CUDAExecutionProvider" in ort.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")

    with pytest.raises(ProviderUnavailable, match=r"CUDAExecutionProvider is not available: .*onnxruntime-gpu"):
        open_session(b"", device="cuda")


def test_in_bulk_each_thread_has_a_session_of_its_own_and_answers_are_the_same_to_the_bit(models: Repository) -> None:
    path = models.root / "lstm" / "1"
    shared, in_bulk = Forecaster.load(path), Forecaster(read_bundle(path), in_bulk=True)
    rng = np.random.default_rng(5)
    lots = [Ragged.of([rng.lognormal(4, 0.1, days) for days in rng.integers(2, 300, 40)]) for _ in range(24)]
    at_once = threading.Barrier(3)

    def answers(share: list[Ragged]) -> list[bytes]:
        at_once.wait(10)
        return [in_bulk.run(rows, before_each=lambda: time.sleep(0)).tobytes() for rows in share]

    alone = in_bulk.run(lots[0]).tobytes()
    before = len(in_bulk._session._free)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(answers, (lots[0::3], lots[1::3], lots[2::3])))

    assert before == 1
    assert 1 <= len(in_bulk._session._free) <= 3
    assert alone == found[0][0]
    assert found == [[shared.run(rows).tobytes() for rows in lots[first::3]] for first in range(3)]


def test_a_session_that_runs_is_not_given_to_another_and_comes_back(models: Repository) -> None:
    class Busy:
        """Stands for a session during whose run another thread comes."""

        def run(self, outputs: list[str], inputs: dict[str, object]) -> object:
            return sessions.run(outputs, inputs)

    first = Busy()
    sessions = Sessions(first, (models.root / "lstm" / "1" / "model.onnx").read_bytes())

    (quantiles,) = sessions.run(["quantiles"], {"closes": np.ones((1, 2), np.float32), "lengths": np.array([2])})

    assert quantiles.shape == (1, 9)
    assert len(sessions._free) == 2
    assert sessions._free[-1] is first


def test_a_gpu_runs_a_few_at_a_time() -> None:
    on, most, all_there = 0, 0, threading.Barrier(InTurns.AT_ONCE)
    lock = threading.Lock()

    class Slow:
        """Stands for a session on a GPU."""

        def run(self, outputs: list[str], inputs: dict[str, object]) -> object:
            nonlocal on, most
            with lock:
                on += 1
                most = max(most, on)
            all_there.wait(10)  # as many as may run do run at once
            with lock:
                on -= 1
            return outputs, inputs

    in_turns = InTurns(Slow())
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda row: in_turns.run(["quantiles"], {"row": row}), range(8 * InTurns.AT_ONCE)))

    assert answers == [(["quantiles"], {"row": row}) for row in range(8 * InTurns.AT_ONCE)]
    assert most == InTurns.AT_ONCE


def test_a_gpu_without_what_makes_its_graphs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "models.cuda_graph", None)

    with pytest.raises(ProviderUnavailable, match="package onnx, which is not here; the extra gpu brings it"):
        _for_cuda(b"")


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (
            "[ONNXRuntimeError] : 1 : FAIL : cuda_call.cc:154 void onnxruntime::CudaCall(ERRTYPE, const char*) [with "
            "ERRTYPE = cublasStatus_t; bool THRW = true] CUBLAS failure 3: the resource allocation failed ; GPU=0 ; "
            "hostname=vm ; file=cuda_stream_handle.cc ; line=79 ; expr=cublasCreate(&cublas_handle_); ",
            "CUBLAS failure 3: the resource allocation failed",
        ),
        (
            "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running Add node. "
            "bfc_arena.cc:359 void* BFCArena::AllocateRawInternal(size_t) Failed to allocate memory for requested "
            "buffer of size 4194304\n",
            "Failed to allocate memory for requested buffer of size 4194304",
        ),
        ("CUDA failure 719: unspecified launch failure", "CUDA failure 719: unspecified launch failure"),
        ("something else", "something else"),
    ],
    ids=["cublas", "memory", "launch", "else"],
)
def test_of_what_onnxruntime_says_of_a_device_the_failure_is_told(said: str, short: str) -> None:
    assert in_short(RuntimeError(said)) == short


def test_operators_that_end_up_on_another_provider_are_named(models: Repository) -> None:
    session = open_session((models.root / "lstm" / "1" / "model.onnx").read_bytes(), device="cpu")

    assert elsewhere(session, CPU) == []
    assert elsewhere(session, CUDA) == ["Gemm", "LSTM", "RNN"]


def test_auto_says_what_it_took(models: Repository) -> None:
    path = models.root / "lstm" / str(models.versions("lstm")[-1])

    forecaster = Forecaster.load(path, device="auto")

    assert forecaster.provider in ("CPUExecutionProvider", "CUDAExecutionProvider")


def test_the_card_is_that_of_the_version_that_serves(models: Repository, tmp_path: Path) -> None:
    shutil.copytree(models.root / "lstm" / "1", tmp_path / "lstm" / "1")
    serving = Repository(tmp_path)
    serving.get("lstm")
    shutil.copytree(models.root / "lstm" / "1", tmp_path / "lstm" / "2")
    later = tmp_path / "lstm" / "2" / "card.json"
    later.write_bytes(later.read_bytes().replace(b'"version": 1', b'"version": 2'))

    assert serving.card("lstm").version == serving.get("lstm").card.version == 1
    assert Repository(tmp_path).card("lstm").version == 2


@pytest.mark.parametrize("chosen", [[], [3], [1, 2, 3], [0, 1, 2, 3, 4], [4, 0, 0, 2], [2, 4], [3, 2]])
def test_rows_that_are_taken_are_the_same_rows(chosen: list[int]) -> None:
    rows = [[1.0, 2.0], [3.0], [], [4.0, 5.0, 6.0], [7.0]]

    taken = Ragged.of(rows).take(np.array(chosen, np.int64))

    assert [row.tolist() for row in taken] == [rows[row] for row in chosen]
    assert taken.lengths.tolist() == [len(rows[row]) for row in chosen]
