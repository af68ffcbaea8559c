"""What a job in JSON may say: a document of series with its wishes beside them, or where a file with the series is."""

import re
from typing import Annotated, Any

import msgspec

from worker.errors import TableError
from worker.reading.limits import MAX_JOINED
from worker.requests import Fault, InvalidRequest, Options, Series, parse, read_options, shown

OWN = tuple(Series.__struct_fields__)
"""Fields of a series that nobody can join, since they are what a series is."""
_UNFIT = re.compile(r'[\x00-\x1f\x7f"\\\ud800-\udfff]')
_Column = Annotated[str, msgspec.Meta(min_length=1, extra_json_schema={"pattern": r'^[^\x00-\x1f\x7f"\\]+$'})]
_Columns = Annotated[list[_Column], msgspec.Meta(extra_json_schema={"maxItems": MAX_JOINED, "uniqueItems": True})]


class JobOptions(Options, forbid_unknown_fields=True, kw_only=True):
    """
    What a job may say beside its series.

    Attributes:
        join: Columns, or fields of a series, that the results have, too.
        webhook: Address to be told of the job's end.
        expires_in_h: Hours until the job and its files are deleted, if that is sooner than otherwise.
    """

    join: _Columns = msgspec.field(default_factory=list)
    webhook: Annotated[str, msgspec.Meta(min_length=1)] | None = None
    expires_in_h: Annotated[float, msgspec.Meta(gt=0)] | None = None


class JobRequest(JobOptions, forbid_unknown_fields=True, kw_only=True):
    """A job in JSON."""

    series: list[Series]


class JobInput(msgspec.Struct, forbid_unknown_fields=True):
    """
    A file in an upload's place.

    Attributes:
        uri: `file:///...` or `s3://bucket/...`, below what the operator allows.
        media_type: What it holds; by the file's suffix if left out.
    """

    uri: Annotated[str, msgspec.Meta(min_length=1, max_length=2000)]
    media_type: str | None = None


def options_of(request: JobOptions) -> JobOptions:
    """What a request says beside its series."""
    return JobOptions(**{name: getattr(request, name) for name in JobOptions.__struct_fields__})


def not_of_a_job(horizon: int, explain: bool) -> list[Fault]:
    """What a request for a forecast may ask and a job may not."""
    faults = []
    if horizon != 1:
        wanted = "a job forecasts the next day; leave `horizon` out, or ask POST /v1/forecasts"
        faults.append(Fault("/horizon", wanted))
    if explain:
        wanted = "a job tells forecasts alone; leave `explain` out, or ask POST /v1/forecasts"
        faults.append(Fault("/explain", wanted))
    return faults


def check_join(join: tuple[str, ...]) -> None:
    """
    Refuse columns to join that are too many, there twice, or named as no format can have them all.

    Raises:
        TableError: They are.
    """
    if len(join) > MAX_JOINED or len(set(join)) != len(join):
        raise TableError(f"got {len(join)} columns to join; there are at most {MAX_JOINED}, each once")
    for name in join:
        if name in OWN:
            raise TableError(f"cannot join {name!r}: it comes back, or makes the forecast, anyway")
        if not name or _UNFIT.search(name):
            raise TableError(
                f"cannot join {shown(name)}: a name has no quote, backslash or control character; rename it"
            )


def read_reference(body: bytes) -> tuple[JobInput, JobOptions] | None:
    """
    The file that a body names, and what it wants of it; None where the body is no such thing.

    Raises:
        InvalidJson: It is not JSON, or has a key twice.
        InvalidRequest: It is not as documented; all faults are named.
    """
    if b'"input"' not in body:
        return None
    plain = parse(body)
    if not isinstance(plain, dict) or "input" not in plain:
        return None
    options, faults = read_options({key: plain[key] for key in plain if key not in ("input", "series")}, JobOptions)
    if "series" in plain:
        faults.append(Fault("/input", "there are both `input` and `series`; a job has one of them"))
    given = _input(plain["input"], faults)
    faults += not_of_a_job(options.get("horizon", 1), options.get("explain", False))
    try:
        msgspec.json.encode((given, options))
    except UnicodeEncodeError:
        faults.append(Fault("", "the body has half of a surrogate pair, which is no text"))
    if faults or given is None:
        raise InvalidRequest(faults=faults)
    return given, JobOptions(**options)


def _input(plain: Any, faults: list[Fault]) -> JobInput | None:
    try:
        return msgspec.convert(plain, JobInput)
    except msgspec.ValidationError as error:
        wanted = 'it is an object like {"uri": "file:///data/in/prices.parquet"}, perhaps with `media_type`'
        faults.append(Fault("/input", f"`input` is {shown(plain)}: {error}; {wanted}"))
        return None


def join_of(body: bytes) -> tuple[str, ...]:
    """The columns that a document itself wants joined; none where it is at fault, which its decoding tells."""
    if b'"join"' not in body:
        return ()
    try:
        return tuple(msgspec.json.decode(body, type=_Joining).join)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        plain = parse(body)  # of faulty series the rest of them is taken
    join = plain.get("join") if isinstance(plain, dict) else None
    return tuple(join) if isinstance(join, list) and all(isinstance(name, str) for name in join) else ()


class _Joining(msgspec.Struct):
    """Of a document no more than what it wants joined."""

    join: list[str] = msgspec.field(default_factory=list)
