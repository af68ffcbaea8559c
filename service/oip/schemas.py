"""The shapes of the protocol, as `/openapi.json` documents them: answers, and what is taken, as strictly as it is."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from service.schemas import VERSION, Count, Name, Price, Version

Datatype = Literal["FP32", "INT64"]
Shape = Annotated[list[Annotated[int, Meta(ge=-1)]], Meta(min_length=1, max_length=2)]
VersionText = Annotated[str, Meta(pattern=f"^{VERSION}$")]


class ClosesTensor(msgspec.Struct, tag_field="name", tag="closes"):
    """
    Closes of B series, oldest first, right-padded with any numbers. Shape `[B, T]`.

    `data` is flat or nested. In place of it `parameters.binary_data_size` says how many bytes lie behind the JSON.
    """

    datatype: Literal["FP32"]
    shape: Annotated[list[Version], Meta(min_length=2, max_length=2)]
    data: Annotated[list[float | list[float]], Meta(min_length=1)]
    parameters: dict[str, Any] | None = None


class LengthsTensor(msgspec.Struct, tag_field="name", tag="lengths"):
    """How many closes of each row are real. Shape `[B]`; `data` as for closes."""

    datatype: Literal["INT64"]
    shape: Annotated[list[Version], Meta(min_length=1, max_length=1)]
    data: Annotated[list[Annotated[int, Meta(ge=2)]], Meta(min_length=1)]
    parameters: dict[str, Any] | None = None


class QuantilesParameters(msgspec.Struct):
    """Whether the output is answered as bytes; in its absence the request's `binary_data_output` says so."""

    binary_data: bool = False


class QuantilesWanted(msgspec.Struct):
    """The one output that there is."""

    name: Literal["quantiles"]
    parameters: QuantilesParameters | None = None


class InferenceParameters(msgspec.Struct):
    """Whether outputs are answered as bytes behind the JSON. What is unknown has no effect; sequences are refused."""

    binary_data_output: bool = False


class InferenceBody(msgspec.Struct):
    """
    An inference request: both inputs, in any order. Fields that nobody knows are let pass, as the protocol has it.

    Bytes of tensors lie behind the JSON in the order of the inputs, little-endian and row-major.
    """

    inputs: Annotated[list[ClosesTensor | LengthsTensor], Meta(min_length=2, max_length=2)]
    id: str | None = None
    parameters: InferenceParameters | None = None
    outputs: Annotated[list[QuantilesWanted], Meta(max_length=1)] | None = None


class Live(msgspec.Struct, forbid_unknown_fields=True):
    """The process is up, as the Open Inference Protocol says it."""

    live: Annotated[bool, Meta(extra_json_schema={"const": True})]


class Ready(msgspec.Struct, forbid_unknown_fields=True):
    """The service can forecast, as the Open Inference Protocol says it."""

    ready: bool


class ModelReady(msgspec.Struct, forbid_unknown_fields=True):
    """A model can forecast."""

    name: Name
    ready: bool


class ServerMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """The service, and the extensions of the protocol that it offers in full."""

    name: Name
    version: Name
    extensions: list[Name]


class TensorMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor that a model takes or gives; -1 is a dimension that varies."""

    name: Name
    datatype: Datatype
    shape: Shape


class ModelMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """A model's tensors, the batch dimension included."""

    name: Name
    versions: Annotated[list[VersionText], Meta(min_length=1)]
    platform: Name
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class ConfiguredTensor(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor in Triton's model configuration."""

    name: Name
    data_type: Literal["TYPE_FP32", "TYPE_INT64"]
    dims: Shape


class ConfiguredParameter(msgspec.Struct, forbid_unknown_fields=True):
    """A parameter in Triton's model configuration."""

    string_value: str


class ModelConfig(msgspec.Struct, forbid_unknown_fields=True):
    """Triton's model configuration; with a `max_batch_size` of 0, `dims` are whole shapes."""

    name: Name
    platform: Name
    max_batch_size: Count
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    parameters: dict[str, ConfiguredParameter]


class SizeInBytes(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the bytes behind the JSON belong to a tensor."""

    binary_data_size: Count


class OutputTensor(TensorMetadata, forbid_unknown_fields=True, kw_only=True):
    """An output: row-major and flat in `data`, or as bytes behind the JSON, whose number is in `parameters`."""

    data: list[Price] | msgspec.UnsetType = msgspec.UNSET
    parameters: SizeInBytes | msgspec.UnsetType = msgspec.UNSET


class InferenceAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """What a model gave, and the request's id where it had one."""

    model_name: Name
    model_version: VersionText
    parameters: dict[str, str]
    outputs: list[OutputTensor]
    id: str | msgspec.UnsetType = msgspec.UNSET


class Duration(msgspec.Struct, forbid_unknown_fields=True):
    """How often, and how many nanoseconds in all."""

    count: Count
    ns: Count


class Durations(msgspec.Struct, forbid_unknown_fields=True):
    """Requests that succeeded and that failed, and the stages of those that succeeded."""

    success: Duration
    fail: Duration
    queue: Duration
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class BatchDurations(msgspec.Struct, forbid_unknown_fields=True):
    """The stages of the requests of so many rows."""

    batch_size: Count
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(msgspec.Struct, forbid_unknown_fields=True):
    """What the process that answers has inferred with a model version; `last_inference` is in ms since 1970, or 0."""

    name: Name
    version: VersionText
    last_inference: Count
    inference_count: Count
    execution_count: Count
    inference_stats: Durations
    batch_stats: list[BatchDurations]


class StatisticsAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The statistics of model versions."""

    model_stats: list[ModelStatistics]


class IndexEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A model version, and its state in the process that answers."""

    name: Name
    version: VersionText
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class InferenceError(msgspec.Struct, forbid_unknown_fields=True):
    """An error, as the Open Inference Protocol has it."""

    error: str
