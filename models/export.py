"""torch to ONNX: the whole forecaster as one graph, held against PyTorch on ragged batches. Needs torch."""

import importlib.metadata
import io
import platform
import warnings
from collections import Counter

import numpy as np
import onnx
import torch
from onnx import ModelProto, numpy_helper

from models import walk as walk_of
from models.bundle import Golden, Tensor
from models.errors import BundleError
from models.execution import open_session
from models.measures import LEVELS
from models.networks import Forecasting, Walk
from models.ragged import Floats, Ints, Ragged

OPSET = 17
PARITY = 1e-5
"""Greatest relative difference between the graph's quantiles and PyTorch's."""
LONGEST_DAYS = 2500

INPUTS = [
    Tensor("closes", "float32", ["batch", "time"], "quote currency"),
    Tensor("lengths", "int64", ["batch"], "days"),
]
OUTPUTS = [Tensor("quantiles", "float32", ["batch", len(LEVELS)], "quote currency")]

_RECURRENT = {"LSTM", "RNN", "GRU", "Loop", "Scan"}
_BROADCASTING = {"Add", "Sub", "Mul", "Div", "Equal", "Max", "Min"}
_INITIAL_STATES = {"LSTM": (5, 6), "RNN": (5,)}
_ROUNDS, _ROWS = 12, 16


def to_onnx(network: Forecasting) -> bytes:
    """
    The graph of a network, the same bytes for the same weights.

    Raises:
        BundleError: It holds other recurrent operators than one for the averages and one for each recurrent layer.
    """
    closes = torch.ones(2, LONGEST_DAYS // 20)
    lengths = torch.tensor([closes.shape[1], network.min_days])
    axes = {"closes": {0: "batch", 1: "time"}, "lengths": {0: "batch"}, "quantiles": {0: "batch"}}
    model = traced(network, (closes, lengths), axes, network)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = len(LEVELS)  # the exporter loses it at times
    return bytes(model.SerializeToString(deterministic=True))


def to_walk(network: Forecasting) -> bytes:
    """The graph of `models.networks.Walk`; the same bytes for the same weights, errors as for `to_onnx`."""
    closes = torch.ones(2, LONGEST_DAYS // 20)
    axes = {"closes": {0: "batch", 1: "time"}, "quantiles": {0: "batch", 1: "days"}}
    if network.window_days is None:
        state = torch.zeros(2, network.state_size)
        axes = {"closes": axes["closes"], "state": {0: "batch"}, "quantiles": axes["quantiles"], "after": {0: "batch"}}
        model = _exported(Walk(network), (closes, state), axes)
    else:
        model = _exported(Walk(network), (closes,), axes)
    _widen_constants(model)
    _check_operators(model.graph, network)
    return bytes(model.SerializeToString(deterministic=True))


def traced(
    module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], axes: dict[str, dict[int, str]], network: Forecasting
) -> ModelProto:
    """
    The graph of a module that reads whole series.

    Args:
        module: Which.
        inputs: That show it what its inputs are.
        axes: By the name of an input, and then of an output, its dimensions that are dynamic.
        network: Whose layers the module has.

    Raises:
        BundleError: As for `to_onnx`.
    """
    model = _exported(module, inputs, axes)
    _drop_initial_states(model.graph)
    _widen_constants(model)
    _check_operators(model.graph, network)
    return model


def _exported(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], axes: dict[str, dict[int, str]]) -> ModelProto:
    file, names = io.BytesIO(), list(axes)
    with warnings.catch_warnings():
        # The tracing exporter is deprecated and warns of a fixed batch; the parity check below proves that neither
        # matters here. The other one fixes the time axis at times, and takes a minute.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            module.eval(),
            inputs,
            file,  # type: ignore[arg-type]  # the tracing exporter takes any file
            dynamo=False,
            opset_version=OPSET,
            input_names=names[: len(inputs)],
            output_names=names[len(inputs) :],
            dynamic_axes=axes,
        )
    return onnx.load_from_string(file.getvalue())


def check_parity(model: bytes, walk: bytes, network: Forecasting) -> float:
    """
    The greatest relative difference between the graphs and PyTorch, over ragged batches of random shape.

    Raises:
        BundleError: It is more than `PARITY`.
    """
    session, every_day = open_session(model, device="cpu"), walk_of.Walk(walk, network.min_days)
    rng, worst = np.random.default_rng(0), 0.0
    for longest in np.geomspace(network.min_days, LONGEST_DAYS, _ROUNDS).astype(int).tolist():
        count = int(rng.integers(1, _ROWS))
        rows = [walk_of_prices(rng, int(days)) for days in rng.integers(network.min_days, longest + 1, count)]
        closes, lengths = Ragged.of(rows).padded(np.arange(count))
        wanted = torch_quantiles(network, closes, lengths)
        answered = session.run(["quantiles"], {"closes": closes, "lengths": lengths})[0]
        walked = [every_day.ratios(row[None])[0, -1] * row[-1] for row in rows]
        worst = max(worst, *(float(np.max(np.abs(each / wanted - 1))) for each in (answered, np.stack(walked))))
    if not worst <= PARITY:
        raise BundleError(path="to be", reason=f"graph and PyTorch differ by {worst:.2g} relatively, over {PARITY:g}")
    return worst


