"""The graphs that ship: made from their own weights, and one forecaster with those of the version before."""

from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from models import data, export
from models.bundle import read_bundle, read_explain, versions, write_bundle
from models.errors import DataError
from models.execution import open_session
from models.gates_graph import to_explain
from models.ragged import Doubles, Floats, Ragged
from models.reexport import export_anew, network_of
from models.settings import ModelSettings
from models.walk import Walk

STORE = ModelSettings().store
NAMES = ("lstm", "rnn", "mlp")
OLDER = [(name, *pair) for name in NAMES for pair in pairwise(versions(STORE / name))]
TOLERANCE = 5e-7
"""Four steps of a float32. On the processor that they were exported on no bit differs."""


def newest(name: str) -> Path:
    return STORE / name / str(versions(STORE / name)[-1])


@pytest.fixture(scope="module")
def histories() -> list[Doubles]:
    """The last 60, 250 and 2,500 closes of real series: as they are, around a thousandth, and times a thousand."""
    series = data.load("bokeh").panel.closes
    return [closes[-days:] * to for closes in series for days in (60, 250, 2500) for to in (1, 1e-3 / closes[-1], 1e3)]


def answers(model: bytes, rows: list[Doubles]) -> Floats:
    closes, lengths = Ragged.of(rows).padded(np.arange(len(rows)))
    answered: Floats = open_session(model, device="cpu").run(None, {"closes": closes, "lengths": lengths})[0]
    return answered


@pytest.mark.parametrize("name", NAMES)
def test_the_graphs_that_ship_are_those_that_the_code_makes_of_their_weights(name: str) -> None:
    bundle = read_bundle(newest(name))
    network = network_of(bundle)

    assert export.to_onnx(network) == bundle.model
    assert export.to_walk(network) == bundle.walk
    assert to_explain(network) == (None if name == "mlp" else read_explain(newest(name), bundle.card))


@pytest.mark.parametrize(("name", "before", "after"), OLDER)
def test_a_version_of_the_same_weights_forecasts_as_the_one_before(
    name: str, before: int, after: int, histories: list[Doubles]
) -> None:
    old, new = (read_bundle(STORE / name / str(version)) for version in (before, after))

    assert new.card.training["weights_of"] == old.card.digest
    np.testing.assert_allclose(answers(new.model, histories), answers(old.model, histories), rtol=TOLERANCE)
    for closes in histories[2::3]:
        then, now = (Walk(each.walk, each.card.min_days).ratios(closes[None]) for each in (old, new))
        np.testing.assert_allclose(now, then, rtol=TOLERANCE)


@pytest.mark.parametrize("name", NAMES)
def test_onnxruntime_leaves_the_features_where_they_are_put(name: str, tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    model = read_bundle(newest(name)).model

    ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    written, run = (
        sum(node.op_type == "Transpose" for node in graph.graph.node)
        for graph in (onnx.load_from_string(model), onnx.load(options.optimized_model_filepath))
    )
    assert run <= written


@pytest.mark.parametrize("name", NAMES)
def test_no_number_without_dimensions_meets_a_tensor_element_by_element(name: str) -> None:
    graph = onnx.load_from_string(read_bundle(newest(name)).model).graph
    constants = {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    bare = {name for name, tensor in constants.items() if not tensor.dims}

    meetings = [node.name for node in graph.node if node.op_type in ("Add", "Sub", "Mul", "Div", "Equal", "Max", "Min")
                if bare.intersection(node.input)]  # fmt: skip

    assert meetings == []


def test_weights_that_were_scored_on_prices_of_their_own_are_not_exported_anew(tmp_path: Path) -> None:
    bundle = read_bundle(newest("mlp"))
    own = msgspec.structs.replace(bundle.card, scores={"test": {}}, version=1)
    write_bundle(tmp_path, own, bundle.model, bundle.walk)

    with pytest.raises(DataError, match="mlp was scored on prices of its own"):
        export_anew(tmp_path, "mlp")
