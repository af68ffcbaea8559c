"""One chunk in, its results out. Plain: no Celery, no Redis, no files."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.forecaster import Forecaster
from models.ragged import Floats, Ints, Ragged

SLICE_ROWS = 512
"""Rows between two looks whether the chunk is still wanted."""

RESULT_SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("id", pa.string()),
        ("as_of", pa.string()),
        ("last_close", pa.float32()),
        ("quantiles", pa.list_(pa.float32())),
        ("error", pa.string()),
    ]
)


class Unwanted(Exception):
    """The chunk was cancelled, or another worker has it."""


def score(forecaster: Forecaster, chunk: pa.RecordBatch, *, still_wanted: Callable[[], bool]) -> pa.Table:
    """
    Forecasts of a chunk's series.

    Args:
        forecaster: The model that the job was pinned to.
        chunk: Series, as `worker.tables.CHUNK_SCHEMA` has them; B rows.
        still_wanted: Asked now and then.

    Returns:
        A row for each series in the same order, as `RESULT_SCHEMA` has it: with quantiles or with an error. B rows.

    Raises:
        Unwanted: `still_wanted` said no.
    """
    closes = _ragged(chunk["closes"])
    errors = chunk["fault"].to_pylist()
    readable = np.flatnonzero([error is None for error in errors])
    for fault in forecaster.faults(closes.take(readable)) if len(readable) else []:
        errors[readable[fault.series]] = fault.within
    good = np.flatnonzero([error is None for error in errors])
    quantiles = _quantiles(forecaster, closes, good, still_wanted)
    last_closes = closes.values[closes.offsets[good + 1] - 1] if len(good) else np.empty(0)
    return _results(chunk, errors, good, last_closes.astype(np.float32), quantiles)


def set_aside(chunk: pa.RecordBatch, reason: str) -> pa.Table:
    """A chunk that cannot be scored: the reason as the error of each row that has none of its own."""
    errors = [fault or reason for fault in chunk["fault"].to_pylist()]
    nothing = np.empty(0, np.int64)
    return _results(chunk, errors, nothing, np.empty(0, np.float32), np.empty((0, 0), np.float32))


def count_failed(results: pa.Table) -> int:
    """Rows that have an error in place of a forecast."""
    return len(results) - int(results["error"].null_count)


def _quantiles(forecaster: Forecaster, closes: Ragged, good: Ints, still_wanted: Callable[[], bool]) -> Floats:
    slices = []
    for start in range(0, len(good), SLICE_ROWS):
        if not still_wanted():
            raise Unwanted
        slices.append(forecaster.run(closes.take(good[start : start + SLICE_ROWS])))
    return np.concatenate(slices) if slices else np.empty((0, len(forecaster.card.levels)), np.float32)


def _ragged(column: pa.ListArray) -> Ragged:
    offsets = column.offsets.to_numpy().astype(np.int64)
    return Ragged(column.values.to_numpy(), offsets)


def _results(
    chunk: pa.RecordBatch, errors: list[str | None], good: Ints, last_closes: Floats, quantiles: Floats
) -> pa.Table:
    """The results of the good rows put back among the others."""
    places = np.full(len(errors), -1)
    places[good] = np.arange(len(good))
    taken = pa.array(places, mask=places < 0)
    lists = pa.FixedSizeListArray.from_arrays(quantiles.ravel(), max(1, quantiles.shape[1])).cast(
        pa.list_(pa.float32())
    )
    columns = [
        chunk["row"],
        chunk["id"],
        chunk["as_of"],
        pc.take(pa.array(last_closes), taken),
        pc.take(lists, taken),
        pa.array(errors, pa.string()),
    ]
    return pa.Table.from_arrays(columns, schema=RESULT_SCHEMA)
