"""Series of different lengths as one array and its row ends, the way Arrow lays lists out."""

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain

import numpy as np
import numpy.typing as npt

from models.errors import SeriesFault

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

SMALLEST_CLOSE, LARGEST_CLOSE = 1e-30, 1e30
"""Closes outside are refused: beyond them a quantile could leave the range of float32."""


@dataclass(frozen=True, slots=True)
class Ragged:
    """
    Closes of several series, end to end.

    Attributes:
        values: All closes in quote currency, each series oldest first, float64. Shape ``(sum of lengths,)``.
        offsets: Row ``i`` is ``values[offsets[i]:offsets[i + 1]]``. Shape ``(B + 1,)``.
    """

    values: Doubles
    offsets: Ints

    @classmethod
    def of(cls, rows: Iterable[Sequence[float] | npt.NDArray[np.floating]]) -> "Ragged":
        """The same closes, from a list of rows."""
        arrays = [np.array(row, np.float64) for row in rows]
        if len(arrays) == 1:
            return cls(arrays[0], np.array([0, len(arrays[0])]))
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([len(array) for array in arrays], out=offsets[1:])
        return cls(np.concatenate(arrays) if arrays else np.empty(0), offsets)

    @classmethod
    def of_lists(cls, rows: Sequence[list[float]]) -> "Ragged":
        """The same closes, from lists of Python's own floats; of many, `of` takes twice as long."""
        if len(rows) == 1:
            return cls.of(rows)
        ends = list(accumulate(map(len, rows), initial=0))
        return cls(np.frombuffer(struct.pack(f"={ends[-1]}d", *chain.from_iterable(rows))), np.array(ends))

    @classmethod
    def joined(cls, parts: Sequence["Ragged"]) -> "Ragged":
        """The rows of all parts, in their order."""
        values = [part.values[part.offsets[0] : part.offsets[-1]] for part in parts]
        lengths = [len(own) for own in values]  # each part's only row, as most have one
        if any(len(part.offsets) != 2 for part in parts):
            lengths = np.concatenate([part.lengths for part in parts]).tolist()
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        return cls(np.concatenate(values), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, row: int) -> Doubles:
        return self.values[self.offsets[row] : self.offsets[row + 1]]

    def __iter__(self) -> Iterator[Doubles]:
        return (self[row] for row in range(len(self)))

    @property
    def lengths(self) -> Ints:
        """Days in each row. Shape ``(B,)``."""
        return self.offsets[1:] - self.offsets[:-1]

    def take(self, rows: Ints) -> "Ragged":
        """Those rows, in that order; rows that lie side by side are not copied."""
        starts, lengths = self.offsets[:-1][rows], self.lengths[rows]
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if len(lengths) and (starts[1:] == starts[:-1] + lengths[:-1]).all():
            return Ragged(self.values[starts[0] : starts[0] + offsets[-1]], offsets)
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        return Ragged(self.values[places], offsets)

    def padded(self, rows: Ints | slice) -> tuple[Floats, Ints]:
        """
        Some rows as the graph takes them.

        Args:
            rows: Which rows, in which order, at least one, shape ``(B,)``; or from which to which, all of one length.

        Returns:
            Closes, right-padded with ones, shape ``(B, T)``, and the days that are real in each row, shape ``(B,)``.
        """
        if isinstance(rows, slice):
            offsets = self.offsets[rows.start : rows.stop + 1]
            closes = self.values[offsets[0] : offsets[-1]].astype(np.float32)
            return closes.reshape(len(offsets) - 1, -1), offsets[1:] - offsets[:-1]
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        days = np.arange(lengths.max())
        inside = days < lengths[:, None]
        closes = np.ones(inside.shape, np.float32)
        closes[inside] = self.values[(starts[:, None] + days)[inside]]
        return closes, lengths


def faults(rows: Ragged, *, min_days: int, max_days: int) -> list[SeriesFault]:
    """
    The first fault of each faulty row, in row order; empty where every row can be forecast.

    onnxruntime turns a NaN into a finite wrong forecast, so nothing reaches it unchecked.

    Args:
        rows: Closes as the caller sent them.
        min_days: Fewest closes the model takes.
        max_days: Most closes one series may have here.
    """
    found = _length_faults(rows, min_days, max_days)
    values = rows.values
    if not len(values) or (_least(values) >= SMALLEST_CLOSE and _most(values) <= LARGEST_CLOSE):  # no NaN is
        return [found[row] for row in sorted(found)]
    good = (values >= SMALLEST_CLOSE) & (values <= LARGEST_CLOSE)
    bad = np.flatnonzero(~good)
    owners = np.searchsorted(rows.offsets, bad, side="right") - 1
    for position, row in zip(bad.tolist(), owners.tolist(), strict=True):
        if row not in found:
            close = position - int(rows.offsets[row])
            found[row] = SeriesFault(row, _why(float(values[position])), close)
    return [found[row] for row in sorted(found)]


_least, _most = np.minimum.reduce, np.maximum.reduce  # `min` and `max` of arrays are these, by a detour in Python


def _length_faults(rows: Ragged, min_days: int, max_days: int) -> dict[int, SeriesFault]:
    if len(rows) == 1 and min_days <= rows.offsets[1] - rows.offsets[0] <= max_days:  # the usual request, and faster
        return {}
    lengths = rows.lengths
    found: dict[int, SeriesFault] = {}
    if len(lengths) and lengths.min() >= min_days and lengths.max() <= max_days:
        return found
    for row in np.flatnonzero((lengths < min_days) | (lengths > max_days)).tolist():
        days = int(lengths[row])
        wanted = f"this model needs at least {min_days}" if days < min_days else f"at most {max_days} are taken"
        found[row] = SeriesFault(row, f"has {days} close{'' if days == 1 else 's'}; {wanted}")
    return found


def _why(close: float) -> str:
    if np.isfinite(close) and close > 0:
        return f"is {close}; a close lies between {SMALLEST_CLOSE} and {LARGEST_CLOSE}"
    return f"is {close}; a close is a positive, finite number"
