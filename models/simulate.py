"""
Simulated closes: many markets that might have been, to train on where real ones are few or not free.

Each path has its own parameters, drawn at random. Its volatility follows one of three laws:

    garch       GJR-GARCH(1,1): Glosten, Jagannathan and Runkle, Journal of Finance 48 (1993)
    switching   the same times a level that changes on random days: Hamilton and Susmel, Journal of Econometrics 64
                (1994)
    components  a log volatility that is the sum of three AR(1), fast to slow, partly driven by the path's own shocks
                as in Nelson's EGARCH, Econometrica 59 (1991), partly by news of its own

Shocks are Student's t with 3.2 to 20 degrees of freedom, mildly skewed, on some paths with jumps. There is a little
drift and autocorrelation; some prices move in ticks, some have days without a move.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from models.ragged import Doubles

WARM_UP_DAYS: Final = 300
"""Days that are simulated in front of each path and thrown away, so that volatility starts anywhere in its range."""
LARGEST_RETURN: Final = 0.6
_LAWS: Final = (0.2, 0.6, 0.2)
_GARCH, _COMPONENTS, _SWITCHING = range(3)
_MEAN_SIZE, _SIZE_DEVIATION = 0.72, 0.75
"""About the mean and the standard deviation of a shock's absolute value."""


@dataclass(frozen=True)
class _Laws:
    """What is drawn once for each path. Shape ``(B,)``, and ``(3, B)`` for the components."""

    law: npt.NDArray[np.int64]
    volatility: Doubles
    leverage: Doubles
    degrees: Doubles
    skew: Doubles
    reaction: Doubles
    persistence: Doubles
    decays: Doubles
    news: Doubles
    own: Doubles
    switch_rate: Doubles
    switch_size: Doubles
    jump_rate: Doubles
    jump_size: Doubles
    drift: Doubles
    premium: Doubles
    autocorrelation: Doubles
    still_rate: Doubles
    tick: Doubles


def paths(rng: np.random.Generator, count: int, days: int) -> Doubles:
    """
    Closes of as many markets, oldest first.

    Args:
        rng: Decides all of it.
        count: How many, B.
        days: Closes of each, T.

    Returns:
        Positive. Shape ``(B, T)``.
    """
    laws = _drawn(rng, count)
    returns = _returns(rng, laws, WARM_UP_DAYS + days - 1)[WARM_UP_DAYS:]
    starts = _log_uniform(rng, 3, 300, count)
    closes = starts * np.exp(np.vstack([np.zeros(count), np.cumsum(returns, axis=0)]))
    closes *= np.maximum(1, 3 / closes.min(axis=0))  # no penny stocks, whose ticks would be all that moves
    ticked = np.maximum(np.round(closes / laws.tick), 1) * laws.tick
    return np.where(np.isfinite(laws.tick), ticked, closes).T


def _drawn(rng: np.random.Generator, count: int) -> _Laws:
    def some(share: float, values: Doubles, otherwise: float = 0.0) -> Doubles:
        return np.where(rng.random(count) < share, values, otherwise)

    half_lives = np.stack([_log_uniform(rng, low, high, count) for low, high in ((1.5, 8), (10, 40), (60, 700))])
    decays = 0.5 ** (1 / half_lives)
    spread = np.stack([rng.uniform(low, high, count) for low, high in ((0, 0.15), (0, 0.2), (0.1, 0.45))])
    return _Laws(
        law=rng.choice(3, count, p=_LAWS),
        volatility=np.clip(np.exp(rng.normal(np.log(0.016), 0.55, count)), 0.002, 0.08),
        leverage=rng.uniform(0.2, 0.9, count),
        degrees=_log_uniform(rng, 3.2, 20, count),
        skew=np.exp(rng.normal(-0.01, 0.05, count)),
        reaction=rng.uniform(0.02, 0.14, count),
        persistence=1 - _log_uniform(rng, 0.002, 0.04, count),
        decays=decays,
        news=spread * np.sqrt(1 - decays**2),
        own=rng.uniform(0.2, 1, count),
        switch_rate=_log_uniform(rng, 1 / 1500, 1 / 150, count),
        switch_size=rng.uniform(0.2, 0.6, count),
        jump_rate=some(0.5, _log_uniform(rng, 0.001, 0.02, count)),
        jump_size=rng.uniform(2, 6, count),
        drift=rng.normal(0.0003, 0.0003, count),
        premium=some(0.3, rng.normal(0, 0.05, count)),
        autocorrelation=rng.normal(0, 0.03, count),
        still_rate=some(0.15, _log_uniform(rng, 0.005, 0.15, count)),
        tick=some(0.3, rng.choice([0.01, 0.05, 0.0625, 0.125], count), np.inf),
    )


