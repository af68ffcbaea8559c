"""
Record batches of series, which is what every format becomes, and what each series is held to.

A series that cannot be read keeps its row with its fault, so that one bad series costs one row and not the job.
"""

import re
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.bounds import MAX_DAYS
from models.ragged import Doubles, Flags, Ints
from worker.errors import TableError
from worker.requests import MAX_ID_LENGTH, is_date

CLOSES = pa.list_(pa.float64())
SERIES_FIELDS = [("id", pa.string()), ("as_of", pa.string()), ("closes", CLOSES), ("fault", pa.string())]
JOINED = "joined."
"""What the name of a column begins with that is the caller's own, carried to the results."""
TAKEN_NAMES = frozenset({"row", "id", "as_of", "last_close", "median", "error"})
"""Names of results, beside the levels."""
_LEVEL = re.compile(r"0?\.\d+")
_SHOWN = 60


def schema(joined: Sequence[pa.Field] = ()) -> pa.Schema:
    """The schema of batches of series, of which `joined` are the caller's own columns by their own names."""
    return pa.schema([*SERIES_FIELDS, *((JOINED + field.name, field.type) for field in joined)])


def batch(
    ids: pa.Array,
    as_ofs: pa.Array | None,
    closes: pa.ListArray,
    faults: dict[int, str],
    joined: dict[str, pa.Array] | None = None,
) -> pa.RecordBatch:
    """
    A batch of B series, those at fault without closes.

    Args:
        ids: Text.
        as_ofs: Text; None where none has one.
        closes: In quote currency, oldest first, float64 without nulls.
        faults: What is wrong, by row.
        joined: The caller's own columns.
    """
    found = {**_id_faults(ids), **_day_faults(as_ofs), **_length_faults(closes), **faults}
    if found:
        ids, closes = _shown_ids(ids, found), without(closes, np.fromiter(found, np.int64, len(found)))
        as_ofs = _shown_days(as_ofs, found)
    columns = joined or {}
    return pa.RecordBatch.from_arrays(
        [
            ids,
            pa.nulls(len(ids), pa.string()) if as_ofs is None else as_ofs,
            closes,
            _texts(found, len(ids)),
            *columns.values(),
        ],
        schema=schema([pa.field(name, column.type) for name, column in columns.items()]),
    )


def lists(values: Doubles, lengths: Ints) -> pa.ListArray:
    """Closes end to end as a list a series. `lengths` has shape ``(B,)``."""
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), pa.array(values, pa.float64()), type=CLOSES)


def lengths_of(closes: pa.ListArray) -> Ints:
    """Closes of each series. Shape ``(B,)``."""
    return np.asarray(np.diff(closes.offsets.to_numpy()), np.int64)


def without(closes: pa.ListArray, rows: Ints) -> pa.ListArray:
    """The same lists, those of some rows empty."""
    lengths = lengths_of(closes)
    keep = np.ones(len(closes), bool)
    keep[rows] = False
    values = closes.flatten().to_numpy(zero_copy_only=False)
    return lists(values[np.repeat(keep, lengths)], np.where(keep, lengths, 0))


def check_joined(join: Sequence[str], there: Sequence[str]) -> None:
    """
    Refuse columns to join that are not there, or whose names a result has already.

    Raises:
        TableError: The message says which columns can be joined.
    """
    if clashing := [name for name in join if name in TAKEN_NAMES or _LEVEL.fullmatch(name)]:
        raise TableError(f"column {clashing[0][:_SHOWN]!r} cannot be joined: a result has one of that name already")
    missing = [name for name in join if name not in there]
    if missing:
        free = [name for name in there if name not in TAKEN_NAMES]
        shown = ", ".join(repr(name[:_SHOWN]) for name in free[:20]) or "none"
        raise TableError(f"there is no column {missing[0][:_SHOWN]!r} to join; there are: {shown}")


