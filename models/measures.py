"""
How good quantile forecasts are, in numbers.

All are of log returns. R2 and MAPE of price levels are near perfect for a plain copy of the last close (R2 .997 on a
stock's prices, -.001 on its returns), so they say nothing, and stand nowhere here.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from models.ragged import Doubles, Flags

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
BANDS = {"80": (0.1, 0.9), "90": (0.05, 0.95), "98": (0.01, 0.99)}
BASIS_POINTS, PER_CENT = 1e4, 100.0


@dataclass(frozen=True)
class Measured:
    """
    One forecaster on one series.

    Attributes:
        losses: Pinball loss of each day, mean over levels. Shape ``(N,)``.
        crps: Continuous ranked probability score, mean over days.
        hits: Share of days at or under each quantile; perfect is the quantile's level. Shape ``(Q,)``.
        inside: By band, whether each day is inside it. Shape ``(N,)``.
        mae: Mean absolute error of the median.
        mae_last_close: Mean absolute error of the last close, on the same days.
        direction: Share of the days with a move on which the median was on its side.
        up: Share of the days with a move that went up: what "always up" would have had.
    """

    losses: Doubles
    crps: float
    hits: Doubles
    inside: dict[str, Flags]
    mae: float
    mae_last_close: float
    direction: float
    up: float


def measured(quantiles: Doubles, realised: Doubles) -> Measured:
    """
    Measures of one series.

    Args:
        quantiles: Of the log return, at `LEVELS`, a day a row. Shape ``(N, Q)``.
        realised: The log return that came. Shape ``(N,)``.
    """
    losses = pinball_loss(quantiles, realised)
    column = {level: place for place, level in enumerate(LEVELS)}
    median, moved = quantiles[:, column[0.5]], realised != 0
    inside = {
        band: (realised >= quantiles[:, column[low]]) & (realised <= quantiles[:, column[high]])
        for band, (low, high) in BANDS.items()
    }
    return Measured(
        losses=losses.mean(1),
        crps=float(crps(losses).mean()),
        hits=(realised[:, None] <= quantiles).mean(0),
        inside=inside,
        mae=float(np.abs(realised - median).mean()),
        mae_last_close=float(np.abs(realised).mean()),
        direction=_share(np.sign(median[moved]) == np.sign(realised[moved])),
        up=_share(realised[moved] > 0),
    )


def pinball_loss(quantiles: Doubles, realised: Doubles, levels: Sequence[float] = LEVELS) -> Doubles:
    """
    Koenker and Bassett's loss of quantile forecasts, Econometrica 46 (1978).

    >>> pinball_loss(np.array([[-1.0, 1.0]]), np.array([2.0]), [0.1, 0.9])
    array([[0.3, 0.9]])

    Args:
        quantiles: One row a forecast. Shape ``(N, Q)``.
        realised: What came. Shape ``(N,)``.
        levels: Of the quantiles.

    Returns:
        Shape ``(N, Q)``.
    """
    error = realised[:, None] - quantiles
    return np.maximum(np.array(levels) * error, (np.array(levels) - 1) * error)


def crps(losses: Doubles, levels: Sequence[float] = LEVELS) -> Doubles:
    """
    Continuous ranked probability score: twice the integral of the pinball loss over all levels.

    Gneiting and Raftery, Journal of the American Statistical Association 102 (2007). Straight lines between the levels
    that there are, down to nothing at levels 0 and 1: a little too small, for all forecasters alike.

    >>> crps(np.array([[0.3, 0.9]]), [0.25, 0.75])
    array([0.9])

    Args:
        losses: Pinball losses. Shape ``(N, Q)``.
        levels: Of the quantiles, Q of them.

    Returns:
        Shape ``(N,)``.
    """
    edges = np.concatenate([[0.0], levels, [1.0]])
    heights = np.pad(losses, ((0, 0), (1, 1)))
    score: Doubles = 2 * np.trapezoid(heights, edges, axis=1)
    return score


def newey_west_t(differences: Doubles) -> float:
    """
    Student's t of the mean of a series whose neighbours depend on each other, as in Diebold and Mariano's test.

    Newey and West, Econometrica 55 (1987), Bartlett's weights, ``4 (N / 100)^(2/9)`` lags; Diebold and Mariano, Journal
    of Business and Economic Statistics 13 (1995). 0 where nothing varies.

    Args:
        differences: Of losses, a day each. Shape ``(N,)``.
    """
    count = len(differences)
    centred = differences - differences.mean()
    lags = int(4 * (count / 100) ** (2 / 9))
    variance = centred @ centred
    for lag in range(1, min(lags, count - 1) + 1):
        variance += 2 * (1 - lag / (lags + 1)) * (centred[lag:] @ centred[:-lag])
    return float(differences.mean() * count / np.sqrt(variance)) if variance > 0 else 0.0


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else 0.0
