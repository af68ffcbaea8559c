"""The record as a page of charts. Needs plotly, whose JavaScript goes into the page, so that it works offline."""

from itertools import pairwise
from typing import Any

import plotly.graph_objects as go

from models.baselines import GARCH
from models.measures import BANDS
from models.plots import document


def page(market: str, scored: dict[str, Any], levels: list[float]) -> str:
    """
    An HTML page of a market: losses by series, calibration, where closes fell among the quantiles, coverage over time.

    Args:
        market: Its name.
        scored: Its `scores`, `series` and `coverage_by_quarter`, as `models.record.evaluate` returns them.
        levels: Of the quantiles.
    """
    figures = [by_series(scored["series"]), calibration(scored["scores"], levels), histogram(scored["scores"], levels)]
    over_time = scored["coverage_by_quarter"]
    figures += [coverage(over_time, band) for band in BANDS] if over_time["quarters"] else []
    return document(f"Next-day forecasts on {market}", figures)


def by_series(series: list[dict[str, Any]]) -> go.Figure:
    """Each forecaster's loss on each series beside GARCH's, in per cent; below zero is better."""
    figure = go.Figure()
    for name in [name for name in series[0]["pinball_bp"] if name != GARCH]:
        beside = [100 * (each["pinball_bp"][name] / each["pinball_bp"][GARCH] - 1) for each in series]
        figure.add_scatter(x=[each["id"] for each in series], y=beside, mode="markers", name=name)
    figure.add_hline(y=0)
    figure.update_layout(
        title="Pinball loss beside GARCH(1,1)-t: below zero is better", xaxis_title="series", yaxis_title="per cent"
    )
    return figure


def calibration(scores: dict[str, dict[str, float]], levels: list[float]) -> go.Figure:
    """The share of closes at or under each quantile, less the share that should be."""
    figure = go.Figure()
    nominal = [100 * level for level in levels]
    for name, row in scores.items():
        off = [row[f"hits_{level:02.0f}"] - level for level in nominal]
        figure.add_scatter(x=nominal, y=off, mode="lines+markers", name=name)
    figure.add_hline(y=0)
    figure.update_layout(
        title="Calibration: closes at or under each quantile, less the quantile's level",
        xaxis_title="level of the quantile, per cent",
        yaxis_title="percentage points",
    )
    return figure


def histogram(scores: dict[str, dict[str, float]], levels: list[float]) -> go.Figure:
    """
    How many closes fell between each two quantiles, beside how many should: 1 everywhere is perfect.

    The histogram of the probability integral transform, in the bins that nine quantiles give; Diebold, Gunther and Tay,
    International Economic Review 39 (1998).
    """
    edges = list(pairwise([0.0, *(100 * level for level in levels), 100.0]))
    bins = [f"{low:.0f} to {high:.0f}" for low, high in edges]
    figure = go.Figure()
    for name, row in scores.items():
        reached = pairwise([0.0, *(row[f"hits_{100 * level:02.0f}"] for level in levels), 100.0])
        full = [(stop - start) / (high - low) for (start, stop), (low, high) in zip(reached, edges, strict=True)]
        figure.add_bar(x=bins, y=full, name=name)
    figure.add_hline(y=1)
    figure.update_layout(
        title="Where closes fell among the quantiles: 1 is perfect, more at both ends means bands too narrow",
        xaxis_title="between the quantiles, per cent",
        yaxis_title="closes beside their expected number",
    )
    return figure


def coverage(by_quarter: dict[str, Any], band: str) -> go.Figure:
    """
    How many closes of each quarter fell inside a band, beside how many should.

    Args:
        by_quarter: The fields of `models.bundle.ByQuarter`.
        band: Its name, which is how many closes of a hundred it should hold.
    """
    figure = go.Figure()
    for name, inside in by_quarter["inside_percent"].items():
        figure.add_scatter(
            x=by_quarter["quarters"],
            y=inside[band],
            mode="lines+markers",
            name=name,
            customdata=by_quarter["forecasts"],
            hovertemplate="%{x}: %{y:.1f} % of %{customdata:,} closes",
        )
    figure.add_hline(y=float(band))
    figure.update_layout(
        title=f"Coverage over time: closes of each quarter inside the {band} % band",
        xaxis={"title": "quarter", "type": "category"},
        yaxis_title="per cent of closes",
    )
    return figure
