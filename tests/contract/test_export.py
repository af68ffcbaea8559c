"""torch and the graph that comes from it: the same forecaster, or none."""

from typing import get_args

import numpy as np
import onnx
import pytest
import torch

from models import export
from models.bundle import Network
from models.errors import BundleError
from models.execution import open_session
from models.networks import Forecasting, build
from models.ragged import Ragged


def fresh(kind: Network) -> Forecasting:
    torch.manual_seed(0)
    network = build(kind)
    torch.nn.init.normal_(network.head.linear.weight, std=0.2)
    return network


@pytest.fixture(params=get_args(Network), scope="module")
def network(request: pytest.FixtureRequest) -> Forecasting:
    return fresh(request.param)


@pytest.fixture(scope="module")
def model(network: Forecasting) -> bytes:
    return export.to_onnx(network)


@pytest.fixture(scope="module")
def walk(network: Forecasting) -> bytes:
    return export.to_walk(network)


def test_the_graph_answers_as_pytorch_does_on_ragged_batches_of_random_shape(
    network: Forecasting, model: bytes, walk: bytes
) -> None:
    assert export.check_parity(model, walk, network) <= export.PARITY


def test_the_same_weights_give_the_same_bytes(network: Forecasting, model: bytes, walk: bytes) -> None:
    assert export.to_onnx(network) == model
    assert export.to_walk(network) == walk


@pytest.mark.parametrize("spoilt", ["model", "walk"])
def test_other_weights_are_no_parity(spoilt: str, network: Forecasting, model: bytes, walk: bytes) -> None:
    other = fresh("lstm" if network.window_days is None else "mlp")
    torch.nn.init.normal_(other.head.linear.weight, std=0.1)
    graphs = {"model": export.to_onnx(other), "walk": export.to_walk(other)}
    graphs[spoilt] = {"model": model, "walk": walk}[spoilt]

    with pytest.raises(BundleError, match="graph and PyTorch differ by"):
        export.check_parity(graphs["model"], graphs["walk"], other)


def test_a_graph_with_another_recurrent_operator_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network = fresh("lstm")
    # Two passes of the layer, as an exporter that unrolls or doubles it would give.
    layer = network.layer.forward
    monkeypatch.setattr(network.layer, "forward", lambda features: (layer(features)[0] + layer(features * 2)[0], None))

    with pytest.raises(BundleError, match="recurrent operators are"):
        export.to_onnx(network)


def test_nothing_in_the_graph_rounds_differently_at_the_end_of_a_buffer(model: bytes) -> None:
    operators = {node.op_type for node in onnx.load_from_string(model).graph.node}

    assert not operators & {"Exp", "Log", "Softplus", "Tanh", "Sigmoid", "Erf", "Pow", "Softmax", "ReduceSum"}


def test_golden_samples_hold_what_pytorch_answers(network: Forecasting, model: bytes) -> None:
    golden = export.golden_samples(network)
    session = open_session(model, device="cpu")

    closes, lengths = Ragged.of(golden.closes).padded(np.arange(len(golden.closes)))
    answered = session.run(None, {"closes": closes, "lengths": lengths})[0]

    assert lengths.min() == network.min_days
    assert np.allclose(answered, np.array(golden.quantiles), rtol=1e-5)
