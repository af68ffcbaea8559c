"""Tensors in and out of bodies: JSON, nested or flat, or raw bytes behind the JSON; little-endian and row-major."""

import math
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from models.bundle import Tensor
from models.ragged import Ints, Ragged
from service.errors import InvalidInference
from service.oip.requests import LENGTH_HEADER, InferenceInput, refuse_shared_memory, shown

DATATYPES = {"float32": "FP32", "int64": "INT64"}
"""What the protocol calls the datatypes of cards."""
DTYPES: dict[str, npt.DTypeLike] = {"FP32": "<f4", "INT64": "<i8"}
READ_AS: dict[str, npt.DTypeLike] = {"FP32": np.float64, "INT64": np.int64}
"""What JSON numbers become: a close keeps its digits until it has been checked and rounded once."""

_NUMBERS: dict[str, msgspec.json.Decoder[Any]] = {
    "FP32": msgspec.json.Decoder(list[float | list[float]]),
    "INT64": msgspec.json.Decoder(list[int | list[int]]),
}

Array = npt.NDArray[Any]


def read_tensors(inputs: Sequence[InferenceInput], wanted: Sequence[Tensor], binary: memoryview) -> dict[str, Array]:
    """
    The inputs of a request by name; those sent as bytes are views into the body.

    Args:
        inputs: As the request's JSON has them.
        wanted: The model's inputs, of its card.
        binary: What lies behind the JSON.

    Raises:
        InvalidInference: An input is missing, unknown or there twice; it is of another datatype, shape or size than it
            should be; or there are bytes too few or too many.
        NotOffered: One of them is in shared memory.
    """
    known = {tensor.name: tensor for tensor in wanted}
    tensors: dict[str, Array] = {}
    used = 0
    for each in inputs:
        _check(each, known, tensors)
        parameters = each.parameters or {}
        if "binary_data_size" in parameters:
            tensors[each.name], used = _read_bytes(each, parameters["binary_data_size"], binary, used)
        else:
            tensors[each.name] = _read_json(each)
    if missing := [name for name in known if name not in tensors]:
        raise InvalidInference(f"the input {missing[0]!r} is missing; this model takes {', '.join(known)}")
    if used < len(binary):
        raise InvalidInference(
            f"{len(binary)} bytes lie behind the JSON and the inputs take {used}; {len(binary) - used} are left over"
        )
    return tensors


def ragged(closes: Array, lengths: Ints) -> Ragged:
    """
    Padded rows as ragged ones; whether each can be forecast is for the forecaster to say.

    Args:
        closes: In quote currency, oldest first, right-padded with anything. Shape ``(B, T)``.
        lengths: Days that are real in each row. Shape ``(B,)``.

    Raises:
        InvalidInference: The two disagree about B, or a length lies outside the array.
    """
    B, T = closes.shape
    if len(lengths) != B:
        raise InvalidInference(f"closes has {B} rows and lengths has {len(lengths)}; each row has its length")
    outside = np.flatnonzero((lengths < 0) | (lengths > T))
    if outside.size:
        row = int(outside[0])
        more = f" (and {outside.size - 1} more)" if outside.size > 1 else ""
        raise InvalidInference(f"length {row} is {lengths[row]}; the array of closes has {T} days a row{more}")
    offsets = np.zeros(B + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    values = closes.reshape(-1) if offsets[-1] == B * T else closes[np.arange(T) < lengths[:, None]]
    with np.errstate(invalid="ignore"):  # a signalling NaN; the forecaster refuses it by name
        return Ragged(values.astype(np.float64, copy=False), offsets)


def _check(given: InferenceInput, known: dict[str, Tensor], seen: dict[str, Array]) -> None:
    """Refuse an input that the model does not take, or not like this."""
    if given.name not in known:
        raise InvalidInference(f"there is no input {shown(given.name)}; this model takes {', '.join(known)}")
    if given.name in seen:
        raise InvalidInference(f"the input {given.name!r} is there twice")
    tensor = known[given.name]
    if given.datatype != DATATYPES[tensor.dtype]:
        raise InvalidInference(
            f"the input {given.name!r} is {shown(given.datatype)}; this model takes {DATATYPES[tensor.dtype]}"
        )
    if len(given.shape) != len(tensor.shape):
        axes = ", ".join(map(str, tensor.shape))
        raise InvalidInference(f"the input {given.name!r} has {len(given.shape)} dimensions; its shape is [{axes}]")
    refuse_shared_memory(given.parameters or {})


def _read_bytes(given: InferenceInput, size: Any, binary: memoryview, start: int) -> tuple[Array, int]:
    """A view of a tensor's bytes, and where they end."""
    dtype = np.dtype(DTYPES[given.datatype])
    count = math.prod(given.shape)
    if given.data is not msgspec.UNSET:
        raise InvalidInference(f"the input {given.name!r} has both data and binary_data_size; send one of them")
    if type(size) is not int or size != count * dtype.itemsize:
        told = size if type(size) is int and abs(size) < 10**18 else "no size"
        raise InvalidInference(
            f"the binary_data_size of the input {given.name!r} is {told}; {given.datatype} of shape {_shape(given)} has"
            f" {count * dtype.itemsize} bytes"
        )
    if size > len(binary) - start:
        raise InvalidInference(
            f"the input {given.name!r} has {size} bytes and {len(binary) - start} are left behind the JSON;"
            f" {LENGTH_HEADER} says where the JSON ends"
        )
    if not count:
        return np.empty(given.shape, dtype), start
    return np.frombuffer(binary, dtype, count, start).reshape(given.shape), start + size


def _read_json(given: InferenceInput) -> Array:
    """A tensor out of JSON numbers, flat or nested."""
    if given.data is msgspec.UNSET:
        raise InvalidInference(f"the input {given.name!r} has no data, and no binary_data_size either")
    try:
        numbers = _NUMBERS[given.datatype].decode(given.data)
    except msgspec.ValidationError as error:
        raise InvalidInference(f"the data of the input {given.name!r} cannot be read: {error}") from None
    try:
        found = np.array(numbers, READ_AS[given.datatype])
    except (ValueError, OverflowError):  # rows of different lengths; an integer beyond 64 bits
        found = None
    if found is None or found.shape not in (tuple(given.shape), (math.prod(given.shape),)):
        raise InvalidInference(
            f"the data of the input {given.name!r} is not {given.datatype} of shape {_shape(given)}: send"
            f" {math.prod(given.shape)} numbers, flat or nested in that shape"
        )
    return found.reshape(given.shape)


def _shape(given: InferenceInput) -> str:
    """A shape of the caller's, short."""
    return str(given.shape)[:60]
