"""The record of models and baselines on markets: `nextday evaluate`. Knows no torch."""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import click
import msgspec
import numpy as np
from rich.console import Console

from models import data
from models.ahead import rule_ahead
from models.baselines import BASELINES, GARCH, cached
from models.bundle import Card, folder_of, names, read_card
from models.conformal import corrected
from models.coverage import by_quarter
from models.errors import DataError
from models.evaluate import Rule, Scores, Span, assess, baseline_rules, by_series, every_day, summary
from models.measures import LEVELS
from models.panel import Panel
from models.plots import write_pages
from models.progress import progress_bar
from models.ragged import Doubles
from models.settings import ModelSettings, from_env
from models.walk import Walk

FIRST_DAY = np.datetime64(data.VALIDATION_END)
COLUMNS: dict[str, tuple[str, str]] = {
    "pinball loss, bp": ("pinball_bp", ".2f"),
    "beside GARCH-t": ("vs_garch_percent", "+.2f %"),
    "t": ("t_vs_garch", "+.1f"),
    "better on": ("better_percent", ".0f %"),
    "worst series": ("worst_percent", "+.2f %"),
    "80 % band": ("coverage_80", ".1f %"),
    "90 % band": ("coverage_90", ".1f %"),
    "98 % band": ("coverage_98", ".1f %"),
    "CRPS, bp": ("crps_bp", ".1f"),
    "MAE beside last close": ("mae_vs_last_close_percent", "+.2f %"),
    "direction": ("direction_percent", ".1f %"),
}
"""Heading, measure and format of each column of a table."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """
    What is to be evaluated.

    Attributes:
        store: Folder of the models.
        models: Names, each with or without ``:version``; none for all, newest version.
        markets: Of `models.packaged.MARKETS`.
        sources: Prices of one's own, as `models.data.load` takes them; evaluated as the market "own".
        span: Days that are forecast.
        last_days: Closes that a model may see before each forecast; None for all. The baselines see all.
        horizon: Days ahead.
        conformal: Whether each model stands there a second time, with `models.conformal`'s correction.
        jobs: Processes that make the baselines' forecasts.
    """

    store: Path
    models: tuple[str, ...] = ()
    markets: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    span: Span = (FIRST_DAY, np.datetime64("9999-01-01"))
    last_days: int | None = None
    horizon: int = 1
    conformal: bool = False
    jobs: int = os.cpu_count() or 1


def evaluate(
    wanted: Wanted, report: Callable[[str, int, int], None] = lambda _what, _done, _of: None
) -> dict[str, Any]:
    """
    Every model and baseline on every market.

    Args:
        wanted: What.
        report: Told what is going on, and how many of how many parts of it are done.

    Returns:
        `span`, `models` (name, version, digest and network of each), `levels`, and `markets`: by name, the `scores` of
        `models.evaluate.summary`, the `series` of `models.evaluate.by_series` and the `coverage_by_quarter` of
        `models.coverage.by_quarter`.

    Raises:
        DataError: Prices are missing or faulty, or there is no day to forecast.
        UnknownModel: There is no such model.
        BundleError: A model is damaged.
    """
    if wanted.horizon > 1 and (wanted.conformal or wanted.last_days):
        raise DataError("several days ahead are measured with the whole history, and without conformal correction")
    cards, rules = _opened(wanted)
    panels = {name: data.market(name) for name in wanted.markets}
    if wanted.sources:
        panels["own"] = data.joined([data.load(source, max_gap_days=None).panel for source in wanted.sources])
    cache = data.cache_folder()
    _make_baselines(panels.values(), cache, wanted, report)
    markets = {}
    for market, prices in panels.items():
        done: list[str] = []

        def scored(name: str, market: str = market, of: int = len(prices), done: list[str] = done) -> None:
            done.append(name)
            report(f"scoring {market}", len(done), of)

        baselines = baseline_rules(cache, wanted.horizon)
        assessed = assess(rules | baselines, prices, wanted.span, scored, wanted.horizon)
        markets[market] = {
            "scores": summary(assessed),
            "series": by_series(assessed),
            "coverage_by_quarter": msgspec.to_builtins(by_quarter(assessed, rules | baselines)),
        }
    return {
        "span": [str(day) for day in wanted.span],
        "last_days": wanted.last_days,
        "horizon": wanted.horizon,
        "models": [{key: getattr(card, key) for key in ("name", "version", "digest", "network")} for card in cards],
        "levels": list(LEVELS),
        "markets": markets,
    }


def _opened(wanted: Wanted) -> tuple[list[Card], dict[str, Rule]]:
    cards: list[Card] = []
    rules: dict[str, Rule] = {}
    for each in wanted.models or names(wanted.store):
        path = folder_of(wanted.store, each)
        walk = Walk.open(path)
        cards.append(read_card(path))
        rules |= _rules(each, walk, wanted)
    return cards, rules


def _rules(name: str, walk: Walk, wanted: Wanted) -> dict[str, Rule]:
    if wanted.horizon > 1:
        return {name: rule_ahead(walk, wanted.horizon)}
    quantiles = walk.quantiles if wanted.last_days is None else walk.of_last(wanted.last_days)
    rules = {name: every_day(quantiles)}
    return rules | {f"{name}, conformal": every_day(corrected(quantiles))} if wanted.conformal else rules


def _make_baselines(
    panels: Iterable[Panel], cache: Path, wanted: Wanted, report: Callable[[str, int, int], None]
) -> None:
    """Fill the cache, on several processes: a GARCH model takes a second a series."""
    work = [(name, closes) for prices in panels for closes in prices.closes for name in BASELINES]
    with ProcessPoolExecutor(wanted.jobs, mp_context=get_context("spawn")) as pool:
        running = [pool.submit(_make, name, closes, cache, wanted.horizon) for name, closes in work]
        for done, future in enumerate(as_completed(running), 1):
            future.result()
            report("baselines", done, len(work))


def _make(name: str, closes: Doubles, cache: Path, horizon: int) -> None:
    cached(name, closes, cache, horizon)


def of_cards(cards: Iterable[Card], market: str) -> Scores:
    """The scores of several models on a market, and the baselines', as their cards have them."""
    return {name: row for card in cards for name, row in card.scores[market].items()}


