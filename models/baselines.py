"""What a forecaster has to beat: quantiles of the next log return from simple rules, known for decades."""

from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np

from models.ragged import Doubles

HISTORY_DAYS = 250
EWMA_DECAY = 0.94

Baseline = Callable[[Doubles, Sequence[float]], Doubles]


def random_walk(returns: Doubles, levels: Sequence[float]) -> Doubles:
    """
    The last close, and around it the spread of the last 250 returns about their median (historical simulation).

    Args:
        returns: Log returns of one series, oldest first. Shape ``(T,)``.
        levels: Quantile levels, ascending; Q of them.

    Returns:
        Quantiles of the return that follows each one, NaN before there are 250 of them. Shape ``(T, Q)``.
    """
    quantiles = np.full((len(returns), len(levels)), np.nan)
    if len(returns) >= HISTORY_DAYS:
        past_returns = np.lib.stride_tricks.sliding_window_view(returns, HISTORY_DAYS)
        spread = np.quantile(past_returns, levels, axis=1).T
        quantiles[HISTORY_DAYS - 1 :] = spread - np.median(past_returns, axis=1, keepdims=True)
    return quantiles


def ewma_normal(returns: Doubles, levels: Sequence[float]) -> Doubles:
    """
    A normal distribution about the last close whose variance is an exponentially weighted mean, decay .94 a day.

    J.P. Morgan/Reuters, RiskMetrics Technical Document, 4th edition, 1996. Arguments and result as for `random_walk`,
    but from the first return on.
    """
    variance, weight, variances = 0.0, 0.0, np.empty(len(returns))
    for day, squared in enumerate((returns**2).tolist()):
        variance, weight = EWMA_DECAY * variance + squared, EWMA_DECAY * weight + 1
        variances[day] = variance / weight
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])
    quantiles: Doubles = np.sqrt(variances)[:, None] * scores
    return quantiles


BASELINES: dict[str, Baseline] = {
    "random walk, 250 days of history": random_walk,
    "EWMA .94, normal": ewma_normal,
}
"""By the name that cards and tables give them; the first is what the others are measured against."""
