"""
The shapes of what the service answers, as `/openapi.json` documents them; the tests hold the answers to them.

And of what it takes, where the type that decodes it says less than is checked.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from models.bundle import Card
from worker.job_requests import JobInput, JobOptions
from worker.ledger import Status
from worker.reading.formats import MEDIA_TYPES
from worker.views import Counts, Job, JobModel, Webhook

SHA256 = "[0-9a-f]{64}"
JOB_ID = "[0-9a-f]{32}"
VERSION = "[1-9][0-9]*"

AnySeries = Annotated[Any, Meta(description="a `Series`")]
Count = Annotated[int, Meta(ge=0)]
Digest = Annotated[str, Meta(pattern=f"^sha256:{SHA256}$")]
Failure = Annotated[int, Meta(ge=400, le=599)]
JobPath = Annotated[str, Meta(pattern=f"^/v1/jobs/{JOB_ID}(/(results|errors))?$")]
Level = Annotated[float, Meta(gt=0, lt=1)]
Moment = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Name = Annotated[str, Meta(min_length=1)]
Pointer = Annotated[str, Meta(pattern="^(/.*)?$", extra_json_schema={"format": "json-pointer"})]
Price = Annotated[float, Meta(gt=0)]
Quantiles = dict[Annotated[str, Meta(pattern=r"^0\.[0-9]+$")], Price]
Share = Annotated[float, Meta(ge=0, le=1)]
Signed = Annotated[float, Meta(ge=-1, le=1)]
Version = Annotated[int, Meta(ge=1)]


class JobBody(JobOptions, forbid_unknown_fields=True, kw_only=True):
    """
    A job as one JSON document: as the body of `POST /v1/forecasts`, for the next day alone.

    A series that is not as it should be (`Series`) does not stop the job: it is one row of the errors.
    """

    series: Annotated[list[AnySeries], Meta(min_length=1)]
    horizon: Literal[1] = 1
    explain: Annotated[bool, Meta(extra_json_schema={"const": False})] = False


class JobFile(JobInput, forbid_unknown_fields=True, kw_only=True):
    """A file in an upload's place, below what the operator allows; by its suffix unless a media type is given."""

    media_type: Annotated[str, Meta(extra_json_schema={"enum": [*MEDIA_TYPES]})] | None = None


class JobReference(JobOptions, forbid_unknown_fields=True, kw_only=True):
    """A job of a file that is there already; a body of at most 64 KiB."""

    input: JobFile
    horizon: Literal[1] = 1
    explain: Annotated[bool, Meta(extra_json_schema={"const": False})] = False


class ModelUsed(msgspec.Struct, forbid_unknown_fields=True):
    """The model that answered, and the execution provider it ran on."""

    name: Name
    version: Version
    digest: Digest
    provider: Name


class Day(msgspec.Struct, forbid_unknown_fields=True):
    """What the close may be so many trading days ahead; behind the next one, quantiles of a thousand seeded paths."""

    day: Version
    median: Price
    quantiles: Quantiles


class Means(msgspec.Struct, forbid_unknown_fields=True):
    """Means over the units, a number a day."""

    hidden: list[Signed]
    forget_gate: list[Share] | msgspec.UnsetType = msgspec.UNSET
    input_gate: list[Share] | msgspec.UnsetType = msgspec.UNSET
    candidate: list[Signed] | msgspec.UnsetType = msgspec.UNSET
    output_gate: list[Share] | msgspec.UnsetType = msgspec.UNSET
    cell: list[float] | msgspec.UnsetType = msgspec.UNSET


class Explanation(msgspec.Struct, forbid_unknown_fields=True):
    """
    What the network kept, added and showed: for each day but the first, the oldest first, a number a unit.

    `cell` is `forget_gate` times the cell of the day before plus `input_gate` times `candidate`, and `hidden` is
    `output_gate` times the tanh of `cell`. Both start from 0. An RNN has `hidden` alone.
    """

    days: Version
    units: Version
    hidden: list[list[Signed]]
    mean: Means
    forget_gate: list[list[Share]] | msgspec.UnsetType = msgspec.UNSET
    input_gate: list[list[Share]] | msgspec.UnsetType = msgspec.UNSET
    candidate: list[list[Signed]] | msgspec.UnsetType = msgspec.UNSET
    output_gate: list[list[Share]] | msgspec.UnsetType = msgspec.UNSET
    cell: list[list[float]] | msgspec.UnsetType = msgspec.UNSET


class Forecast(msgspec.Struct, forbid_unknown_fields=True):
    """
    What one series' next close may be. Prices are the graph's float32, in digits that read back to the same bits.

    `quantiles` goes from level to price, ascending. `days` is there where a horizon of more than one day was asked for;
    its first day is the next close again. `explain` is there where it was asked for.
    """

    id: Name
    as_of: Annotated[str, Meta(extra_json_schema={"format": "date"})] | None
    last_close: Price
    median: Price
    quantiles: Quantiles
    days: list[Day] | msgspec.UnsetType = msgspec.UNSET
    explain: Explanation | msgspec.UnsetType = msgspec.UNSET


class ForecastAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """Forecasts, in the order of the request's series."""

    model: ModelUsed
    forecasts: list[Forecast]


