"""
How good the forecasts are: walk-forward, one day ahead, every forecaster on the same days of the same series.

Every forecast is made from the closes up to its own day. A span is a range of days that are forecast, not of days that
are seen, so each forecast counts in one span, by date alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from models.baselines import BASELINES, GARCH, HISTORY_DAYS, RANDOM_WALK, cached
from models.cells import Days
from models.errors import DataError
from models.measures import BASIS_POINTS, LEVELS, PER_CENT, Measured, measured, newey_west_t
from models.panel import Panel
from models.ragged import Doubles, Ints

Rule = Callable[[Doubles, Ints], Doubles]
"""
A forecaster: closes of a series, shape ``(T,)``, and the places of the last closes that are seen, shape ``(N,)``, to
quantiles of the log return over the days that follow each, shape ``(N, Q)``, NaN where it cannot answer. A row depends
on the closes up to its place alone.
"""
Scores = dict[str, dict[str, float]]
"""By forecaster, then by measure."""
Span = tuple[np.datetime64, np.datetime64]
"""First day that is forecast, and the first day after the last one."""

_FLOOR = 1e-12
"""Smallest loss that is divided by: a series may not move in a span."""


@dataclass(frozen=True)
class Assessed:
    """
    One series.

    Attributes:
        name: Its id.
        days: That were forecast. Shape ``(N,)``.
        by: What each forecaster scored on them.
    """

    name: str
    days: Days
    by: dict[str, Measured]


def every_day(forecasts: Callable[[Doubles], Doubles]) -> Rule:
    """The rule of what forecasts each day but the first of a series at once. Shapes ``(T,)`` to ``(T - 1, Q)``."""
    return lambda closes, last: forecasts(closes)[last - 1]


def baseline_rules(cache: Path | None = None, horizon: int = 1) -> dict[str, Rule]:
    """The baselines so many days ahead, whose forecasts are kept in a folder, if one is given."""
    return {name: every_day(partial(cached, name, folder=cache, horizon=horizon)) for name in BASELINES}


def assess(
    rules: Mapping[str, Rule],
    prices: Panel,
    span: Span,
    report: Callable[[str], None] = lambda _name: None,
    horizon: int = 1,
) -> list[Assessed]:
    """
    Every forecaster on every series, each on the same days: those of the span that all of them can forecast.

    Args:
        rules: By name.
        prices: Without faults.
        span: Days that are forecast; of them those with 250 returns before them.
        report: Told the name of each series once it is done.
        horizon: Days ahead. The forecasts of a series do not overlap: one each so many days.

    Raises:
        DataError: There is no day to forecast.
    """
    check_span(prices, span)
    assessed = []
    for row, closes in enumerate(prices.closes):
        dates = prices.dates_of(row)
        places = forecast_days(dates, span, horizon)
        if places.size:
            last = places - horizon
            forecasts = {name: rule(closes, last) for name, rule in rules.items()}
            known = ~np.any([np.isnan(each[:, 0]) for each in forecasts.values()], axis=0)
            if known.any():
                logs = np.log(closes)
                realised = (logs[places] - logs[last])[known]
                by = {name: measured(each[known], realised) for name, each in forecasts.items()}
                assessed.append(Assessed(prices.ids[row], dates[places][known], by))
        report(prices.ids[row])
    return assessed


def check_span(prices: Panel, span: Span) -> None:
    """
    Nothing, where there are days to score.

    Raises:
        DataError: No series has a day in the span with 250 returns before it.
    """
    if not any(forecast_days(prices.dates_of(row), span).size for row in range(len(prices))):
        days = f"from {span[0]} to before {span[1]}"
        raise DataError(f"there is nothing to score: no series has a day {days} with {HISTORY_DAYS} returns before it")


def forecast_days(dates: Days, span: Span, horizon: int = 1) -> Ints:
    """Places of the days that are forecast: one each so many days, in the span, with 250 returns before it."""
    places = np.arange(len(dates))
    seen = places - horizon - HISTORY_DAYS
    forecast: Ints = places[(dates >= span[0]) & (dates < span[1]) & (seen >= 0) & (seen % horizon == 0)]
    return forecast


def summary(assessed: list[Assessed]) -> Scores:
    """
    Scores of each forecaster over all series.

    Returns:
        By forecaster: `pinball_bp`, the loss of the log return, mean over levels, days and series, in basis points, and
        `crps_bp`; `vs_garch_percent` and `vs_random_walk_percent`, the geometric mean over series of the loss relative
        to theirs; `t_vs_garch`, Newey and West's t of the daily difference, mean over series, relative to GARCH's loss;
        `better_percent`, of series with a smaller loss than GARCH's; `worst_percent`, the series furthest above it;
        `coverage_80`, `_90` and `_98`, per cent of closes inside the band; `hits_01` to `hits_99`, per cent at or under
        the quantile; `mae_vs_last_close_percent`, the median's beside the last close's; `direction_percent` and
        `up_percent`, of the days with a move, on how many the median foresaw it and on how many it went up; `forecasts`
        and `series`, their number.
    """
    return {name: _summed(name, assessed) for name in assessed[0].by} if assessed else {}


def by_series(assessed: list[Assessed]) -> list[dict[str, Any]]:
    """One series a row: its id, its days, and each forecaster's mean loss in basis points."""
    return [
        {
            "id": each.name,
            "first": str(each.days[0]),
            "last": str(each.days[-1]),
            "forecasts": len(each.days),
            "pinball_bp": {name: round(BASIS_POINTS * float(row.losses.mean()), 4) for name, row in each.by.items()},
        }
        for each in assessed
    ]


