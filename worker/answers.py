"""What a forecast looks like outside, the same object in an HTTP answer and in a job's results."""

import functools
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson

from models.errors import UnknownLevel
from models.gates import means
from models.ragged import Floats

_ROWS_A_TURN = 100
"""Of some 50 numbers each: .2 ms."""


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
        template: A forecast in JSON with gaps: id, as_of, last close, median, and a gap a level.
    """

    values: list[float]
    keys: list[str]
    columns: list[int]
    median: int
    known: int
    template: bytes

    @property
    def all(self) -> bool:
        """Whether all of the model's quantiles are answered."""
        return len(self.columns) == self.known


def level_columns(asked: Sequence[float] | None, known: Sequence[float]) -> Levels:
    """
    The levels to answer.

    Args:
        asked: Levels in any order, doubles counted once; None asks for all.
        known: The model's levels, ascending.

    Raises:
        UnknownLevel: The model does not give one of them.
    """
    return _levels(None if asked is None else tuple(sorted(set(asked))), tuple(known))


@functools.lru_cache(maxsize=256)
def _levels(asked: tuple[float, ...] | None, known: tuple[float, ...]) -> Levels:
    wanted = set(known if asked is None else asked)
    for level in sorted(wanted - set(known)):
        raise UnknownLevel(level=level, known=known)
    columns = [column for column, level in enumerate(known) if level in wanted]
    values = [known[column] for column in columns]
    keys = [str(level) for level in values]
    gaps = ",".join(f'"{key}":%b' for key in keys)
    template = f'{{"id":%b,"as_of":%b,"last_close":%b,"median":%b,"quantiles":{{{gaps}}}}}'.encode()
    return Levels(values, keys, columns, list(known).index(0.5), len(known), template)


def forecasts(
    ids: Sequence[str], as_ofs: Sequence[str | None], last_closes: Floats, quantiles: Floats, levels: Levels
) -> list[bytes]:
    """
    Forecasts as JSON, one object a series. The numbers are written all at once: one by one takes five times as long.

    Args:
        ids: The callers' names for the series, B of them.
        as_ofs: The last day seen of each, as the caller wrote it.
        last_closes: In quote currency, as the graph saw them. Shape ``(B,)``.
        quantiles: All of the model's quantiles, in quote currency. Shape ``(B, Q)``.
        levels: Which of them to answer.
    """
    if not len(quantiles):
        return []
    closes = encode(last_closes)[1:-1].split(b",")
    rows = encode(np.ascontiguousarray(quantiles))[2:-2].split(b"],[")
    written = []
    for name, as_of, close, row in zip(ids, as_ofs, closes, rows, strict=True):
        numbers = row.split(b",")
        answered = numbers if levels.all else [numbers[column] for column in levels.columns]
        day = b"null" if as_of is None else orjson.dumps(as_of)
        written.append(levels.template % (orjson.dumps(name), day, close, numbers[levels.median], *answered))
    return written


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


def explanation(told: Mapping[str, Floats]) -> bytes:
    """
    What a network kept, added and showed, as JSON.

    Args:
        told: As `models.gates.Gates` gives it. Shapes ``(N, H)``.
    """
    days, units = told["hidden"].shape
    parts = [b'{"days":%d,"units":%d' % (days, units)]
    for name, each in told.items():
        parts.append(b'"%b":[%b]' % (name.encode(), b",".join(_in_turns(each))))
    parts.append(b'"mean":%b}' % encode(means(told)))
    return b",".join(parts)


def _in_turns(numbers: Floats) -> Iterator[bytes]:
    """
    Rows as JSON, some at a time, between which others have their turn.

    Numbers are written under the interpreter's lock, and whoever waits for it asks for it after 5 ms: with two threads
    that write ten years each, an event loop came to its turn 65 ms late at times. Given up in between, .7 ms.
    """
    for first in range(0, len(numbers), _ROWS_A_TURN):
        yield encode(numbers[first : first + _ROWS_A_TURN])[1:-1]
        time.sleep(0)


def encode(answer: Any) -> bytes:
    """JSON in which a float32 has the shortest digits that read back to the same bits."""
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)
