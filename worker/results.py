"""Stored results of a chunk as the table that callers read: forecasts apart from errors, with what was joined."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from worker.answers import Levels
from worker.formats import Shape

ERROR_LINE = b'{"row":%b,"id":%b,"error":%b}'
_ERRORS = [("row", pa.int64()), ("id", pa.string()), ("error", pa.string())]


def forecasts_shape(levels: Levels, joined: Sequence[pa.Field]) -> Shape:
    """What a file of forecasts is like: last close, median and a column a level, in quote currency, float32."""
    numbers = [(name, pa.float32()) for name in ("last_close", "median", *levels.keys)]
    return _shape([("id", pa.string()), ("as_of", pa.string()), *numbers], joined, levels.template)


def errors_shape(joined: Sequence[pa.Field]) -> Shape:
    """What a file of errors is like: a row's place among the job's series from 0, its id, and what is wrong."""
    return _shape(_ERRORS, joined, ERROR_LINE)


def forecasts(results: pa.Table, joined: pa.Table, levels: Levels, shape: Shape) -> pa.Table:
    """
    A chunk's forecasts; the rows with an error are not among them.

    Args:
        results: As `worker.scoring.RESULT_SCHEMA` has them. B rows.
        joined: The columns to join, of the same B rows.
        levels: Which quantiles.
        shape: As `forecasts_shape` has it.
    """
    good = pc.is_null(results["error"])
    if results["error"].null_count < len(results):
        results, joined = results.filter(good), joined.filter(good)
    quantiles = results["quantiles"].combine_chunks().flatten().to_numpy().reshape(len(results), levels.known)
    asked = [np.ascontiguousarray(quantiles[:, place]) for place in (levels.median, *levels.columns)]
    own = [results["id"], results["as_of"], results["last_close"], *map(pa.array, asked)]
    return pa.Table.from_arrays([*own, *joined.columns], schema=shape.schema)


def errors(results: pa.Table, joined: pa.Table, shape: Shape) -> pa.Table:
    """A chunk's rows that have an error; arguments as for `forecasts`."""
    bad = pc.is_valid(results["error"])
    results, joined = results.filter(bad), joined.filter(bad)
    own = [results[name] for name, _ in _ERRORS]
    return pa.Table.from_arrays([*own, *joined.columns], schema=shape.schema)


def _shape(own: Sequence[tuple[str, pa.DataType]], joined: Sequence[pa.Field], line: bytes) -> Shape:
    """Joined columns keep their names; one that is called as ours are has ``joined.`` before it in a table."""
    ours = {name for name, _ in own}
    columns = [field.with_name(f"joined.{field.name}" if field.name in ours else field.name) for field in joined]
    return Shape(pa.schema([*own, *columns]), [field.name for field in joined], line)
