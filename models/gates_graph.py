"""
`explain.onnx`: the weights of a bundle's graph in one that tells what the network kept, added and showed. Needs torch.

The operator of the recurrent layer is the one of `model.onnx`, so its hidden states are those that forecast. It gives
neither gates nor the cell of each step; the gates are computed again from them, all days at once, and the cell by a
Scan.
"""

from typing import Final

import numpy as np
import onnx
import onnx.parser
import torch
from onnx import GraphProto, ModelProto, NodeProto, helper
from torch import Tensor, nn

from models import export
from models.errors import BundleError
from models.execution import open_session
from models.gates import OUTPUTS
from models.networks import HIDDEN, Forecasting, Recurrent
from models.ragged import Floats, Ragged

TOLERANCE: Final = 1e-5
"""Greatest difference between the graph's numbers and those of the equations in PyTorch."""
_ROUNDS, _LONGEST_DAYS = 6, 1000

_GATES: Final = """
shift = Constant <value_ints: ints = [1, 0, 0, -1, 0, 0]> ()
before = Pad (states, shift)
zero = Constant <value_ints: ints = [0]> ()
of_features = Squeeze (W, zero)
of_states = Squeeze (R, zero)
columns_of_features = Transpose <perm: ints = [1, 0]> (of_features)
columns_of_states = Transpose <perm: ints = [1, 0]> (of_states)
biases = Squeeze (biases_twice, zero)
of_input, of_recurrence = Split <axis: int = 0> (biases)
bias = Add (of_input, of_recurrence)
from_features = MatMul (features, columns_of_features)
from_states = MatMul (before, columns_of_states)
from_both = Add (from_features, from_states)
raw = Add (from_both, bias)
raw_input, raw_output, raw_forget, raw_candidate = Split <axis: int = 2> (raw)
forget_gate_days = Sigmoid (raw_forget)
input_gate_days = Sigmoid (raw_input)
candidate_days = Tanh (raw_candidate)
output_gate_days = Sigmoid (raw_output)
added = Mul (input_gate_days, candidate_days)
state_shape = Shape <start: int = 1> (states)
nothing = ConstantOfShape (state_shape)
last, cell_days = Scan <num_scan_inputs: int = 2, body: graph = step (
    float[batch, units] cell_before, float[batch, units] forget, float[batch, units] add
) => (float[batch, units] cell_after, float[batch, units] cell_seen) {
    kept = Mul (forget, cell_before)
    cell_after = Add (kept, add)
    cell_seen = Identity (cell_after)
}> (nothing, forget_gate_days, added)
"""
"""Gates in ONNX's order: input, output, forget, candidate."""
_INSIDE: Final = """
axis = Constant <value_ints: ints = [1]> ()
lengths_column = Unsqueeze (lengths, axis)
first = Constant <value_int: int = 1> ()
days = Shape <start: int = 0, end: int = 1> (states)
no_axis = Constant <value_ints: ints = [0]> ()
day_count = Squeeze (days, no_axis)
after_last = Add (day_count, first)
places = Range (first, after_last, first)
inside = Less (places, lengths_column)
last_axis = Constant <value_ints: ints = [2]> ()
shown = Unsqueeze (inside, last_axis)
padding = Constant <value_float: float = 0.0> ()
"""
"""Which days are real; the features' first day is the closes' second."""
_SHOWN: Final = """
{name}_rows = Transpose <perm: ints = [1, 0, 2]> ({name}_days)
{name} = Where (shown, {name}_rows, padding)
"""


class _Layer(nn.Module):
    """What the recurrent layer of a network reads and gives, each day but the first."""

    def __init__(self, network: Recurrent) -> None:
        super().__init__()
        self.network = network

    def forward(self, closes: Tensor) -> tuple[Tensor, Tensor]:
        """Closes, ``(B, T)``, to features, ``(T - 1, B, F)``, and hidden states, ``(T - 1, B, H)``."""
        features, _, _ = self.network.front(closes)
        states, _ = self.network.layer(features)
        return features, states


