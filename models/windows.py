"""
What a network is trained on: random windows of series, of portfolios of them, and of simulated paths.

Portfolios make many series of few, with volatilities and tails of their own; simulated paths are as many as one likes.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from models.errors import DataError
from models.panel import Panel
from models.ragged import Doubles, Floats, Ragged
from models.simulate import paths

if TYPE_CHECKING:
    from models.fit import FitConfig

PATH_DAYS = 1025
"""Closes of a simulated path: a window of the recurrent networks, and the day after it."""
SMALLEST_MOVE = 1e-4
"""Floor of a series' mean absolute return, by which its loss is divided: each series counts alike."""
_PORTFOLIOS, _LARGEST = 64, 4


class Windows:
    """Windows of the days before a date, and of simulated paths."""

    def __init__(self, prices: Panel, train_end: np.datetime64, config: "FitConfig") -> None:
        """
        Find them; within a kind each window is as likely as another.

        Raises:
            DataError: There is not one of a series, and not all are to be simulated.
        """
        rng = np.random.default_rng(config.seed)
        seen = [row[: int(np.searchsorted(prices.dates_of(at), train_end))] for at, row in enumerate(prices.closes)]
        mixed = portfolios(prices, train_end, rng, _PORTFOLIOS) if config.portfolios else []
        days = config.window_days + 1
        simulated = list(paths(rng, config.paths, max(PATH_DAYS, days))) if config.simulated else []
        kinds = [_Kind(rows, days) for rows in (seen, mixed, simulated)]
        real = 1 - config.simulated
        shares = np.array([real * (1 - config.portfolios), real * config.portfolios, config.simulated])
        shares *= [len(kind.starts) > 0 for kind in kinds]
        if real and not len(kinds[0].starts):
            raise DataError(f"no series has {days} closes before {train_end}; training needs windows that long")
        self._rng, self._batch, self._days = rng, config.batch, days
        self._kinds, self._shares = kinds, shares / shares.sum()

    def draw(self) -> tuple[Floats, Floats]:
        """Closes of a batch of windows, shape ``(B, T)``, and the mean absolute return of their series, ``(B,)``."""
        counts = self._rng.multinomial(self._batch, self._shares)
        drawn = [kind.draw(self._rng, int(count), self._days) for kind, count in zip(self._kinds, counts, strict=True)]
        closes, sizes = (np.concatenate(parts) for parts in zip(*drawn, strict=True))
        return closes.astype(np.float32), sizes.astype(np.float32)


class _Kind:
    """All windows of some series."""

    def __init__(self, rows: list[Doubles], days: int) -> None:
        closes = Ragged.of(rows)
        starts = [np.arange(len(row) - days + 1) + first for row, first in zip(rows, closes.offsets[:-1], strict=True)]
        sizes = [np.full(len(start), _size(row)) for start, row in zip(starts, rows, strict=True)]
        self.closes = closes.values
        self.starts = np.concatenate([np.empty(0, np.int64), *starts])
        self.sizes = np.concatenate([np.empty(0), *sizes])

    def draw(self, rng: np.random.Generator, count: int, days: int) -> tuple[Doubles, Doubles]:
        drawn = rng.integers(len(self.starts), size=count) if count else np.empty(0, np.int64)
        closes: Doubles = self.closes[self.starts[drawn, None] + np.arange(days)]
        return closes, self.sizes[drawn]


def portfolios(prices: Panel, end: np.datetime64, rng: np.random.Generator, count: int) -> list[Doubles]:
    """
    Values of portfolios of two to four series, rebalanced daily to random weights, on the days that they share.

    Args:
        prices: Of which nothing from the end on is read.
        end: The first day that is not in them.
        rng: Draws series and weights, uniform over all weights that sum to one.
        count: How many.

    Returns:
        Fewer than asked for where the series drawn share no days; none of less than two series.
    """
    if len(prices) < 2:
        return []
    values = []
    for _ in range(count):
        chosen = rng.choice(len(prices), min(len(prices), int(rng.integers(2, _LARGEST + 1))), replace=False).tolist()
        weights = rng.dirichlet(np.ones(len(chosen)))
        shared = _shared_days([prices.dates_of(row) for row in chosen], end)
        if len(shared) > 1:
            closes = np.stack([prices.closes[row][np.isin(prices.dates_of(row), shared)] for row in chosen])
            gains = weights @ (closes[:, 1:] / closes[:, :-1])
            values.append(100 * np.concatenate([[1.0], np.cumprod(gains)]))
    return values


def _shared_days(dates: list[npt.NDArray[np.datetime64]], end: np.datetime64) -> npt.NDArray[np.datetime64]:
    shared = dates[0][dates[0] < end]
    for others in dates[1:]:
        shared = np.intersect1d(shared, others, assume_unique=True)
    return shared


def _size(closes: Doubles) -> float:
    """A series' mean absolute log return."""
    moves = np.abs(np.diff(np.log(closes)))
    return max(SMALLEST_MOVE, float(moves.mean())) if len(moves) else SMALLEST_MOVE
