"""
Several days ahead: a forecaster walked forward over closes that are drawn from its own forecasts. Knows no torch.

The first day's quantiles are the forecaster's own. From there paths go on: each day a return is drawn from the forecast
quantiles, the state takes it in, and the next day is forecast. All paths of a day run as one batch.
"""

from statistics import NormalDist
from typing import TYPE_CHECKING, Final

import numpy as np

from models.bounds import MAX_HORIZON
from models.errors import DataError
from models.measures import LEVELS
from models.ragged import LARGEST_CLOSE, SMALLEST_CLOSE, Doubles, Floats, Ints
from models.walk import Walk

if TYPE_CHECKING:
    from models.evaluate import Rule

PATHS: Final = 1000
_ROWS_PER_RUN: Final = 16_000
_PRICES: Final = (float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max))
"""What a float32 can hold; the days ahead of closes that leap by many orders of magnitude would go beyond it."""
_SCORES: Final = np.array([NormalDist().inv_cdf(level) for level in LEVELS])


def forecast_ahead(walk: Walk, closes: Doubles, horizon: int, *, paths: int = PATHS, seed: int = 0) -> Doubles:
    """
    Quantiles of the closes of the days to come.

    Args:
        walk: The forecaster.
        closes: In quote currency, oldest first, at least the walk's `min_days`. Shape ``(T,)``.
        horizon: Days, 1 to 20.
        paths: That are drawn. The quantiles of day 2 and later are those of this sample, and so carry its noise.
        seed: The same one gives the same paths.

    Returns:
        In quote currency, positive and finite, as float32 too. Shape ``(horizon, Q)``.

    Raises:
        DataError: There are too few closes, or the horizon is out of range.
    """
    _check(horizon)
    if len(closes) < walk.min_days:
        raise DataError(f"got {len(closes)} closes; this model needs at least {walk.min_days}")
    ratios, state = walk.resumed(closes[None], None)
    logs = np.log(ratios[:, -1])
    moves = _paths(walk, closes[-1:], state, logs, horizon, paths, np.random.default_rng(seed))[:, 0]
    quantiles = np.quantile(moves, LEVELS, axis=1).T
    quantiles[0] = logs[0]
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(np.clip(closes[-1] * np.exp(quantiles), *_PRICES))


def rule_ahead(walk: Walk, horizon: int, *, paths: int = PATHS, seed: int = 0) -> "Rule":
    """
    The forecaster several days ahead as `models.evaluate.assess` takes it; NaN where there are too few closes.

    Raises:
        DataError: The horizon is out of range.
    """
    _check(horizon)

    def quantiles(closes: Doubles, last: Ints) -> Doubles:
        forecasts = np.full((len(last), len(LEVELS)), np.nan)
        known = np.flatnonzero(last >= walk.min_days - 1)
        rng = np.random.default_rng(seed)
        states, logs = _states(walk, closes, last[known])
        at_a_time = max(1, _ROWS_PER_RUN // paths)
        for first in range(0, len(known), at_a_time):
            some = slice(first, first + at_a_time)
            moves = _paths(walk, closes[last[known[some]]], states[some], logs[some], horizon, paths, rng)[-1]
            forecasts[known[some]] = np.quantile(moves, LEVELS, axis=1).T
        return forecasts

    return quantiles


def draw(logs: Doubles, uniforms: Doubles) -> Doubles:
    """
    Returns with the given quantiles.

    Between two quantiles a return is a straight line over the normal score of its level; below the lowest and above
    the highest the tail is exponential, with the slope that the two outermost quantiles have.

    Args:
        logs: Quantiles of log returns at `LEVELS`. Shape ``(N, Q)``.
        uniforms: Levels that are drawn, within 0 and 1. Shape ``(N,)``.

    Returns:
        Shape ``(N,)``.
    """
    rows = np.arange(len(logs))
    upper = np.clip(np.searchsorted(LEVELS, uniforms), 1, len(LEVELS) - 1)
    low, high = logs[rows, upper - 1], logs[rows, upper]
    share = (_normal_scores(uniforms) - _SCORES[upper - 1]) / (_SCORES[upper] - _SCORES[upper - 1])
    drawn = low + np.clip(share, 0, 1) * (high - low)
    tail = np.log(LEVELS[1] / LEVELS[0])
    down = np.log(np.maximum(uniforms, 1e-12) / LEVELS[0]).clip(max=0) * (logs[:, 1] - logs[:, 0]) / tail
    up = np.log(np.maximum(1 - uniforms, 1e-12) / (1 - LEVELS[-1])).clip(max=0) * (logs[:, -2] - logs[:, -1]) / tail
    return np.asarray(drawn + down + up)


def _paths(
    walk: Walk,
    closes: Doubles,
    state: Floats,
    logs: Doubles,
    horizon: int,
    paths: int,
    rng: np.random.Generator,
) -> Doubles:
    """Log returns since the last close, after each day: of N series ``(N,)``, ``(N, S)``, ``(N, Q)``: ``(H, N, P)``."""
    count = len(closes)
    level, state, logs = np.repeat(closes, paths), np.repeat(state, paths, axis=0), np.repeat(logs, paths, axis=0)
    moves = np.zeros((horizon, count * paths))
    for day in range(horizon):
        drawn = draw(logs, _uniforms(rng, count, paths))
        moves[day] = drawn + (moves[day - 1] if day else 0)
        if day < horizon - 1:
            closes_now = np.clip(level * np.exp(drawn), SMALLEST_CLOSE, LARGEST_CLOSE)
            ratios, state = walk.resumed(np.stack([level, closes_now], axis=1), state)
            level, logs = closes_now, np.log(ratios[:, -1])
    return moves.reshape(horizon, count, paths)


def _states(walk: Walk, closes: Doubles, last: Ints) -> tuple[Floats, Doubles]:
    """What is known after each of some days, ascending, and the forecast then: ``(N, S)`` and ``(N, Q)``."""
    state, start, states, logs = None, 0, [], []
    for place in last.tolist():
        ratios, state = walk.resumed(closes[None, start : place + 1], state)
        start = place
        states.append(state[0])
        logs.append(np.log(ratios[0, -1]))
    return np.array(states, np.float32), np.array(logs)


def _uniforms(rng: np.random.Generator, count: int, paths: int) -> Doubles:
    """Levels of each series' paths, one in each of as many equal parts: less noise than plain draws. ``(N * P,)``."""
    parts = rng.permuted(np.broadcast_to(np.arange(paths), (count, paths)), axis=1)
    levels: Doubles = ((parts + rng.random((count, paths))) / paths).ravel()
    return levels


_GRID: Final = np.linspace(1e-4, 1 - 1e-4, 4001)
_GRID_SCORES: Final = np.array([NormalDist().inv_cdf(level) for level in _GRID.tolist()])


def _normal_scores(uniforms: Doubles) -> Doubles:
    """The normal distribution's quantiles, to 1e-4 within the outermost levels."""
    scores: Doubles = np.interp(uniforms, _GRID, _GRID_SCORES)
    return scores


def _check(horizon: int) -> None:
    if not 1 <= horizon <= MAX_HORIZON:
        raise DataError(f"a horizon is 1 to {MAX_HORIZON} days, not {horizon}")
