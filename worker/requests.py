"""
A forecast request out of JSON bytes: typed and fast where it is right, slow and thorough where it is not.

The fast path is one typed decoding. Where that fails, the body is read again as plain JSON and every faulty series is
named, so that a caller can mend a request in one go.
"""

import functools
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any, TypeVar, cast

import msgspec

from models.bounds import DEFAULT_MODEL, MAX_DAYS, MAX_HORIZON
from models.errors import InputError, SeriesFault
from models.ragged import LARGEST_CLOSE, SMALLEST_CLOSE

MAX_ID_LENGTH = 200
MAX_TOLD = 200
"""Most characters of a decoder's message that are told on; it quotes what was sent."""
MAX_NAMED = 20
"""Most faults that a message names."""
COLONS_A_SERIES = 10
"""Colons for each of the series that are taken, beyond which a faulty body is not looked through for its faults."""
MAX_JSON_SERIES = 250_000
"""Most series in one JSON document, where nothing else limits them."""
CLOSE = "a close is a positive, finite number"

# What the decoder leaves to others to check, with better words, stands in `extra_json_schema`, for the document alone.
_Id = Annotated[
    str,
    msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH, extra_json_schema={"pattern": r"^[^\x00-\x1f\x7f-\x9f]+$"}),
]
_Close = Annotated[float, msgspec.Meta(extra_json_schema={"minimum": SMALLEST_CLOSE, "maximum": LARGEST_CLOSE})]
_Closes = Annotated[list[_Close], msgspec.Meta(extra_json_schema={"minItems": 2, "maxItems": MAX_DAYS})]
_Day = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date"})]
_Level = Annotated[float, msgspec.Meta(extra_json_schema={"exclusiveMinimum": 0, "exclusiveMaximum": 1})]


class Series(msgspec.Struct, forbid_unknown_fields=True):
    """
    One series of daily closes.

    Attributes:
        id: The caller's name for it, printable; two series of a request may share one.
        closes: In quote currency, oldest first; at least two, of which a model may need more.
        as_of: The day of the last close, YYYY-MM-DD; given back with the forecast.
    """

    id: _Id
    closes: _Closes
    as_of: _Day | None = None


Scalar = str | int | float | bool | None
"""What a field of a series may be that is joined to its result."""


@functools.lru_cache(maxsize=64)
def series_type(join: tuple[str, ...]) -> type[Series]:
    """`Series` with more fields, which are joined to the results: `joined_0` and so on, in the order of their names."""
    if not join:
        return Series
    fields = [(f"joined_{place}", Scalar, None) for place in range(len(join))]
    renamed = {field: name for (field, _, _), name in zip(fields, join, strict=True)}
    made: Any = msgspec.defstruct("Series", fields, bases=(Series,), forbid_unknown_fields=True, rename=renamed)
    return cast("type[Series]", made)


