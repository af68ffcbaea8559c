"""The shapes of what the service answers, as `/openapi.json` documents them; the tests hold the answers to them."""

from typing import Any, Literal

import msgspec

from models.bundle import Card
from worker.jobs import Job


class ModelUsed(msgspec.Struct, forbid_unknown_fields=True):
    """The model that answered, and the execution provider it ran on."""

    name: str
    version: int
    digest: str
    provider: str


class Day(msgspec.Struct, forbid_unknown_fields=True):
    """What the close may be so many trading days ahead; behind the next one, quantiles of a thousand seeded paths."""

    day: int
    median: float
    quantiles: dict[str, float]


class Forecast(msgspec.Struct, forbid_unknown_fields=True):
    """
    What one series' next close may be. Prices are the graph's float32, in digits that read back to the same bits.

    `quantiles` goes from level to price, ascending. `days` is there where a horizon of more than one day was asked for;
    its first day is the next close again.
    """

    id: str
    as_of: str | None
    last_close: float
    median: float
    quantiles: dict[str, float]
    days: list[Day] | msgspec.UnsetType = msgspec.UNSET


class ForecastAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """Forecasts, in the order of the request's series."""

    model: ModelUsed
    forecasts: list[Forecast]


class VersionState(msgspec.Struct, forbid_unknown_fields=True):
    """A version of a model in the process that answers, and why it is not ready."""

    version: int
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ModelSummary(msgspec.Struct, forbid_unknown_fields=True):
    """A model and the version that serves; all but its versions is null where its card cannot be read."""

    name: str
    versions: list[int]
    states: list[VersionState]
    ready: bool
    provider: str | None = None
    version: int | None = None
    digest: str | None = None
    summary: str | None = None
    network: str | None = None
    levels: list[float] | None = None
    min_days: int | None = None
    window_days: int | None = None
    trained_days: int | None = None
    parameters: int | None = None


class ModelDetails(ModelSummary, forbid_unknown_fields=True, kw_only=True):
    """A model with the card of the version that serves."""

    card: Card


class ModelList(msgspec.Struct, forbid_unknown_fields=True):
    """The models there are."""

    models: list[ModelSummary]


class Applied(msgspec.Struct, forbid_unknown_fields=True):
    """How far a change has come: its number, the processes that follow it, and those that do not as yet."""

    generation: int
    processes: int
    behind: int


class Serving(msgspec.Struct, forbid_unknown_fields=True):
    """Which version of a model serves; `pinned` is null where the newest does that can be made ready."""

    name: str
    pinned: int | None
    unloaded: bool
    serving: int | None
    states: list[VersionState]


class ServingChanged(Serving, forbid_unknown_fields=True, kw_only=True):
    """The same after a change, and how far it has come."""

    applied: Applied


class Links(msgspec.Struct, forbid_unknown_fields=True, rename={"self_": "self"}):
    """Paths of a job and of what belongs to it."""

    self_: str
    results: str
    errors: str


class JobAnswer(Job, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job and where to go from it."""

    links: Links


class JobList(msgspec.Struct, forbid_unknown_fields=True):
    """Jobs, the newest first."""

    jobs: list[JobAnswer]


class Health(msgspec.Struct, forbid_unknown_fields=True):
    """The process is up."""

    status: str


class Readiness(msgspec.Struct, forbid_unknown_fields=True):
    """
    Whether forecasts can be answered; why not, by model; and how the queue is, which forecasts do without.

    `draining` says that the server is about to end: what is under way is answered, the next request belongs elsewhere.
    """

    ready: bool
    models: list[str]
    missing: dict[str, str]
    draining: bool
    queue: dict[str, Any]


class Live(msgspec.Struct, forbid_unknown_fields=True):
    """The process is up, as the Open Inference Protocol says it."""

    live: bool


class Ready(msgspec.Struct, forbid_unknown_fields=True):
    """The service can forecast, as the Open Inference Protocol says it."""

    ready: bool


class ModelReady(msgspec.Struct, forbid_unknown_fields=True):
    """A model can forecast."""

    name: str
    ready: bool


class ServerMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """The service, and the extensions of the protocol that it offers in full."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor that a model takes or gives; -1 is a dimension that varies."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, forbid_unknown_fields=True):
    """A model's tensors, the batch dimension included."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


class ConfiguredTensor(msgspec.Struct, forbid_unknown_fields=True):
    """A tensor in Triton's model configuration."""

    name: str
    data_type: str
    dims: list[int]


class ConfiguredParameter(msgspec.Struct, forbid_unknown_fields=True):
    """A parameter in Triton's model configuration."""

    string_value: str


class ModelConfig(msgspec.Struct, forbid_unknown_fields=True):
    """Triton's model configuration; with a `max_batch_size` of 0, `dims` are whole shapes."""

    name: str
    platform: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    parameters: dict[str, ConfiguredParameter]


class OutputTensor(TensorMetadata, forbid_unknown_fields=True, kw_only=True):
    """An output: row-major and flat in `data`, or as bytes behind the JSON, whose number `parameters` has."""

    data: list[float] | msgspec.UnsetType = msgspec.UNSET
    parameters: dict[str, int] | msgspec.UnsetType = msgspec.UNSET


class InferenceAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """What a model gave, and the request's id where it had one."""

    model_name: str
    model_version: str
    parameters: dict[str, str]
    outputs: list[OutputTensor]
    id: str | msgspec.UnsetType = msgspec.UNSET


class Duration(msgspec.Struct, forbid_unknown_fields=True):
    """How often, and how many nanoseconds in all."""

    count: int
    ns: int


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

    batch_size: int
    compute_input: Duration
    compute_infer: Duration
    compute_output: Duration


class ModelStatistics(msgspec.Struct, forbid_unknown_fields=True):
    """What the process that answers has inferred with a model version; `last_inference` is in ms since 1970, or 0."""

    name: str
    version: str
    last_inference: int
    inference_count: int
    execution_count: int
    inference_stats: Durations
    batch_stats: list[BatchDurations]


class StatisticsAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """The statistics of model versions."""

    model_stats: list[ModelStatistics]


class IndexEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A model version, and its state in the process that answers."""

    name: str
    version: str
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class InferenceError(msgspec.Struct, forbid_unknown_fields=True):
    """An error, as the Open Inference Protocol has it."""

    error: str


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """One fault: where (a JSON pointer into the body, or a parameter's name) and what."""

    detail: str
    pointer: str | msgspec.UnsetType = msgspec.UNSET
    parameter: str | msgspec.UnsetType = msgspec.UNSET


class ProblemAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """An error, as RFC 9457 has it; `GET /problems` lists the types."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[Place] | msgspec.UnsetType = msgspec.UNSET


class ProblemKind(msgspec.Struct, forbid_unknown_fields=True):
    """One type of error."""

    status: int
    title: str


class ProblemList(msgspec.Struct, forbid_unknown_fields=True):
    """The types of errors, by the last part of their `type`."""

    problems: dict[str, ProblemKind]