def markdown(scores: Scores) -> str:
    """A market's scores as a Markdown table, best first."""
    lines = [f"| forecaster | {' | '.join(COLUMNS)} |", "|---" * (len(COLUMNS) + 1) + "|"]
    lines += [f"| {' | '.join(row)} |" for row in rows(scores)]
    return "\n".join(lines)


def rows(scores: Scores) -> list[list[str]]:
    """Each forecaster's name and its measures, as texts, best first."""
    ordered = sorted(scores.items(), key=lambda item: item[1]["vs_garch_percent"])
    return [[name, *(_text(name, row, *column) for column in COLUMNS.values())] for name, row in ordered]


def summary_line(scores: Scores) -> str:
    """What a table is about: how many forecasts of how many series, and what always-up would have had."""
    first = next(iter(scores.values()))
    return f"{first['forecasts']:,} forecasts of {first['series']} series; {first['up_percent']:.1f} % of days went up"


def to_json(record: Mapping[str, Any]) -> str:
    """The record as JSON."""
    return json.dumps(record, indent=1)


def _text(name: str, row: Mapping[str, float], measure: str, form: str) -> str:
    if name == GARCH and measure in ("t_vs_garch", "better_percent", "worst_percent", "vs_garch_percent"):
        return ""
    if measure == "direction_percent" and row["mae_vs_last_close_percent"] == 0:
        return ""  # its median is the last close, which says nothing of direction
    number, _, unit = form.partition(" ")
    return f"{row[measure]:{number}}{' ' + unit if unit else ''}"


def charts(record: Mapping[str, Any], folder: Path) -> list[Path]:
    """
    One page of charts a market, readable offline: losses by series, calibration, where closes fell, coverage.

    Args:
        record: As `evaluate` returns it.
        folder: Made if it is not there.

    Raises:
        DataError: plotly is not installed.
    """
    pages = {market: (market, scored, record["levels"]) for market, scored in record["markets"].items()}
    return write_pages("models.charts", pages, folder)


def run(options: Mapping[str, Any], *, as_json: bool, plots: Path | None) -> None:
    """
    Evaluate, and print a table a market or the whole record; errors as for `evaluate`.

    Args:
        options: Fields of `Wanted` but the store, which the environment names.
        as_json: Print JSON.
        plots: Folder for charts.
    """
    console = Console(stderr=True)
    with progress_bar(console, "reading") as report:
        record = evaluate(Wanted(store=from_env(ModelSettings).store, **options), report)
    if as_json:
        click.echo(to_json(record))
    else:
        for market, scored in record["markets"].items():
            click.echo(f"{market}: {summary_line(scored['scores'])}\n\n{markdown(scored['scores'])}\n")
    for file in charts(record, plots) if plots else []:
        console.print(f"charts: {file}")