def scalar_text(value: str | float | bool | None) -> str | None:
    """A scalar of JSON as text, as JSON writes it but for a string's quotes."""
    if value is None or isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _id_faults(ids: pa.Array) -> dict[int, str]:
    if not len(ids):
        return {}
    found = dict.fromkeys(np.flatnonzero(_empty(ids)).tolist(), "has no id; each series has one")
    doubtful = ~_is_plain(ids)
    for row in np.flatnonzero(doubtful).tolist():
        if shown := _escaped(ids[row].as_py()):
            wanted = f"an id has at most {MAX_ID_LENGTH} printable characters"
            found[row] = f"has the id {shown[:_SHOWN]!r}; {wanted}"
    return found


def _escaped(name: str | None) -> str | None:
    """An id that cannot be shown as one that can; None where it can be."""
    if not name or (len(name) <= MAX_ID_LENGTH and name.isprintable()):
        return None
    return name[:MAX_ID_LENGTH].encode("unicode_escape").decode()


def _empty(ids: pa.Array) -> Flags:
    lengths = pc.fill_null(pc.binary_length(ids), 0).to_numpy(zero_copy_only=False)
    return np.asarray(lengths == 0)


def _is_plain(ids: pa.Array) -> Flags:
    """Which ids are short and of printable ASCII alone, as most are; found for all at once."""
    every = np.ones(len(ids), bool)
    offsets = np.frombuffer(ids.buffers()[1], np.int32)[ids.offset : ids.offset + len(ids) + 1]
    text = np.frombuffer(ids.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    odd = np.flatnonzero((text < 0x20) | (text > 0x7E))
    if len(odd):
        every[np.searchsorted(offsets[1:] - offsets[0], odd, side="right")] = False
    return every & (np.diff(offsets) <= MAX_ID_LENGTH)


def _shown_ids(ids: pa.Array, faults: dict[int, str]) -> pa.Array:
    """Ids of which none is unbearable: those that cannot be shown are escaped."""
    if all(_is_plain(ids)):
        return ids
    names = ids.to_pylist()
    for row in faults:
        names[row] = _escaped(names[row]) or names[row]
    return pa.array(names, pa.string())


def _day_faults(as_ofs: pa.Array | None) -> dict[int, str]:
    if as_ofs is None or as_ofs.null_count == len(as_ofs):
        return {}
    coded = as_ofs.dictionary_encode()
    wrong = [code for code, text in enumerate(coded.dictionary.to_pylist()) if not is_date(text)]
    if not wrong:
        return {}
    rows = np.flatnonzero(pc.is_in(coded.indices, pa.array(wrong, coded.indices.type)).to_numpy(zero_copy_only=False))
    wanted = "as_of is a day that exists, as YYYY-MM-DD"
    return {row: f"has as_of {as_ofs[row].as_py()[:_SHOWN]!r}; {wanted}" for row in rows.tolist()}


def _shown_days(as_ofs: pa.Array | None, faults: dict[int, str]) -> pa.Array | None:
    """Days without those that are none."""
    if as_ofs is None:
        return None
    days = as_ofs.to_pylist()
    for row in faults:
        if days[row] is not None and not is_date(days[row]):
            days[row] = None
    return pa.array(days, pa.string())


def _length_faults(closes: pa.ListArray) -> dict[int, str]:
    lengths = lengths_of(closes)
    if not len(lengths) or lengths.max() <= MAX_DAYS:
        return {}
    rows = np.flatnonzero(lengths > MAX_DAYS).tolist()
    return {row: f"has {lengths[row]} closes; at most {MAX_DAYS} are taken" for row in rows}


def _texts(found: dict[int, str], count: int) -> pa.Array:
    if not found:
        return pa.nulls(count, pa.string())
    texts: list[str | None] = [None] * count
    for row, text in found.items():
        texts[row] = text
    return pa.array(texts, pa.string())


Batches = Iterator[pa.RecordBatch]
