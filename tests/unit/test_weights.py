"""Numbers that are none are found in a graph wherever they lie."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from models.weights import not_finite
from tests.versions import SHIPPED

FINE = helper.make_tensor("fine", TensorProto.FLOAT, [2], [1.0, -2.5])


def graph_of(*tensors: onnx.TensorProto, nodes: tuple[onnx.NodeProto, ...] = ()) -> bytes:
    graph = helper.make_graph([*nodes], "g", [], [], initializer=[*tensors])
    return helper.make_model(graph).SerializeToString()


def raw(name: str, kind: int, value: np.ndarray) -> onnx.TensorProto:
    return helper.make_tensor(name, kind, value.shape, value.tobytes(), raw=True)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.DOUBLE])
def test_a_weight_that_is_no_number_is_found_in_either_layout(kind: int, bad: float) -> None:
    typed = helper.make_tensor("typed", kind, [3], [1.0, bad, 2.0])
    packed = raw("packed", kind, np.array([1.0, bad], helper.tensor_dtype_to_np_dtype(kind)))

    assert not_finite(graph_of(FINE, typed, packed)) == ["typed", "packed"]


def test_a_half_precision_weight_is_looked_at_too() -> None:
    assert not_finite(graph_of(raw("half", TensorProto.FLOAT16, np.array([np.nan], np.float16)))) == ["half"]


def test_constants_and_what_lies_in_inner_graphs_are_looked_at() -> None:
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("c", TensorProto.FLOAT, [1], [np.nan]))
    inner = helper.make_graph([constant], "inner", [], [])
    branch = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=helper.make_graph([], "e", [], []))

    assert not_finite(graph_of(FINE, nodes=(constant, branch))) == ["c", "c"]


def test_whole_numbers_with_the_bits_of_a_nan_are_none() -> None:
    bits = raw("bits", TensorProto.INT64, np.array([0x7FF8_0000_0000_0000, -1]))

    assert not_finite(graph_of(bits)) == []


def test_what_ships_has_numbers_alone() -> None:
    graphs = {str(path): path.read_bytes() for path in SHIPPED.glob("*/*/*.onnx")}

    assert len(graphs) == 14  # two versions of three networks; explain.onnx of two
    assert not [path for path, graph in graphs.items() if not_finite(graph)]


@pytest.mark.parametrize("garbage", [b"not a graph", b"\x3a\xff\xff\xff\xff\x0f", b"\x08", b"\xff" * 12, b"\x3a\x05ab"])
def test_bytes_that_are_no_graph_are_refused(garbage: bytes) -> None:
    with pytest.raises(ValueError, match=r"a field of|a number without"):
        not_finite(garbage)
