"""
How good the forecasts are: walk-forward scores one day ahead, the model beside the baselines on the same days.

Every forecast is made from the closes up to its own day. A span is a range of days that are forecast, not of days that
are seen, so each forecast counts in one span, by date alone.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from models.baselines import BASELINES, HISTORY_DAYS
from models.bundle import Card
from models.errors import DataError
from models.networks import LEVELS, Forecasting, next_closes
from models.panel import Days, Panel
from models.ragged import Doubles

BANDS = {"80": (0.1, 0.9), "90": (0.05, 0.95), "98": (0.01, 0.99)}
_BASIS_POINTS = 1e4

Scores = dict[str, dict[str, float]]
Span = tuple[np.datetime64, np.datetime64]
"""First day that is forecast, and the first day after the last one."""


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


def model_quantiles(network: Forecasting, closes: Doubles) -> Doubles:
    """
    Quantiles of the log return after each close of a series but the first, NaN before the network can answer.

    One pass over the whole series: each day's answer is a function of the closes up to that day.

    Args:
        network: On the CPU.
        closes: In quote currency, oldest first. Shape ``(T,)``.

    Returns:
        Shape ``(T - 1, Q)``; the last row belongs to a day that is not there yet.
    """
    with torch.no_grad():
        returns = network.quantiles(*network.seen(torch.from_numpy(closes.astype(np.float32)[None])))[:, 0]
        ratios = next_closes(torch.ones(len(returns), 1), returns).double().numpy()
    quantiles = np.full((len(closes) - 1, len(LEVELS)), np.nan)
    quantiles[len(quantiles) - len(ratios) :] = np.log(ratios)
    return quantiles


def scores(name: str, network: Forecasting, prices: Panel, span: Span) -> Scores:
    """
    The network and the baselines on the same days of the same series.

    Args:
        name: The network's name among the scores.
        network: Sees each series from its first day.
        prices: Without faults.
        span: Days that are forecast; of them those with 250 returns before them.

    Returns:
        By forecaster: `pinball_bp`, the mean loss of the log return over levels, days and series, in basis points;
        `pinball_vs_random_walk_percent`, the geometric mean over series of the loss relative to the random walk's;
        `coverage_80`, `_90` and `_98`, per cent of closes inside the band; `mae_bp`, of the median; `forecasts`, their
        number.

    Raises:
        DataError: There is no day to forecast.
    """
    check_span(prices, span)
    by_series: dict[str, list[dict[str, float]]] = {}
    for row, closes in enumerate(prices.closes):
        returns = np.diff(np.log(closes))
        forecast = forecast_days(prices.dates_of(row), span)
        if forecast.size == 0:
            continue
        quantiles = {each: rule(returns, LEVELS) for each, rule in BASELINES.items()}
        for each, table in {name: model_quantiles(network, closes), **quantiles}.items():
            by_series.setdefault(each, []).append(_measured(table[forecast - 2], returns[forecast - 1]))
    reference = [series["pinball_bp"] for series in by_series[next(iter(BASELINES))]]
    return {each: _overall(series, reference) for each, series in by_series.items()}


def check_span(prices: Panel, span: Span) -> None:
    """
    Nothing, where there are days to score.

    Raises:
        DataError: No series has a day in the span with 250 returns before it.
    """
    if not any(forecast_days(prices.dates_of(row), span).size for row in range(len(prices))):
        days = f"from {span[0]} to before {span[1]}"
        raise DataError(f"there is nothing to score: no series has a day {days} with {HISTORY_DAYS} returns before it")


def forecast_days(dates: Days, span: Span) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Places in a series of the days that are forecast: in the span, with 250 returns before them."""
    places = np.arange(len(dates))
    return places[(dates >= span[0]) & (dates < span[1]) & (places > HISTORY_DAYS)]


def scores_table(cards: Iterable[Card]) -> str:
    """Markdown rows, best first, of several models and of the baselines they share."""
    rows = {name: row for card in cards for name, row in card.scores.items()}
    lines = [
        "| forecaster | pinball loss, bp | beside the random walk | 80 % band | 90 % band | 98 % band | MAE, bp |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in sorted(rows.items(), key=lambda item: item[1]["pinball_bp"]):
        covered = " | ".join(f"{row[f'coverage_{band}']:.1f} %" for band in BANDS)
        versus = f"{row['pinball_vs_random_walk_percent']:+.2f} %"
        lines.append(f"| {name} | {row['pinball_bp']:.2f} | {versus} | {covered} | {row['mae_bp']:.2f} |")
    return "\n".join(lines)


def _measured(quantiles: Doubles, realised: Doubles) -> dict[str, float]:
    """Scores of one series; ``(N, Q)`` and ``(N,)``."""
    column = {level: place for place, level in enumerate(LEVELS)}
    measured = {"pinball_bp": _BASIS_POINTS * float(pinball_loss(quantiles, realised).mean())}
    for band, (low, high) in BANDS.items():
        inside = (realised >= quantiles[:, column[low]]) & (realised <= quantiles[:, column[high]])
        measured[f"coverage_{band}"] = 100 * float(inside.mean())
    measured["mae_bp"] = _BASIS_POINTS * float(np.abs(realised - quantiles[:, column[0.5]]).mean())
    return measured | {"forecasts": len(realised)}


def _overall(series: list[dict[str, float]], reference: list[float]) -> dict[str, float]:
    weights = [each["forecasts"] for each in series]
    means = {key: float(np.average([each[key] for each in series], weights=weights)) for key in series[0]}
    losses, floor = np.array([each["pinball_bp"] for each in series]), 1e-9  # a series may not have moved in the span
    ratios = np.maximum(losses, floor) / np.maximum(reference, floor)
    versus = 100 * float(np.exp(np.log(ratios).mean()) - 1)
    rounded = {key: round(value, 4) for key, value in (means | {"pinball_vs_random_walk_percent": versus}).items()}
    return rounded | {"forecasts": int(sum(weights))}
