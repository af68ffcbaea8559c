"""The graph that a GPU runs answers as the one that was exported; onnxruntime's CPU runs both here."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models.bundle import read_bundle
from models.cuda_graph import BLOCK_DAYS, for_cuda
from models.execution import open_session
from models.ragged import Floats, Ragged
from models.repository import Repository

ROUNDING = 5e-7
"""Greatest relative difference of a quantile; float32 has 1.2e-7."""
BUNDLES = [(name, version) for name in ("lstm", "rnn", "mlp") for version in (1, 2)]
LENGTHS = [60, 64, 65, 66, 129, 130, 250, 2500, 10_000]


def walks(lengths: list[int]) -> list[Floats]:
    rng = np.random.default_rng(0)
    return [(100 * np.exp(np.cumsum(0.012 * rng.standard_t(5, days)))).astype(np.float32) for days in lengths]


def answers(graph: bytes, rows: list[Floats]) -> Floats:
    closes, lengths = Ragged.of(rows).padded(np.arange(len(rows)))
    return open_session(graph, device="cpu").run(["quantiles"], {"closes": closes, "lengths": lengths})[0]


@pytest.mark.parametrize(("name", "version"), BUNDLES)
def test_it_answers_as_the_bundle_does_but_for_rounding(models: Repository, name: str, version: int) -> None:
    model = read_bundle(models.root / name / str(version)).model
    rewritten = for_cuda(model)

    assert [node.op_type for node in onnx.load_from_string(rewritten).graph.node].count("RNN") == (name == "rnn")
    onnx.checker.check_model(onnx.load_from_string(rewritten))
    for rows in (*([row] for row in walks(LENGTHS)), walks([*range(60, 300, 7)])):
        found, wanted = answers(rewritten, rows), answers(model, rows)
        assert float(np.abs(found / wanted - 1).max()) < ROUNDING
        assert (np.diff(found) >= 0).all()


def test_a_series_that_is_nothing_but_two_closes_is_answered_alike(models: Repository) -> None:
    model = read_bundle(models.root / "lstm" / "2").model

    for rows in (walks([2]), walks([2, 3, 2])):
        assert answers(for_cuda(model), rows) == pytest.approx(answers(model, rows), rel=ROUNDING)


def recurrent(units: int = 3, activation: str = "Relu", **changed: Any) -> bytes:
    """A graph of one RNN whose units are sums that fade, unless something in it is changed."""
    weights = {
        "W": np.ones((1, units, 2), np.float32),
        "R": np.diag(np.linspace(0.5, 1, units)).astype(np.float32)[None],
        "bias": np.ones((1, 2 * units), np.float32),
    } | {name: value for name, value in changed.items() if name in "WR"}
    inputs = ["x", "W", "R", *(["bias"] if changed.get("biased") else [])]
    outputs = ["y", *(["last"] if changed.get("last") else [])]
    node = helper.make_node("RNN", inputs, outputs, "sums", hidden_size=units, activations=[activation])
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["days", "batch", 2])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(weights[name], name) for name in inputs[1:]],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("days", [1, BLOCK_DAYS - 1, BLOCK_DAYS, BLOCK_DAYS + 1, 5 * BLOCK_DAYS, 1000])
def test_sums_that_fade_are_those_of_the_recurrence(days: int) -> None:
    x = np.random.default_rng(days).random((days, 5, 2), np.float32)
    decays, sums, wanted = np.linspace(0.5, 1, 3), np.zeros((5, 3)), []
    for day in x.astype(np.float64):
        sums = sums * decays + day.sum(1)[:, None]
        wanted.append(sums)

    (found,) = open_session(for_cuda(recurrent()), device="cpu").run(None, {"x": x})

    assert found.shape == (days, 1, 5, 3)
    assert np.abs(found[:, 0] / wanted - 1).max() < 1e-6


@pytest.mark.parametrize(
    "changed",
    [
        {"activation": "Tanh"},
        {"biased": True},
        {"last": True},
        {"W": np.full((1, 3, 2), -1, np.float32)},
        {"R": np.ones((1, 3, 3), np.float32)},
        {"R": -np.eye(3, dtype=np.float32)[None]},
    ],
    ids=str,
)
def test_what_is_no_sum_that_fades_stays_as_it_is(changed: dict[str, Any]) -> None:
    model = onnx.load_from_string(recurrent(**changed))

    assert onnx.load_from_string(for_cuda(model.SerializeToString())) == model