def _summed(name: str, assessed: list[Assessed]) -> dict[str, float]:
    rows = [each.by[name] for each in assessed]
    weights = [len(each.days) for each in assessed]
    ratios = _ratios(name, GARCH, assessed)

    def mean(values: list[float]) -> float:
        return float(np.average(values, weights=weights))

    scores = {
        "pinball_bp": BASIS_POINTS * mean([float(row.losses.mean()) for row in rows]),
        "crps_bp": BASIS_POINTS * mean([row.crps for row in rows]),
        "vs_garch_percent": _geometric_percent(ratios),
        "t_vs_garch": newey_west_t(_daily_differences(name, assessed)),
        "better_percent": PER_CENT * float(np.mean(ratios < 1)),
        "worst_percent": PER_CENT * float(ratios.max() - 1),
        "vs_random_walk_percent": _geometric_percent(_ratios(name, RANDOM_WALK, assessed)),
        **{
            f"coverage_{band}": PER_CENT * mean([float(row.inside[band].mean()) for row in rows])
            for band in rows[0].inside
        },
        **{
            f"hits_{PER_CENT * level:02.0f}": PER_CENT * mean([float(row.hits[place]) for row in rows])
            for place, level in enumerate(LEVELS)
        },
        "mae_vs_last_close_percent": PER_CENT * (mean([row.mae for row in rows]) / _last_close(rows, mean) - 1),
        "direction_percent": PER_CENT * mean([row.direction for row in rows]),
        "up_percent": PER_CENT * mean([row.up for row in rows]),
    }
    return {key: round(value, 4) for key, value in scores.items()} | {"forecasts": sum(weights), "series": len(rows)}


def _last_close(rows: list[Measured], mean: Callable[[list[float]], float]) -> float:
    return max(_FLOOR, mean([row.mae_last_close for row in rows]))


def _ratios(name: str, reference: str, assessed: list[Assessed]) -> Doubles:
    """Mean loss of each series beside the reference's. Shape ``(series,)``."""
    losses = np.array([[each.by[which].losses.mean() for which in (name, reference)] for each in assessed])
    own, others = np.maximum(losses, _FLOOR).T
    return np.asarray(own / others)


def _geometric_percent(ratios: Doubles) -> float:
    return PER_CENT * float(np.exp(np.log(ratios).mean()) - 1)


def _daily_differences(name: str, assessed: list[Assessed]) -> Doubles:
    """A forecaster's loss less GARCH's, relative to the series' mean of GARCH's, mean over the series of each day."""
    days = np.concatenate([each.days for each in assessed])
    relative = []
    for each in assessed:
        own, garch = each.by[name].losses, each.by[GARCH].losses
        relative.append((own - garch) / max(_FLOOR, float(garch.mean())))
    _, place = np.unique(days, return_inverse=True)
    sums = np.bincount(place, np.concatenate(relative))
    return np.asarray(sums / np.bincount(place))
