"""JSON: a whole document of series, or of objects a day, with its own options beside them."""

from collections.abc import Iterator
from itertools import islice

import msgspec

from models import panel
from worker import requests
from worker.errors import TableError
from worker.job_requests import JobOptions, JobRequest, check_join, join_of, not_of_a_job, options_of
from worker.reading.grouping import Cells, grouped
from worker.reading.json_lines import days_of_lines, series_batch
from worker.reading.limits import MAX_JSON_BYTES
from worker.reading.series import Batches, check_joined
from worker.reading.sources import BLOCK_BYTES, Source

_ROWS_A_BATCH = 10_000


class _Days(JobOptions, forbid_unknown_fields=True, kw_only=True):
    """A document of objects a day."""

    days: list[msgspec.Raw]


_DAYS = msgspec.json.Decoder(_Days)


def read_document(source: Source, join: tuple[str, ...]) -> tuple[Batches, JobOptions]:
    """
    The series of a JSON document, and what it says beside them; what it wants joined itself is joined, too.

    Raises:
        TableError: It is too long, or a column that is to be joined is not there.
        InputError: It is no request.
    """
    body = _whole(source)
    join = join or join_of(body)
    check_join(join)
    days = _days(body)
    if days is not None:
        _check_for_a_job(days)
        return _from_days(source, days.days, join), options_of(days)
    request, faults = requests.decode_as(JobRequest, body, join=join)
    _check_for_a_job(request)
    source.limits.check_rows(len(request.series))
    told = {place: fault.within for place, fault in faults.items()}
    return _from_series(request.series, told, join), options_of(request)


def _whole(source: Source) -> bytes:
    stream, parts, size = source.stream(), [], 0
    while part := stream.read(BLOCK_BYTES):
        parts.append(part)
        size += len(part)
        if size > MAX_JSON_BYTES:
            raise TableError(f"a JSON document has at most {MAX_JSON_BYTES} bytes; send more as NDJSON, CSV or Parquet")
    return b"".join(parts)


def _days(body: bytes) -> _Days | None:
    """A document of objects a day; None where it is none, or one with faults beside its days."""
    if b'"days"' not in body:
        return None
    try:
        return _DAYS.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None


def _check_for_a_job(options: requests.Options) -> None:
    if faults := not_of_a_job(options.horizon, options.explain):
        raise requests.InvalidRequest(faults=faults)


def _from_series(series: list[requests.Series], faults: dict[int, str], join: tuple[str, ...]) -> Batches:
    for place, name in enumerate(join):
        if series and not any(getattr(each, f"joined_{place}") is not None for each in series):
            check_joined([name], [])
    for begin in range(0, len(series), _ROWS_A_BATCH):
        part = series[begin : begin + _ROWS_A_BATCH]
        own = {place - begin: fault for place, fault in faults.items() if begin <= place < begin + len(part)}
        yield series_batch(part, own, join)


def _from_days(source: Source, days: list[msgspec.Raw], join: tuple[str, ...]) -> Batches:
    numbered: Iterator[tuple[int, bytes]] = ((place, bytes(day)) for place, day in enumerate(days))
    fields = _fields(days)
    named = next((name for name in panel.ID_COLUMNS if name in fields), "id")
    check_joined(join, [name for name in fields if name not in (named, "date", "close")])

    def parts() -> Iterator[tuple[list[Cells], list[tuple[str, str]]]]:
        while part := list(islice(numbered, _ROWS_A_BATCH)):
            cells, refused = days_of_lines(part, named, join, what="day")
            yield [cells], refused

    yield from grouped(source, parts())


def _fields(days: list[msgspec.Raw]) -> list[str]:
    first = requests.parse(bytes(days[0])) if days else {}
    return list(first) if isinstance(first, dict) else []
