"""Closes in one cell, with blanks or semicolons between, as lists of numbers: all cells of a block at once."""

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from models.cells import NUMBER
from models.ragged import Doubles, Ints
from worker.reading.series import lengths_of, lists

_BETWEEN = np.zeros(256, bool)
_BETWEEN[[*b"\t\n\v\f\r\x1c\x1d\x1e\x1f ;"]] = True
_SPLIT = re.compile(r"[\s;]+")

Bytes = npt.NDArray[np.uint8]
Ends = npt.NDArray[np.int32]


def lists_of_cells(cells: pa.StringArray) -> tuple[pa.ListArray, dict[int, str]]:
    """
    The closes of each cell, and what is wrong with a cell, by row; one at fault has no closes.

    Args:
        cells: Without nulls. Length B.
    """
    offsets = np.frombuffer(cells.buffers()[1], np.int32)[cells.offset : cells.offset + len(cells) + 1]
    text = np.frombuffer(cells.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    offsets = offsets - offsets[0]
    tokens, owners_ends = _tokens(text, offsets)
    lengths = np.diff(owners_ends, prepend=0)
    try:
        return lists(tokens.cast(pa.float64()).to_numpy(zero_copy_only=False), lengths), {}
    except (pa.ArrowException, UnicodeDecodeError):
        return _with_faults(cells, tokens, lengths)


def _tokens(text: Bytes, offsets: Ends) -> tuple[pa.Array, Ints]:
    """The words of all cells, and how many of them there are up to the end of each cell."""
    between = _BETWEEN[text]
    begins = ~between
    begins[1:] &= between[:-1]
    starts = offsets[:-1][offsets[:-1] < offsets[1:]]
    begins[starts] = ~between[starts]
    kept_before = np.empty(len(text) + 1, np.int32)
    kept_before[0] = 0
    np.cumsum(~between, out=kept_before[1:], dtype=np.int32)
    places = np.flatnonzero(begins)
    word_offsets = np.append(kept_before[places], kept_before[-1]).astype(np.int32)
    words = pa.StringArray.from_buffers(len(places), pa.py_buffer(word_offsets), pa.py_buffer(text[~between]))
    return words, np.asarray(np.searchsorted(places, offsets[1:]), np.int64)


def _with_faults(cells: pa.StringArray, tokens: pa.Array, lengths: Ints) -> tuple[pa.ListArray, dict[int, str]]:
    """The same where some word is no number to Arrow: the cells that have one are read one by one."""
    plain = pc.match_substring_regex(tokens.cast(pa.binary()), NUMBER)
    odd = np.unique(np.repeat(np.arange(len(cells)), lengths)[~plain.to_numpy(zero_copy_only=False)])
    values: list[Doubles] = []
    faults: dict[int, str] = {}
    numbers = pc.if_else(plain, tokens, pa.scalar("0")).cast(pa.float64())
    whole = lists(numbers.to_numpy(zero_copy_only=False), lengths)
    for row in odd.tolist():
        try:
            values.append(np.array([_number(word) for word in _SPLIT.split(cells[row].as_py().strip()) if word]))
        except ValueError as error:
            values.append(np.empty(0))
            faults[row] = f"{error}; closes are numbers with blanks between"
    return _patched(whole, odd, values), faults


def _patched(whole: pa.ListArray, rows: Ints, values: list[Doubles]) -> pa.ListArray:
    """The same lists with others in some rows."""
    before = dict(zip(rows.tolist(), values, strict=True))
    lengths, flat = lengths_of(whole), whole.flatten().to_numpy()
    ends = np.cumsum(lengths)
    parts: list[Doubles] = []
    done = 0
    for row, own in before.items():
        parts += [flat[done : ends[row] - lengths[row]], own]
        done = int(ends[row])
        lengths[row] = len(own)
    return lists(np.concatenate([*parts, flat[done:]]), lengths)


def _number(text: str) -> float:
    if "_" in text or not text.isascii():  # which Python takes in a number
        raise ValueError(f"could not read {text[:60]!r} as a number")
    return float(text)