class Options(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """
    What a request may say beside its series.

    Attributes:
        model: Name of the model.
        version: Its version; the newest if left out.
        levels: Quantile levels to answer, of those that `GET /v1/models` lists; all of the model's if left out.
        horizon: Days ahead; each day's quantiles are answered. Jobs forecast the next day alone.
        explain: Whether to tell what the network kept, added and showed on each day. Jobs do not.
    """

    model: Annotated[str, msgspec.Meta(extra_json_schema={"minLength": 1})] = DEFAULT_MODEL
    version: Annotated[int, msgspec.Meta(ge=1)] | None = None
    levels: Annotated[list[_Level], msgspec.Meta(min_length=1)] | None = None
    horizon: Annotated[int, msgspec.Meta(ge=1, le=MAX_HORIZON)] = 1
    explain: bool = False


class ForecastRequest(Options, forbid_unknown_fields=True, kw_only=True):
    """The body of `POST /v1/forecasts`."""

    series: Annotated[list[Series], msgspec.Meta(extra_json_schema={"minItems": 1})]


@dataclass(frozen=True, slots=True)
class Fault:
    """
    What is wrong with a request apart from its series.

    Attributes:
        pointer: Its place in the body, a JSON pointer (RFC 6901).
        detail: What is wrong and what right looks like.
    """

    pointer: str
    detail: str


class InvalidJson(InputError):
    """A body that is not JSON."""

    def __init__(self, *, reason: str) -> None:
        super().__init__(f"the body is not JSON: {reason}")


class InvalidRequest(InputError):
    """JSON that is not a forecast request; `faults` names what is wrong outside the series."""

    def __init__(self, *, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        more = f"; and {len(faults) - MAX_NAMED} more" if len(faults) > MAX_NAMED else ""
        super().__init__("; ".join(fault.detail for fault in faults[:MAX_NAMED]) + more)


class TooManySeries(InputError):
    """More series than one request may have."""

    def __init__(self, *, given: int, most: int) -> None:
        super().__init__(f"got {given} series; at most {most} are taken here: send them as a job to POST /v1/jobs")


Request = TypeVar("Request", bound=Options)
"""`ForecastRequest`, or another that has `series`."""


@functools.cache
def _once(kind: type[Options]) -> tuple[bytes, ...]:
    """Keys that a request has at most once, as they stand in JSON."""
    return tuple(f'"{name}"'.encode() for name in kind.__struct_fields__)


@functools.lru_cache(maxsize=64)
def _series_decoder(join: tuple[str, ...]) -> msgspec.json.Decoder[Series]:
    return msgspec.json.Decoder(series_type(join))


@functools.lru_cache(maxsize=64)
def _request_decoder(kind: type[Request], join: tuple[str, ...]) -> msgspec.json.Decoder[Request]:
    if not join:
        return msgspec.json.Decoder(kind)
    fields = [("series", list[series_type(join)])]  # type: ignore[misc]
    return msgspec.json.Decoder(
        msgspec.defstruct(kind.__name__, fields, bases=(kind,), forbid_unknown_fields=True, kw_only=True)
    )


def decode(body: bytes, *, most: int = MAX_JSON_SERIES) -> tuple[ForecastRequest, dict[int, SeriesFault]]:
    """A request for forecasts; see `decode_as`."""
    return decode_as(ForecastRequest, body, most=most)


def decode_as(
    kind: type[Request],
    body: bytes,
    *,
    most: int = MAX_JSON_SERIES,
    join: tuple[str, ...] = (),
) -> tuple[Request, dict[int, SeriesFault]]:
    """
    A request, and what is wrong with its series by their place; a faulty series has no closes.

    Whether closes are positive and as many as a model needs is for the forecaster to say.

    Args:
        kind: Which request it is.
        body: JSON.
        most: Series that are taken.
        join: Fields that a series may have besides, as `series_type` has them.

    Raises:
        InvalidJson: The body is not JSON, or has a key twice in one object.
        InvalidRequest: Something other than a series is wrong.
        TooManySeries: There are more than are taken.
    """
    try:
        request = _request_decoder(kind, join).decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        request = None
    series: list[Series] = getattr(request, "series", [])
    named = getattr(request, "join", ())  # a document's own list of what it joins has the names once more
    if request is None or _may_have_double_keys(body, request, series) or _may_join_twice(body, series, join, named):
        return _decode_slowly(body, kind, most, join)
    if len(series) > most:
        raise TooManySeries(given=len(series), most=most)
    return request, _refuse_labels(series)


def decode_block(block: bytes, join: tuple[str, ...] = ()) -> list[Series] | None:
    """The series of some NDJSON lines; None where one may be at fault, so that each has to be looked at by itself."""
    if b"\\" in block:
        return None
    try:
        series = _series_decoder(join).decode_lines(block)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if _count_keys(block) != _keys_of(series) or _may_join_twice(block, series, join):
        return None
    return None if any(_label_fault(0, each) for each in series) else series


def decode_series(line: bytes, join: tuple[str, ...] = ()) -> Series:
    """
    The series of one NDJSON line; `join` as for `series_type`.

    Raises:
        InvalidJson: The line is not JSON, or has a key twice.
        InvalidRequest: It is not a series; the message names the place in it.
    """
    try:
        series = _series_decoder(join).decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        series = None
    if (
        series is None
        or b"\\" in line
        or _count_keys(line) != _keys_of([series])
        or _may_join_twice(line, [series], join)
    ):
        series, fault = _read_series(0, parse(line), join)
    else:
        fault = _label_fault(0, series)
    if fault:
        pointer = "" if fault.close is None else f"/closes/{fault.close}"
        raise InvalidRequest(faults=[Fault(pointer, fault.within)])
    return series


def _may_have_double_keys(body: bytes, request: Options, series: Sequence[Series]) -> bool:
    """
    Whether some key may be there twice, which the typed decoder lets pass.

    Says yes too often, where an id looks like a key or has a backslash; the slow path then knows.
    """
    if b"\\" in body:
        return True
    needed = 1 + sum(2 if each.as_of is None else 3 for each in series)
    if body.count(b":") == needed:  # as many keys as there must be, each once, and no other
        return False
    return any(body.count(key) > 1 for key in _once(type(request))) or _count_keys(body) != _keys_of(series)


def _may_join_twice(body: bytes, series: Sequence[Series], join: tuple[str, ...], named: Sequence[str] = ()) -> bool:
    """Whether a joined field may be there twice in a series; says yes too often, as `_may_have_double_keys` does."""
    for place, name in enumerate(join):
        there = sum(getattr(each, f"joined_{place}") is not None for each in series)
        if body.count(msgspec.json.encode(name)) != there + (name in named):
            return True
    return False


def _count_keys(body: bytes) -> tuple[int, int, int]:
    return body.count(b'"id"'), body.count(b'"closes"'), body.count(b'"as_of"')


def _keys_of(series: Sequence[Series]) -> tuple[int, int, int]:
    return len(series), len(series), sum(each.as_of is not None for each in series)


def _refuse_labels(series: Sequence[Series]) -> dict[int, SeriesFault]:
    """What is wrong with ids and dates; the series at fault lose their closes."""
    faults = {}
    for place, each in enumerate(series):
        if fault := _label_fault(place, each):
            faults[place] = fault
            each.closes = []
    return faults


def _label_fault(place: int, series: Series) -> SeriesFault | None:
    if not series.id.isprintable():
        return SeriesFault(place, f"has the id {shown(series.id)}; an id is printable, without control characters")
    if series.as_of is not None and not is_date(series.as_of):
        return SeriesFault(place, f"has as_of {shown(series.as_of)}; as_of is a day that exists, as YYYY-MM-DD")
    return None


def is_date(text: str) -> bool:
    """Whether a text is a day that exists, as YYYY-MM-DD."""
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


def _decode_slowly(
    body: bytes, kind: type[Request], most: int, join: tuple[str, ...] = ()
) -> tuple[Request, dict[int, SeriesFault]]:
    if (keys := body.count(b":")) > (COLONS_A_SERIES + len(join)) * most:
        wanted = f"a series has {3 + len(join)} at most"
        raise InvalidRequest(faults=[Fault("", f"the body has about {keys} keys; {wanted}")])
    plain = parse(body)
    if not isinstance(plain, dict):
        raise InvalidRequest(faults=[Fault("", f"the body is {shown(plain)}; a request is an object with `series`")])
    options, faults = read_options({key: value for key, value in plain.items() if key != "series"}, kind)
    items = plain.get("series")
    if not isinstance(items, list):
        found = f"`series` is {shown(items)}" if "series" in plain else "there is no `series`"
        faults.append(Fault("/series", f"{found}; it is a list of objects with `id` and `closes`"))
    if faults:
        raise InvalidRequest(faults=faults)
    if len(items or ()) > most:
        raise TooManySeries(given=len(items or ()), most=most)
    read = [_read_series(place, item, join) for place, item in enumerate(items or ())]
    request = kind(**{"series": [series for series, _ in read], **options})
    return request, {place: fault for place, (_, fault) in enumerate(read) if fault}


def read_options(plain: dict[str, Any], kind: type[Options]) -> tuple[dict[str, Any], list[Fault]]:
    """The options of a kind of request, each looked at by itself, so that all faults are found."""
    known = {field.name: field.type for field in msgspec.structs.fields(kind)}
    options, faults = {}, []
    for name, value in plain.items():
        if name not in known:
            wanted = ", ".join(known)
            faults.append(Fault(f"/{token(name)}", f"{shown(name)} is no field of a request; there are: {wanted}"))
            continue
        try:
            options[name] = msgspec.convert(value, known[name])
        except msgspec.ValidationError as error:
            faults.append(Fault(f"/{name}", f"`{name}` is {shown(value)}: {_told(error)}"))
    return options, faults


def _read_series(place: int, item: Any, join: tuple[str, ...] = ()) -> tuple[Series, SeriesFault | None]:
    """One series out of plain JSON; where it is faulty, without closes."""
    fault = _close_fault(place, item)
    if not fault:
        try:
            series = msgspec.convert(item, series_type(join))
        except (msgspec.ValidationError, UnicodeEncodeError) as error:  # the latter at a lone surrogate
            wanted = "a series has `id`, `closes` and perhaps `as_of`"
            fault = SeriesFault(place, f"cannot be read: {_told(error)}; {wanted}")
        else:
            fault = _label_fault(place, series)
    if fault:
        given = item.get("id") if isinstance(item, dict) else None
        shown = given if isinstance(given, str) and given.isprintable() else ""
        return series_type(join)(shown, []), fault
    return series, None


def _close_fault(place: int, item: Any) -> SeriesFault | None:
    closes = item.get("closes") if isinstance(item, dict) else None
    if not isinstance(closes, list):
        return None
    for day, close in enumerate(closes):
        if type(close) not in (int, float) or not math.isfinite(close):
            return SeriesFault(place, f"is {shown(close)}; {CLOSE}", day)
    return None


def _told(error: Exception) -> str:
    """A decoder's message with places written as paths below the value."""
    told = str(error).encode("utf-8", "backslashreplace").decode()  # it may quote a lone surrogate
    return told[:MAX_TOLD].replace("`$.", "`").replace(" - at `$`", "")


@dataclass(frozen=True, slots=True)
class NotJson:
    """NaN or Infinity, which Python writes and JSON does not have."""

    name: str

    def __str__(self) -> str:
        return f"{self.name}, which JSON does not have"


def parse(body: bytes) -> Any:
    """Plain JSON; numbers too large for a float are infinite."""
    try:
        text = body.decode("utf-8")
        if text.startswith("\ufeff"):
            raise InvalidJson(reason="it starts with a byte order mark; send UTF-8 without one")
        return _PARSER.decode(text)
    except UnicodeDecodeError as error:
        raise InvalidJson(reason=f"byte {error.start} is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(reason=f"{error.msg} (line {error.lineno}, column {error.colno})") from None
    except RecursionError:
        raise InvalidJson(reason="it is nested too deeply; a request is nested three deep") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    unique = dict(pairs)
    if len(unique) != len(pairs):
        counts = Counter(name for name, _ in pairs)
        double = counts.most_common(1)[0][0]
        raise InvalidJson(reason=f"the key {shown(double)} is there twice in one object")
    return unique


def _integer(digits: str) -> int | float:
    # Python refuses to read integers of thousands of digits; as a float they are infinite, which is refused by name.
    return int(digits) if len(digits) < 20 else float(digits)


_PARSER = json.JSONDecoder(parse_constant=NotJson, parse_int=_integer, object_pairs_hook=_unique)


def shown(value: Any) -> str:
    """A value of the caller's, short and on one line."""
    if isinstance(value, NotJson):
        return str(value)
    if isinstance(value, (dict, list)):
        return "an object" if isinstance(value, dict) else "a list"
    if isinstance(value, float) and math.isinf(value):
        return "too large for a number"
    text = json.dumps(value[:60] if isinstance(value, str) else value)
    return f"{text} (cut)" if isinstance(value, str) and len(value) > 60 else text


def token(name: str) -> str:
    """A key as a token of a JSON pointer, cut to what a message can bear."""
    return name[:60].encode("utf-8", "backslashreplace").decode().replace("~", "~0").replace("/", "~1")
