"""Requests of the protocol: the JSON at the front of a body, typed, and what its parameters ask for."""

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar

import msgspec

from service.errors import InvalidInference, NotOffered
from worker.requests import InvalidJson

LENGTH_HEADER = "Inference-Header-Content-Length"
SEQUENCES = ("sequence_id", "sequence_start", "sequence_end")
SHARED_MEMORY = "shared_memory_region"
MAX_COLONS = 100_000
"""Colons in the JSON, of which each key has one, beyond which it is not looked through for what is wrong."""
LONGEST_AXIS = 10**12
"""Far beyond what any limit lets in; so the sizes of shapes stay numbers that can be written down."""

Parameters = dict[str, Any]
Kind = TypeVar("Kind", bound=msgspec.Struct)


class InferenceInput(msgspec.Struct):
    """One tensor in: its `data` as JSON, or `parameters.binary_data_size` bytes behind the JSON."""

    name: str
    shape: list[Annotated[int, msgspec.Meta(ge=0, le=LONGEST_AXIS)]]
    datatype: str
    parameters: Parameters | None = None
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class InferenceOutput(msgspec.Struct):
    """One tensor to answer, `parameters.binary_data` saying how."""

    name: str
    parameters: Parameters | None = None


class InferenceRequest(msgspec.Struct):
    """The JSON of an inference request; unknown fields and parameters are let pass, as the protocol has it."""

    inputs: list[InferenceInput]
    id: str | None = None
    parameters: Parameters | None = None
    outputs: list[InferenceOutput] | None = None


class IndexRequest(msgspec.Struct):
    """The body of `POST /v2/repository/index`, if there is one."""

    ready: bool = False


class LoadRequest(msgspec.Struct):
    """The body of `POST /v2/repository/models/{name}/load`, if there is one."""

    parameters: Parameters | None = None


_INFERENCE = msgspec.json.Decoder(InferenceRequest)
_INDEX = msgspec.json.Decoder(IndexRequest)
_LOAD = msgspec.json.Decoder(LoadRequest)


def header_length(given: str | None) -> int | None:
    """
    How many bytes of the body, unpacked, are JSON, by its header; None where all of them are.

    Raises:
        InvalidInference: The header is not a whole number.
    """
    if given is None:
        return None
    if not (given.isascii() and given.isdecimal() and len(given) < 12):
        raise InvalidInference(f"{LENGTH_HEADER} is {given[:60]!r}; it is the length of the JSON in bytes")
    return int(given)


def read_inference_request(header: bytes) -> InferenceRequest:
    """
    The JSON of an inference request.

    Raises:
        InvalidJson: It is not JSON, or has a key twice in one object.
        InvalidInference: It is not an inference request.
        NotOffered: It asks for sequences.
    """
    asked = _decode(_INFERENCE, header)
    if _may_have_double_keys(header, asked):
        _check_json(header)
    parameters = asked.parameters or {}
    for name in SEQUENCES:
        if parameters.get(name):
            raise NotOffered(f"the parameter {name} is not offered yet; a request holds each row's whole history")
    return asked


def read_index_request(body: bytes) -> IndexRequest:
    """What a request for the index asks for; errors as for `read_inference_request`."""
    return _decode(_INDEX, body) if body else IndexRequest()


def read_load_request(body: bytes) -> LoadRequest:
    """
    What a request to load a model asks for.

    Raises:
        NotOffered: It brings a configuration or files along.
    """
    asked = _decode(_LOAD, body) if body else LoadRequest()
    if brought := [name for name in asked.parameters or {} if name == "config" or name.startswith("file:")]:
        raise NotOffered(
            f"loading a model with {shown(brought[0])} is not offered; the model's own card is what counts"
        )
    return asked


def read_unload_request(body: bytes) -> LoadRequest:
    """What a request to unload a model asks for; no parameter of it has an effect. Errors as for the index."""
    return _decode(_LOAD, body) if body else LoadRequest()


def wants_binary(asked: InferenceRequest, output: InferenceOutput) -> bool:
    """
    Whether an output is to be answered as bytes.

    Raises:
        InvalidInference: What says so is neither true nor false.
        NotOffered: It is to be classified, or put into shared memory.
    """
    own = output.parameters or {}
    refuse_shared_memory(own)
    if own.get("classification"):
        raise NotOffered("classification is not offered; the outputs are prices")
    wanted = _truth(asked.parameters or {}, "binary_data_output", default=False)
    return _truth(own, "binary_data", default=wanted)


def _truth(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    given = parameters.get(name, default)
    if not isinstance(given, bool):
        raise InvalidInference(f"the parameter {name} is true or false")
    return given


def refuse_shared_memory(parameters: Mapping[str, Any]) -> None:
    """Raise `NotOffered` where a tensor is to be in shared memory."""
    if SHARED_MEMORY in parameters:
        raise NotOffered("shared memory is not offered; send tensors in the body")


def shown(name: str) -> str:
    """A name of the caller's, short and printable."""
    return ascii(name[:60])


def _decode(decoder: msgspec.json.Decoder[Kind], header: bytes) -> Kind:
    if (keys := header.count(b":")) > MAX_COLONS:
        raise InvalidInference(f"the JSON has about {keys} keys, of which at most {MAX_COLONS} are taken")
    try:
        return decoder.decode(header)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _check_json(header)
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidInference(f"the request cannot be read: {reason[:200].replace('`$.', '`')}") from None


def _may_have_double_keys(header: bytes, asked: InferenceRequest) -> bool:
    """
    Whether some key of ours may be there twice, which the typed decoder lets pass.

    Says yes too often, where a value looks like a key or has a backslash; a thorough look then knows.
    """
    tensors = len(asked.inputs) + len(asked.outputs or ())
    most = {b'"inputs"': 1, b'"outputs"': 1, b'"id"': 1, b'"name"': tensors, b'"parameters"': tensors + 1}
    most |= dict.fromkeys((b'"shape"', b'"datatype"', b'"data"', b'"binary_data_size"'), len(asked.inputs))
    return b"\\" in header or any(header.count(key) > number for key, number in most.items())


def _check_json(body: bytes) -> None:
    """Raise `InvalidJson` where a body is not JSON, and say what is wrong."""
    try:
        _PARSER.decode(body.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise InvalidJson(reason=f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(reason=f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise InvalidJson(reason="it is nested too deeply") from None


def _refuse_constant(name: str) -> None:
    raise InvalidJson(
        reason=f"it has {name}, which JSON does not have; a close is a positive, finite number, and what lies behind "
        "a row's length may be any"
    )


def _unique(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    unique: dict[str, Any] = {}
    for key, value in pairs:
        if key in unique:
            raise InvalidJson(reason=f"the key {shown(key)} is there twice in one object")
        unique[key] = value
    return unique


# Numbers stay text: Python refuses to read integers of thousands of digits, and none is needed here.
_PARSER = json.JSONDecoder(parse_constant=_refuse_constant, parse_int=str, parse_float=str, object_pairs_hook=_unique)
