"""Which rows run together: of like length, so that little of a run is padding, and as many as are cheapest a row."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np

from models.ragged import Ints


class Bounds(NamedTuple):
    """
    How much one run of the graph takes.

    Attributes:
        rows: At most.
        days: Padded days at most, unless one row alone has more.
        free_padding_days: Padding that costs no more than one more run would.
        padding_share: Of a run's days, beyond that.
    """

    rows: int
    days: int
    free_padding_days: int
    padding_share: float


ON_CPU: Final = Bounds(rows=128, days=4 * 1024, free_padding_days=100, padding_share=0.1)
"""
Of 20 closes 64 rows a run cost 6 % more a row than 128, 32 a fifth more, 8 twice as much. The days are so many that
what a run computes stays in a core's own cache: the cheapest a row are 48 to 96 rows of 60 closes, 24 to 36 of 120, 16
to 20 of 250, 8 to 10 of 500. 24 of 250 cost 1 to 2 % more, and up to a tenth where other things are in that cache; 64 a
sixth more.
"""
ON_GPU: Final = Bounds(rows=4096, days=2**18, free_padding_days=2**17, padding_share=0.1)
"""
A run on an H100 takes 1.4 ms, 15 us for each day of its longest row, whatever the rows, and some 8 ns a padded day: so
one more run costs as much as 200,000 days of padding. Four times as large, alone they are half as fast again, and no
faster where a few threads run them; they take four times the memory.
"""


def batches(lengths: Ints, bounds: Bounds) -> Iterator[Ints | slice]:
    """
    Row numbers, run by run.

    Args:
        lengths: Days of each row, at least one row. Shape ``(B,)``.
        bounds: Of a run.

    Returns:
        Slices where all rows are of one length, or else the longest rows first.
    """
    if len(lengths) == 1 or (lengths == lengths[0]).all():
        most = min(bounds.rows, max(1, bounds.days // int(lengths[0])))
        for start in range(0, len(lengths), most):
            yield slice(start, min(start + most, len(lengths)))
        return
    order = np.argsort(lengths, kind="stable")[::-1]
    start = 0
    while start < len(order):
        longest = int(lengths[order[start]])
        run = order[start : start + min(bounds.rows, max(1, bounds.days // longest))]
        padding = np.cumsum(longest - lengths[run])
        share = bounds.padding_share * longest * np.arange(1, len(run) + 1)
        allowed = np.maximum(bounds.free_padding_days, share)
        fitting = run[: len(run) if (padding <= allowed).all() else int(np.argmax(padding > allowed))]
        yield fitting
        start += len(fitting)
