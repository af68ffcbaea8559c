"""What a forecaster has to beat: quantiles of the next log return from rules known for decades."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np

from models.garch import garch_t, gjr_fhs
from models.measures import LEVELS
from models.ragged import Doubles

HISTORY_DAYS = 250
EWMA_DECAY = 0.94
_RULES_VERSION = 1
"""Raised with each change of a rule, so that forecasts kept from before are made anew."""

Baseline = Callable[[Doubles, Sequence[float], int], Doubles]


def random_walk(returns: Doubles, levels: Sequence[float], horizon: int = 1) -> Doubles:
    """
    The last close, and around it the spread of the last 250 days' returns about their median (historical simulation).

    Args:
        returns: Log returns of one series, oldest first. Shape ``(T,)``.
        levels: Quantile levels, ascending; Q of them.
        horizon: Days ahead; past returns over as many days overlap.

    Returns:
        Quantiles of the return over the days that follow each one, NaN before there are 250 of them. Shape ``(T, Q)``.
    """
    quantiles = np.full((len(returns), len(levels)), np.nan)
    if len(returns) >= HISTORY_DAYS:
        sums = np.lib.stride_tricks.sliding_window_view(returns, horizon).sum(axis=1)
        past_returns = np.lib.stride_tricks.sliding_window_view(sums, HISTORY_DAYS - horizon + 1)
        spread = np.quantile(past_returns, levels, axis=1).T
        quantiles[HISTORY_DAYS - 1 :] = spread - np.median(past_returns, axis=1, keepdims=True)
    return quantiles


def ewma_normal(returns: Doubles, levels: Sequence[float], horizon: int = 1) -> Doubles:
    """
    A normal distribution about the last close whose variance is an exponentially weighted mean, decay .94 a day.

    J.P. Morgan/Reuters, RiskMetrics Technical Document, 4th edition, 1996; over several days the variance times their
    number. Arguments and result as for `random_walk`, but from the first return on.
    """
    variance, weight, variances = 0.0, 0.0, np.empty(len(returns))
    for day, squared in enumerate((returns**2).tolist()):
        variance, weight = EWMA_DECAY * variance + squared, EWMA_DECAY * weight + 1
        variances[day] = variance / weight
    scores = np.array([NormalDist().inv_cdf(level) for level in levels])
    quantiles: Doubles = np.sqrt(horizon * variances)[:, None] * scores
    return quantiles


GARCH, RANDOM_WALK = "GARCH(1,1)-t", "random walk, 250 days of history"

BASELINES: dict[str, Baseline] = {
    GARCH: garch_t,
    "GJR-GARCH-t, filtered history": gjr_fhs,
    "EWMA .94, normal": ewma_normal,
    RANDOM_WALK: random_walk,
}
"""By the name that cards and tables give them; the first is what the others are measured against."""


def cached(name: str, closes: Doubles, folder: Path | None, horizon: int = 1) -> Doubles:
    """
    A baseline's forecasts for each day of a series, computed once for the same closes.

    Args:
        name: Of the baseline.
        closes: In quote currency, oldest first. Shape ``(T,)``.
        folder: Where they are kept, as one file each; None keeps nothing.
        horizon: Days ahead. The GARCH models answer then only after each ``horizon``-th close, from the 251st on.

    Returns:
        Quantiles of the log return over the days that follow each close but the first. Shape ``(T - 1, Q)``.
    """
    returns = np.diff(np.log(closes))
    if folder is None:
        return BASELINES[name](returns, LEVELS, horizon)
    key = f"{name} {_RULES_VERSION} {horizon} {LEVELS}".encode() + np.ascontiguousarray(closes, "<f8").tobytes()
    file = folder / f"{hashlib.sha256(key).hexdigest()}.npy"
    try:
        kept: Doubles = np.load(file)
        if kept.shape == (len(returns), len(LEVELS)):
            return kept
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or broken: made anew
    forecasts = BASELINES[name](returns, LEVELS, horizon)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as scratch:
        np.save(scratch, forecasts)
    Path(scratch.name).replace(file)
    return forecasts
