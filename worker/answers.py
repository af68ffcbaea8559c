"""What a forecast looks like outside, the same object in an HTTP answer and in a job's results."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from models.errors import UnknownLevel
from models.ragged import Floats


@dataclass(frozen=True, slots=True)
class Levels:
    """
    Which of a model's quantiles are answered.

    Attributes:
        values: The levels, ascending.
        keys: The same as answers name them.
        columns: Where they are among the model's quantiles.
        median: Where the median is among the model's quantiles.
        known: How many quantiles the model gives.
    """

    values: list[float]
    keys: list[str]
    columns: list[int]
    median: int
    known: int


def level_columns(asked: Sequence[float] | None, known: Sequence[float]) -> Levels:
    """
    The levels to answer.

    Args:
        asked: Levels in any order, doubles counted once; None asks for all.
        known: The model's levels, ascending.

    Raises:
        UnknownLevel: The model does not give one of them.
    """
    wanted = set(known if asked is None else asked)
    for level in sorted(wanted - set(known)):
        raise UnknownLevel(level=level, known=known)
    columns = [column for column, level in enumerate(known) if level in wanted]
    values = [known[column] for column in columns]
    return Levels(values, [str(level) for level in values], columns, list(known).index(0.5), len(known))


def forecast(series_id: str, as_of: str | None, last_close: float, quantiles: Floats, levels: Levels) -> dict[str, Any]:
    """
    One series' forecast.

    Args:
        series_id: The caller's name for the series.
        as_of: The last day seen, as the caller wrote it.
        last_close: In quote currency; answered as the graph saw it, in float32.
        quantiles: All of the model's quantiles, in quote currency. Shape ``(Q,)``.
        levels: Which of them to answer.
    """
    return {
        "id": series_id,
        "as_of": as_of,
        "last_close": np.float32(last_close),
        "median": quantiles[levels.median],
        "quantiles": dict(zip(levels.keys, quantiles[levels.columns], strict=True)),
    }


def days(ahead: Floats, levels: Levels) -> list[dict[str, Any]]:
    """
    The forecast of each day to come, the next one first.

    Args:
        ahead: Quantiles of the closes, in quote currency. Shape ``(H, Q)``.
        levels: Which of them to answer.
    """
    return [
        {
            "day": day,
            "median": quantiles[levels.median],
            "quantiles": dict(zip(levels.keys, quantiles[levels.columns], strict=True)),
        }
        for day, quantiles in enumerate(ahead, 1)
    ]


def encode(answer: Any) -> bytes:
    """JSON in which a float32 has the shortest digits that read back to the same bits."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
