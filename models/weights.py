"""
The numbers inside an ONNX file, read without the onnx package, which what serves does without.

onnxruntime's recurrent operators turn a NaN into finite, wrong forecasts, so the file itself is asked for one.
The field numbers are those of ONNX's ``onnx.proto``, the encoding that of protobuf's wire format.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

_VARINT, _FIXED64, _SIZED, _FIXED32 = 0, 1, 2, 5
_INSIDE: Final[dict[str, dict[int, str]]] = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor", 15: "sparse tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
    "sparse tensor": {1: "tensor"},
}
"""By kind of message, which fields lead to tensors, and the kind of message that each holds."""
_DATA_TYPE, _FLOATS, _NAME, _RAW, _DOUBLES = 2, 4, 8, 9, 10
_RAW_TYPES: Final[dict[int, npt.DTypeLike]] = {1: "<f4", 10: "<f2", 11: "<f8"}


def not_finite(model: bytes) -> list[str]:
    """
    Names of the tensors of a model, weights and constants, that hold a NaN or an infinity.

    Args:
        model: The bytes of a graph.

    Raises:
        ValueError: They are no ONNX file.
    """
    return [_name(tensor) for tensor in _tensors("model", memoryview(model)) if not _is_finite(tensor)]


def _tensors(kind: str, message: memoryview) -> Iterator[memoryview]:
    """The tensors in a message, at whatever depth."""
    if kind == "tensor":
        yield message
        return
    for field, value in _fields(message):
        if field in _INSIDE[kind] and isinstance(value, memoryview):
            yield from _tensors(_INSIDE[kind][field], value)


def _is_finite(tensor: memoryview) -> bool:
    data_type, parts = 0, dict.fromkeys((_FLOATS, _DOUBLES, _RAW), b"")
    for field, value in _fields(tensor):
        if isinstance(value, memoryview):
            if field in parts:
                parts[field] += value
        elif field == _DATA_TYPE:
            data_type = value
    arrays = [np.frombuffer(parts[_FLOATS], "<f4"), np.frombuffer(parts[_DOUBLES], "<f8")]
    if data_type in _RAW_TYPES:
        arrays.append(np.frombuffer(parts[_RAW], _RAW_TYPES[data_type]))
    return all(bool(np.isfinite(array).all()) for array in arrays)


def _name(tensor: memoryview) -> str:
    names = [bytes(value) for field, value in _fields(tensor) if field == _NAME and isinstance(value, memoryview)]
    return names[-1].decode(errors="replace") if names else "a constant"


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of each field of a message: a varint as a number, all else as its bytes."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _SIZED:
            size, at = _varint(message, at)
        else:
            size = {_FIXED32: 4, _FIXED64: 8}.get(kind, -1)
        if not 0 <= size <= len(message) - at:
            raise ValueError(f"a field of kind {kind} and {size} bytes at byte {at} of {len(message)}")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    number = shift = 0
    while at < len(message) and shift < 64:
        byte = message[at]
        number |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
        if byte < 128:
            return number, at
    raise ValueError(f"a number without an end at byte {at}")