def _returns(rng: np.random.Generator, laws: _Laws, days: int) -> Doubles:
    """Log returns, a day a row. Shape ``(days, B)``."""
    count = len(laws.law)
    shocks = _shocks(rng, laws, days)
    switches = rng.random((days, count)) < laws.switch_rate
    levels = laws.switch_size * rng.standard_normal((days, count)) * (laws.law == _SWITCHING)
    news = rng.standard_normal((days, *laws.decays.shape))
    still = rng.random((days, count)) < laws.still_rate
    variance, level = laws.volatility**2, np.zeros(count)
    logs, before = np.zeros_like(laws.decays), np.zeros(count)
    returns = np.empty((days, count))
    for day, shock in enumerate(shocks):
        level = np.where(switches[day], levels[day], level)
        garch = np.sqrt(variance) * np.exp(level)
        now = np.minimum(np.where(laws.law == _COMPONENTS, laws.volatility * np.exp(logs.sum(0)), garch), 0.25)
        mean = laws.drift + laws.autocorrelation * before + laws.premium * now
        before = np.where(still[day], 0, np.clip(mean + now * shock, -LARGEST_RETURN, LARGEST_RETURN))
        returns[day] = before
        variance = _next_variance(laws, variance, shock)
        logs = laws.decays * logs + laws.news * _driver(laws, shock, news[day])
    return returns


def _shocks(rng: np.random.Generator, laws: _Laws, days: int) -> Doubles:
    """Student's t of unit variance, skewed, and jumps. Shape ``(days, B)``."""
    count = len(laws.law)
    drawn = rng.standard_t(laws.degrees, (days, count)) * np.sqrt((laws.degrees - 2) / laws.degrees)
    skewed = np.where(drawn > 0, drawn * laws.skew, drawn / laws.skew)
    jumps = rng.random((days, count)) < laws.jump_rate
    return skewed + jumps * laws.jump_size * rng.standard_normal((days, count))


def _next_variance(laws: _Laws, variance: Doubles, shock: Doubles) -> Doubles:
    """GJR-GARCH: a share `leverage` of the reaction answers falls alone, and those twice."""
    squared = variance * np.minimum(shock**2, 36)
    reaction = laws.reaction * squared * (1 - laws.leverage + 2 * laws.leverage * (shock < 0))
    kept = np.maximum(laws.persistence - laws.reaction, 0) * variance
    usual = laws.volatility**2
    return np.clip(usual * (1 - laws.persistence) + reaction + kept, 0.01 * usual, 144 * usual)


def _driver(laws: _Laws, shock: Doubles, news: Doubles) -> Doubles:
    """What moves the components, of about unit variance: falls, the size of shocks, and news of each. ``(3, B)``."""
    size = np.clip((np.abs(shock) - _MEAN_SIZE) / _SIZE_DEVIATION, -2, 5)
    own = np.sqrt(1 - laws.leverage**2) * size - laws.leverage * shock
    return laws.own * own + np.sqrt(1 - laws.own**2) * news


def _log_uniform(rng: np.random.Generator, low: float, high: float, count: int) -> Doubles:
    return np.exp(rng.uniform(np.log(low), np.log(high), count))
