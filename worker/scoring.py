"""One chunk in, its results out. Plain: no Celery, no Redis, no files."""

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from models.forecaster import Forecaster
from models.ragged import Floats, Ints, Ragged

_NONE: Ints = np.empty(0, np.int64)
_NOTHING: tuple[Floats, Floats] = np.empty(0, np.float32), np.empty((0, 1), np.float32)

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
        still_wanted: Asked every few milliseconds, so it must be quick.

    Returns:
        A row for each series in the same order, as `RESULT_SCHEMA` has it: with quantiles or with an error. B rows.

    Raises:
        Unwanted: `still_wanted` said no.
    """
    closes = _ragged(chunk["closes"])
    errors = _errors(forecaster, chunk["fault"], closes)
    rows = np.flatnonzero(errors.is_null().to_numpy(zero_copy_only=False))
    good = closes if len(rows) == len(closes) else closes.take(rows)

    def go_on() -> None:
        if not still_wanted():
            raise Unwanted

    if not len(good):
        return _results(chunk, errors, _NONE, *_NOTHING)
    quantiles = forecaster.run(good, before_each=go_on)
    last_closes = good.values[good.offsets[1:] - 1].astype(np.float32)
    return _results(chunk, errors, rows, last_closes, quantiles)


def set_aside(chunk: pa.RecordBatch, reason: str) -> pa.Table:
    """A chunk that cannot be scored: the reason as the error of each row that has none of its own."""
    errors = chunk["fault"].fill_null(reason)
    return _results(chunk, errors, _NONE, *_NOTHING)


def count_failed(results: pa.Table) -> int:
    """Rows that have an error in place of a forecast."""
    return len(results) - int(results["error"].null_count)


def _errors(forecaster: Forecaster, faults: pa.StringArray, closes: Ragged) -> pa.StringArray:
    """What is wrong with each row: that it could not be read, or else what the model finds; null where nothing is."""
    found = forecaster.faults(closes)
    if not found:
        return faults
    own = np.full(len(closes), None, object)
    own[[fault.series for fault in found]] = [fault.within for fault in found]
    return pc.coalesce(faults, pa.array(own, pa.string()))


def _ragged(column: pa.ListArray) -> Ragged:
    return Ragged(column.values.to_numpy(), column.offsets.to_numpy().astype(np.int64))


def _results(
    chunk: pa.RecordBatch, errors: pa.StringArray, rows: Ints, last_closes: Floats, quantiles: Floats
) -> pa.Table:
    """The results of some rows put among the others; B rows, all of the chunk."""
    lists = pa.ListArray.from_arrays(
        pa.array(np.arange(len(quantiles) + 1, dtype=np.int32) * quantiles.shape[1]), pa.array(quantiles.ravel())
    )
    closes = pa.array(last_closes)
    if len(rows) < len(chunk):
        places = np.full(len(chunk), -1)
        places[rows] = np.arange(len(rows))
        taken = pa.array(places, mask=places < 0)
        lists, closes = pc.take(lists, taken), pc.take(closes, taken)
    columns = [chunk["row"], chunk["id"], chunk["as_of"], closes, lists, errors]
    return pa.Table.from_arrays(columns, schema=RESULT_SCHEMA)