def golden_samples(network: Forecasting) -> Golden:
    """Rows from the fewest closes to a thousand, one that never moves and one that halves, with PyTorch's answers."""
    rng = np.random.default_rng(1)
    rows = [walk_of_prices(rng, days) for days in (network.min_days, 60, 250, 1000)]
    still, halved = np.full(90, 12.5), walk_of_prices(rng, 90)
    halved[45:] /= 2
    rounded = [np.round(row, 3) for row in (*rows, still, halved)]
    batches = [Ragged.of([row]).padded(np.array([0])) for row in rounded]
    quantiles = [torch_quantiles(network, *batch)[0].tolist() for batch in batches]
    return Golden([row.tolist() for row in rounded], quantiles)


def walk_of_prices(rng: np.random.Generator, days: int) -> Floats:
    """A random walk around 100, with fat tails, of a volatility between 0.3 and 6 % a day."""
    moves = rng.standard_t(4, days) * rng.uniform(0.003, 0.06)
    return (100 * np.exp(np.cumsum(np.clip(moves, -0.5, 0.5)) / (1 + days / 250))).astype(np.float32)


def torch_quantiles(network: Forecasting, closes: Floats, lengths: Ints) -> Floats:
    """What PyTorch answers; shapes as in `models.networks.Recurrent.forward`."""
    with torch.no_grad():
        answered: Floats = network.eval()(torch.from_numpy(closes), torch.from_numpy(lengths)).numpy()
    return answered


def packages() -> dict[str, str]:
    """Versions of what trains and exports."""
    names = ("torch", "onnx", "onnxruntime", "numpy", "pyarrow")
    return {"python": platform.python_version()} | {name: importlib.metadata.version(name) for name in names}


def _drop_initial_states(graph: onnx.GraphProto) -> None:
    """Let recurrent operators start from their default, zero, and drop the nodes that made zeros for them."""
    for node in graph.node:
        for place in _INITIAL_STATES.get(node.op_type, ()):
            node.input[place] = ""
    _drop_unused(graph)


def _drop_unused(graph: onnx.GraphProto) -> None:
    while unused := [node for node in graph.node if not _needed(graph).intersection(node.output)]:
        for node in unused:
            graph.node.remove(node)


def _widen_constants(model: ModelProto) -> None:
    """
    Give each number that meets a tensor of N dimensions N dimensions itself.

    Where a tensor's last dimension is 1, as that of a batch of one row is, onnxruntime takes its elements one at a time
    against a number of no dimension, and all in one against a number of as many.
    """
    inferred = onnx.shape_inference.infer_shapes(model).graph
    ranks = {info.name: len(info.type.tensor_type.shape.dim) for info in (*inferred.value_info, *inferred.input)}
    numbers = {node.output[0]: node.attribute[0].t for node in model.graph.node if node.op_type == "Constant"}
    wide: dict[str, onnx.TensorProto] = {}
    for node in model.graph.node:
        dimensions = max((ranks.get(name, 0) for name in node.input), default=0)
        for place, name in enumerate(node.input):
            if node.op_type in _BROADCASTING and name in numbers and not numbers[name].dims and dimensions:
                node.input[place] = f"{name}_{dimensions}"
                value = numpy_helper.to_array(numbers[name]).reshape([1] * dimensions)
                wide[node.input[place]] = numpy_helper.from_array(value, node.input[place])
    model.graph.initializer.extend(wide.values())
    _drop_unused(model.graph)


def _needed(graph: onnx.GraphProto) -> set[str]:
    return {name for node in graph.node for name in node.input} | {output.name for output in graph.output}


def _check_operators(graph: onnx.GraphProto, network: Forecasting) -> None:
    layer = [type(network.layer).__name__] if hasattr(network, "layer") else []
    wanted, found = Counter(["RNN", *layer]), Counter(node.op_type for node in graph.node)
    if (recurrent := Counter({name: found[name] for name in _RECURRENT & set(found)})) != wanted:
        raise BundleError(path="to be", reason=f"recurrent operators are {dict(recurrent)}, not {dict(wanted)}")
