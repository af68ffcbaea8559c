"""The shapes of what the service answers, as `/openapi.json` documents them; the tests hold the answers to them."""

from typing import Any

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


class ModelSummary(msgspec.Struct, forbid_unknown_fields=True):
    """A model and the version that serves; all but name and versions is null where its card cannot be read."""

    name: str
    versions: list[int]
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
    """Whether forecasts can be answered; why not, by model; and how the queue is, which forecasts do without."""

    ready: bool
    models: list[str]
    missing: dict[str, str]
    queue: dict[str, Any]


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