def to_explain(network: Forecasting) -> bytes | None:
    """
    The graph of what a network kept, added and showed, checked; the same bytes for the same weights.

    Returns:
        None for an MLP, which has no memory.

    Raises:
        BundleError: It does not answer as the equations do in PyTorch.
    """
    if not isinstance(network, Recurrent):
        return None
    axes = {"closes": {0: "batch", 1: "time"}, "features": {1: "batch"}, "states": {1: "batch"}}
    model = export.traced(_Layer(network), (torch.ones(2, export.LONGEST_DAYS // 20),), axes, network)
    _tell(model)
    graph = bytes(model.SerializeToString(deterministic=True))
    check(graph, network)
    return graph


def _tell(model: ModelProto) -> None:
    """Put what tells behind a graph that gives features and hidden states."""
    graph, told = model.graph, OUTPUTS["lstm"]
    layer = next(node for node in graph.node if node.op_type in ("LSTM", "RNN") and _units(graph, node) == HIDDEN)
    if layer.op_type == "RNN":
        told = OUTPUTS["rnn"]
    text = (_GATES if layer.op_type == "LSTM" else "") + "hidden_days = Identity (states)\n" + _INSIDE
    text += "".join(_SHOWN.format(name=name) for name in told)
    tail = onnx.parser.parse_graph(f"tail (float[n] states) => (float[n] hidden) {{{text}}}")
    weights = dict(zip(("W", "R", "biases_twice"), layer.input[1:4], strict=True))
    for node in tail.node:
        node.input[:] = [weights.get(name, name) for name in node.input]
    graph.node.extend(tail.node)
    graph.input.append(helper.make_tensor_value_info("lengths", onnx.TensorProto.INT64, ["batch"]))
    del graph.output[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", "days", HIDDEN]) for name in told
    )
    onnx.checker.check_model(model, full_check=True)


def _units(graph: GraphProto, node: NodeProto) -> int:
    return int(next(each.dims[2] for each in graph.initializer if each.name == node.input[2]))


def check(graph: bytes, network: Recurrent) -> float:
    """
    The greatest difference between a graph and the equations, over ragged batches of random shape.

    Raises:
        BundleError: It is more than `TOLERANCE`.
    """
    session, rng, worst = open_session(graph, device="cpu"), np.random.default_rng(2), 0.0
    names = [put.name for put in session.get_outputs()]
    for longest in np.geomspace(network.min_days, _LONGEST_DAYS, _ROUNDS).astype(int).tolist():
        rows = [export.walk_of_prices(rng, int(days)) for days in rng.integers(network.min_days, longest + 1, 3)]
        closes, lengths = Ragged.of(rows).padded(np.arange(len(rows)))
        told = session.run(names, {"closes": closes, "lengths": lengths})
        for row, one in enumerate(rows):
            wanted = stepped(network, one)
            off = [
                np.abs(each[row, : len(one) - 1] - wanted[name]).max() for name, each in zip(names, told, strict=True)
            ]
            worst = max(worst, *map(float, off))
    if not worst <= TOLERANCE:
        raise BundleError(path="to be", reason=f"gates and PyTorch differ by {worst:.2g}, over {TOLERANCE:g}")
    return worst


def stepped(network: Recurrent, closes: Floats) -> dict[str, Floats]:
    """
    What a network kept, added and showed, day by day by the equations.

    Args:
        network: Whose weights they are.
        closes: In quote currency, oldest first. Shape ``(T,)``.

    Returns:
        By the names of `models.gates.OUTPUTS`. Shapes ``(T - 1, H)``.
    """
    weights, is_lstm = network.layer.state_dict(), isinstance(network.layer, nn.LSTM)
    with torch.no_grad():
        features, _, _ = network.front(torch.from_numpy(closes)[None])
        hidden, cell, days = torch.zeros(HIDDEN), torch.zeros(HIDDEN), []
        for seen in features[:, 0]:
            raw = weights["weight_ih_l0"] @ seen + weights["bias_ih_l0"]
            raw = raw + weights["weight_hh_l0"] @ hidden + weights["bias_hh_l0"]
            if not is_lstm:
                hidden = torch.tanh(raw)
                days.append({"hidden": hidden})
                continue
            take, keep, new, show = torch.split(raw, HIDDEN)
            forget, add, new, show = torch.sigmoid(keep), torch.sigmoid(take), torch.tanh(new), torch.sigmoid(show)
            cell = forget * cell + add * new
            hidden = show * torch.tanh(cell)
            days.append(dict(zip(OUTPUTS["lstm"], (forget, add, new, show, cell, hidden), strict=True)))
    return {name: torch.stack([day[name] for day in days]).numpy() for name in days[0]}
