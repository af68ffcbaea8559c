"""
A correction for those who need exact coverage: each quantile moves until closes fall under it as often as they should.

Online quantile tracking, per series, from the closes up to the day alone: Gibbs and Candès, NeurIPS 34 (2021);
Angelopoulos, Candès and Tibshirani, NeurIPS 36 (2023), whose bound holds whatever the closes do: over T days the share
at or under a quantile is off by no more than the largest correction that is needed, plus the rate, over rate times T.
It costs sharpness, and what is added after a shock comes a day late: off unless asked for.
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.measures import LEVELS
from models.ragged import Doubles

RATE = 0.02
"""Of the middle half's width, what a quantile moves by in a day, times how far the day missed its level."""
_QUARTILES = (LEVELS.index(0.25), LEVELS.index(0.75))


def corrected(forecasts: Callable[[Doubles], Doubles], rate: float = RATE) -> Callable[[Doubles], Doubles]:
    """The same forecaster, its quantiles corrected by what came before; both are as `models.walk.Walk.quantiles`."""
    return lambda closes: track(forecasts(closes), np.diff(np.log(closes)), rate)


def track(quantiles: Doubles, returns: Doubles, rate: float, levels: Sequence[float] = LEVELS) -> Doubles:
    """
    Quantiles moved by what came before.

    Args:
        quantiles: Of the return that follows each return, NaN where there is none. Shape ``(T, Q)``.
        returns: Log returns. Shape ``(T,)``.
        rate: Of the correction.
        levels: Of the quantiles.

    Returns:
        Non-decreasing along each row. Shape ``(T, Q)``.
    """
    moved, wanted = quantiles.copy(), np.array(levels)
    offsets, scales = np.zeros(len(wanted)), quantiles[:, _QUARTILES[1]] - quantiles[:, _QUARTILES[0]]
    for day in np.flatnonzero(~np.isnan(quantiles[:, 0])).tolist():
        moved[day] = np.sort(quantiles[day] + offsets * scales[day])
        if day + 1 < len(returns):
            offsets += rate * (wanted - (returns[day + 1] <= moved[day]))
    return moved