class VersionState(msgspec.Struct, forbid_unknown_fields=True):
    """A version of a model in the process that answers, and why it is not ready."""

    version: Version
    state: Literal["READY", "UNAVAILABLE"]
    reason: str


class ModelSummary(msgspec.Struct, forbid_unknown_fields=True):
    """A model and the version that serves; all but its versions is null where its card cannot be read."""

    name: Name
    versions: Annotated[list[Version], Meta(min_length=1)]
    states: list[VersionState]
    ready: bool
    provider: Name | None = None
    version: Version | None = None
    digest: Digest | None = None
    summary: str | None = None
    network: Literal["lstm", "rnn", "mlp"] | None = None
    levels: list[Level] | None = None
    min_days: Count | None = None
    window_days: Count | None = None
    trained_days: Count | None = None
    parameters: Count | None = None


class ModelDetails(ModelSummary, forbid_unknown_fields=True, kw_only=True):
    """A model with the card of the version that serves."""

    card: Card


class ModelList(msgspec.Struct, forbid_unknown_fields=True):
    """The models there are."""

    models: list[ModelSummary]


class Applied(msgspec.Struct, forbid_unknown_fields=True):
    """How far a change has come: its number, the processes that follow it, and those that do not as yet."""

    generation: Count
    processes: Count
    behind: Count


class Serving(msgspec.Struct, forbid_unknown_fields=True):
    """Which version of a model serves; `pinned` is null where the newest does that can be made ready."""

    name: Name
    pinned: Version | None
    unloaded: bool
    serving: Version | None
    states: list[VersionState]


class ServingChanged(Serving, forbid_unknown_fields=True, kw_only=True):
    """The same after a change, and how far it has come."""

    applied: Applied


class Links(msgspec.Struct, forbid_unknown_fields=True, rename={"self_": "self"}):
    """Paths of a job and of what belongs to it."""

    self_: JobPath
    results: JobPath
    errors: JobPath


class JobAnswer(Job, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A job and where to go from it. Times are in UTC; progress goes from 0 to 1."""

    id: Annotated[str, Meta(pattern=f"^{JOB_ID}$")]
    status: Status
    model: "JobModelAnswer"
    levels: Annotated[list[Level], Meta(min_length=1)]
    counts: "CountsAnswer"
    progress: Annotated[float, Meta(ge=0, le=1)]
    created_at: Moment
    started_at: Moment | None
    finalizing_at: Moment | None
    cancelling_at: Moment | None
    finished_at: Moment | None
    expires_at: Moment
    reason: str | None
    rows_per_second: Annotated[float, Meta(ge=0)] | None
    seconds_left: Annotated[float, Meta(ge=0)] | None
    source: Name
    joined: list[Name]
    webhook: "WebhookAnswer | None"
    links: Links


class JobModelAnswer(JobModel, frozen=True, forbid_unknown_fields=True):
    """The model that a job is pinned to."""

    name: Name
    version: Version
    digest: Digest


class CountsAnswer(Counts, frozen=True, forbid_unknown_fields=True):
    """Rows of a job: in all, with a forecast, with an error."""

    total: Version
    completed: Count
    failed: Count


class WebhookAnswer(Webhook, frozen=True, forbid_unknown_fields=True):
    """Who is told of a job's end, and what became of that; the state is empty while the job has not ended."""

    url: Name
    state: Literal["", "pending", "delivered", "failed"]
    attempts: Count


class JobList(msgspec.Struct, forbid_unknown_fields=True):
    """Jobs, the newest first, and the cursor of those behind them, for `after`; null where there are none."""

    jobs: list[JobAnswer]
    next: Name | None


class Health(msgspec.Struct, forbid_unknown_fields=True):
    """The process is up."""

    status: Literal["ok"]


class QueueState(msgspec.Struct, forbid_unknown_fields=True):
    """The queue of jobs: how much there is and how many workers there are, or why it does not answer."""

    ok: bool
    unfinished_jobs: Count | msgspec.UnsetType = msgspec.UNSET
    workers: Count | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET


class Readiness(msgspec.Struct, forbid_unknown_fields=True):
    """
    Whether forecasts can be answered; why not, by model; and how the queue is, which forecasts do without.

    `draining` says that the server is about to end: what is under way is answered, the next request belongs elsewhere.
    """

    ready: bool
    models: list[str]
    missing: dict[str, str]
    draining: bool
    queue: QueueState


class Place(msgspec.Struct, forbid_unknown_fields=True):
    """One fault: where (a JSON pointer into the body, or a parameter's name) and what."""

    detail: Name
    pointer: Pointer | msgspec.UnsetType = msgspec.UNSET
    parameter: str | msgspec.UnsetType = msgspec.UNSET


class ProblemAnswer(msgspec.Struct, forbid_unknown_fields=True):
    """An error, as RFC 9457 has it; `GET /problems` lists the types."""

    type: Annotated[str, Meta(pattern="^/problems/[a-z-]+$")]
    title: Name
    status: Failure
    detail: Name
    errors: Annotated[list[Place], Meta(min_length=1)] | msgspec.UnsetType = msgspec.UNSET


class ProblemKind(msgspec.Struct, forbid_unknown_fields=True):
    """One type of error."""

    status: Failure
    title: Name


class ProblemList(msgspec.Struct, forbid_unknown_fields=True):
    """The types of errors, by the last part of their `type`."""

    problems: dict[str, ProblemKind]
