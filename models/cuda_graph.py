"""
A bundle's graph as CUDA's provider runs all of it. Knows no torch; needs the package onnx, which the extra gpu brings.

The averages are units of an RNN with a ReLU that never acts, and onnxruntime leaves an RNN to the CPU unless its
activation is tanh: of a run of 4,096 series on a GPU that takes most. Here the same sums are products of matrices.
Within a block of L days each is a lower triangle of powers of its decay, ``y_t = sum over s <= t of d^(t - s) u_s``.
What came before the block fades by ``d^(t + 1)``, and is a triangle of powers of ``d^L`` over the blocks' last days.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
from onnx import GraphProto, NodeProto, numpy_helper

BLOCK_DAYS: Final = 64
"""L. Most of what serving runs is one block, or a few."""

Weights = dict[str, npt.NDArray[Any]]

_SUMS: Final = """
weighed = MatMul (inputs, columns)
by_unit = Transpose <perm: ints = [2, 0, 1]> (weighed)
days = Shape <start: int = 0, end: int = 1> (inputs)
rows = Shape <start: int = 1, end: int = 2> (inputs)
zero = Constant <value_ints: ints = [0]> ()
one = Constant <value_ints: ints = [1]> ()
two = Constant <value_ints: ints = [2]> ()
days_less = Neg (days)
days_missing = Mod (days_less, block_days)
padding = Concat <axis: int = 0> (zero, zero, zero, zero, days_missing, zero)
padded = Pad (by_unit, padding)
blocks_shape = Concat <axis: int = 0> (units, as_many, block_days, rows)
blocks = Reshape (padded, blocks_shape)
within = MatMul (powers, blocks)
last_day = Sub (block_days, one)
last_sums = Slice (within, last_day, block_days, two)
ends = Squeeze (last_sums, two)
block_count = Shape <start: int = 1, end: int = 2> (ends)
count = Squeeze (block_count, zero)
first = Constant <value_int: int = 0> ()
step = Constant <value_int: int = 1> ()
places = Range (first, count, step)
later = Unsqueeze (places, one)
earlier = Unsqueeze (places, zero)
is_before = Less (earlier, later)
apart = Sub (later, earlier)
between = Sub (apart, one)
blocks_between = Cast <to: int = 1> (between)
nothing = Constant <value_floats: floats = [0.0]> ()
crossed = Max (blocks_between, nothing)
faded_over = Pow (block_decays, crossed)
block_powers = Where (is_before, faded_over, nothing)
before = MatMul (block_powers, ends)
sums_before = Unsqueeze (before, two)
faded = Mul (fading, sums_before)
sums_by_block = Add (within, faded)
days_shape = Concat <axis: int = 0> (units, as_many, rows)
sums_padded = Reshape (sums_by_block, days_shape)
sums_by_unit = Slice (sums_padded, zero, days, one)
sums_by_day = Transpose <perm: ints = [1, 2, 0]> (sums_by_unit)
sums = Unsqueeze (sums_by_day, one)
"""
"""``inputs``, (T, B, F), to ``sums``, (T, 1, B, H), as the operator RNN takes and gives them."""


def for_cuda(model: bytes) -> bytes:
    """
    A graph of the same answers but for rounding, whose sums that fade are no RNN any more.

    Args:
        model: The verified bytes of a graph.
    """
    loaded = onnx.load_from_string(model)
    graph = loaded.graph
    weights = {each.name: numpy_helper.to_array(each) for each in graph.initializer}
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    nodes: list[NodeProto] = []
    for node in graph.node:
        nodes.extend(_sums(graph, node, weights) if _only_sums(node, weights, used) else [node])
    del graph.node[:]
    graph.node.extend(nodes)
    return bytes(loaded.SerializeToString(deterministic=True))


def _only_sums(node: NodeProto, weights: Weights, used: set[str]) -> bool:
    """Whether an operator is an RNN whose units are sums that fade, from nothing on, of what is not negative."""
    if node.op_type != "RNN" or not all(name in weights for name in node.input[1:3]):
        return False
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    taken, kept = (weights[name] for name in node.input[1:3])
    return (
        attributes.get("activations") == [b"Relu"]
        and len(taken) == 1  # not bidirectional
        and not any(node.input[3:])  # no bias, no lengths, no state to begin with
        and used.isdisjoint(node.output[1:])
        and bool((taken >= 0).all() and (kept >= 0).all())
        and bool((kept[0] == np.diag(np.diag(kept[0]))).all())
    )


def _sums(graph: GraphProto, node: NodeProto, weights: Weights) -> list[NodeProto]:
    """The operators in the place of such an RNN; their constants are put into the graph."""
    taken, decays = weights[node.input[1]][0], np.diag(weights[node.input[2]][0]).astype(np.float64)[:, None, None]
    days = np.arange(BLOCK_DAYS)
    apart = days[:, None] - days
    constants = {
        "columns": taken.T,
        "powers": np.where(apart >= 0, decays ** np.maximum(apart, 0), 0)[:, None].astype(np.float32),
        "fading": (decays ** (days[:, None] + 1))[:, None].astype(np.float32),
        "block_decays": (decays**BLOCK_DAYS).astype(np.float32),
        "block_days": np.array([BLOCK_DAYS]),
        "units": np.array([len(taken)]),
        "as_many": np.array([-1]),
    }
    named = {"inputs": node.input[0], "sums": node.output[0]}
    graph.initializer.extend(
        numpy_helper.from_array(np.ascontiguousarray(value), f"{node.name}/{name}") for name, value in constants.items()
    )
    operators = list(onnx.parser.parse_graph(f"sums (float[n] inputs) => (float[n] sums) {{{_SUMS}}}").node)
    for each in operators:
        each.input[:] = [named.get(name, f"{node.name}/{name}") for name in each.input]
        each.output[:] = [named.get(name, f"{node.name}/{name}") for name in each.output]
    return operators
