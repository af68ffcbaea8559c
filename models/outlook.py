"""`nextday forecast`: what the prices of a file will do tomorrow, or over the next days, without a service."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.console import Console
from rich.text import Text

from models import data
from models.ahead import PATHS, forecast_ahead
from models.bundle import folder_of, read_card
from models.cells import Days
from models.conformal import corrected
from models.errors import DataError
from models.gates import Gates, means
from models.listing import aligned
from models.measures import LEVELS
from models.panel import Panel
from models.ragged import Doubles
from models.sketch import SERIES, ink_of, sketch
from models.walk import Walk

SHOWN = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""Quantiles that the table shows; JSON has all nine."""
SHOWN_NARROW = (0.05, 0.5, 0.95)
"""Those that it shows where a terminal is too narrow for them all."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """
    What is to be forecast.

    Attributes:
        source: Prices, as `models.data.load` takes them.
        store: Folder of the models.
        model: A name, with or without ``:version``; the newest without.
        horizon: Days ahead, 1 to 20.
        paths: That are drawn for the days after the first.
        seed: Of those.
        conformal: Whether tomorrow's quantiles get `models.conformal`'s correction.
        explain: Whether to tell what the network kept, added and showed on each day.
        unit: One of its units, from 0, of which that is told; None for the mean over all.
    """

    source: str
    store: Path
    model: str = "lstm"
    horizon: int = 1
    paths: int = PATHS
    seed: int = 0
    conformal: bool = False
    explain: bool = False
    unit: int | None = None


def forecasts(asked: Asked) -> dict[str, Any]:
    """
    The forecast of every series.

    Returns:
        `model` (name, version, digest), and `forecasts`: `id`, `as_of`, `last_close`, and `days`, each with its number,
        its `median` and its `quantiles` by level, in quote currency. Where it is asked for, `explain`, too: `dates`,
        `closes`, and `mean` or `unit_<number>`, what happened on each day but the first.

    Raises:
        DataError: The prices are missing or faulty, or a series is too short.
        UnknownModel: There is no such model.
        NothingToExplain: It cannot tell what it kept, added and showed.
        BundleError: It is damaged.
    """
    return _forecasts(asked)[0]


def _forecasts(asked: Asked) -> tuple[dict[str, Any], Panel]:
    """The forecasts, and the prices behind them."""
    if asked.conformal and asked.horizon > 1:
        raise DataError("conformal correction is of the next day's quantiles alone; leave out --horizon")
    path = folder_of(asked.store, asked.model)
    card, walk = read_card(path), Walk.open(path)
    gates = Gates(path, card) if asked.explain else None
    if asked.unit is not None and gates is None:
        raise DataError("a unit is one of those that --explain tells of; add it, or leave --unit out")
    if gates and asked.unit is not None and asked.unit >= gates.units:
        raise DataError(f"there is no unit {asked.unit}; {asked.model} has those from 0 to {gates.units - 1}")
    prices = data.load(asked.source, max_gap_days=None, min_days=card.min_days).panel
    answer = {
        "model": {"name": card.name, "version": card.version, "digest": card.digest},
        "forecasts": [_forecast(asked, walk, gates, prices, row) for row in range(len(prices))],
    }
    return answer, prices


def _forecast(asked: Asked, walk: Walk, gates: Gates | None, prices: Panel, row: int) -> dict[str, Any]:
    closes = prices.closes[row]
    if asked.conformal:
        ahead = closes[-1] * np.exp(corrected(walk.quantiles)(closes)[-1:])
    else:
        ahead = forecast_ahead(walk, closes, asked.horizon, paths=asked.paths, seed=asked.seed)
    explained = {"explain": _explanation(gates, asked.unit, closes, prices.dates_of(row))} if gates else {}
    return {
        "id": prices.ids[row],
        "as_of": str(prices.dates_of(row)[-1]),
        "last_close": float(closes[-1]),
        "days": [_day(number, quantiles) for number, quantiles in enumerate(ahead, 1)],
        **explained,
    }


def _explanation(gates: Gates, unit: int | None, closes: Doubles, dates: Days) -> dict[str, Any]:
    told = gates(closes)
    shown = means(told) if unit is None else {name: each[:, unit] for name, each in told.items()}
    return {
        "dates": [str(date) for date in dates[1:]],
        "closes": closes[1:].tolist(),
        _of(unit): {name: [float(f"{value:.7g}") for value in each.tolist()] for name, each in shown.items()},
    }


def _of(unit: int | None) -> str:
    return "mean" if unit is None else f"unit_{unit}"


def _day(number: int, quantiles: Doubles) -> dict[str, Any]:
    rounded = [float(f"{value:.7g}") for value in quantiles.tolist()]
    by_level = dict(zip(map(str, LEVELS), rounded, strict=True))
    return {"day": number, "median": by_level["0.5"], "quantiles": by_level}


def table(answer: dict[str, Any], shown: tuple[float, ...] = SHOWN) -> str:
    """A line a series and day, for people, with the quantiles at some levels."""
    rows = [("id", "as of", "last close", "day", *(f"{100 * level:.0f} %" for level in shown))]
    for each in answer["forecasts"]:
        for day in each["days"]:
            facts = (each["id"], each["as_of"], f"{each['last_close']:.6g}") if day["day"] == 1 else ("", "", "")
            quantiles = [f"{day['quantiles'][str(level)]:.6g}" for level in shown]
            rows.append((*facts, str(day["day"]), *quantiles))
    return "\n".join(aligned(rows))


def gates_table(answer: dict[str, Any], unit: int | None) -> str:
    """A line a series and day with one unit, or the mean over all, for people."""
    names = list(answer["forecasts"][0]["explain"][_of(unit)])
    rows = [("id", "day", "close", *(name.replace("_", " ") for name in names))]
    for each in answer["forecasts"]:
        told = each["explain"]
        for date, close, *days in zip(told["dates"], told["closes"], *told[_of(unit)].values(), strict=True):
            rows.append((each["id"], date, f"{close:.6g}", *(f"{value:.3f}" for value in days)))
    return "\n".join(aligned(rows))


def plots(answer: dict[str, Any], prices: Panel, console: Console) -> None:
    """Print a sketch of each of the first series: its last closes and the days ahead; see `models.sketch`."""
    ink = ink_of(console.encoding)
    for row, each in enumerate(answer["forecasts"][:SERIES]):
        title, *lines = sketch(each, prices.closes[row], console.width, ink)
        console.print()
        for style, line in (("bold", title), *(("cyan", line) for line in lines)):
            console.print(Text(line, style))
    if (more := len(answer["forecasts"]) - SERIES) > 0:
        console.print(Text(f"\n{more} more have no plot."))


def run(asked: Asked, *, as_json: bool, plot: bool | None = None) -> None:
    """
    Forecast, and print a table or JSON; errors as for `forecasts`.

    Args:
        asked: What.
        as_json: Print JSON, and nothing else.
        plot: Whether sketches stand under the table; None for a terminal alone.
    """
    answer, prices = _forecasts(asked)
    if as_json:
        click.echo(json.dumps(answer, indent=1))
        return
    console = Console(highlight=False, soft_wrap=True)
    on_terminal = console.file.isatty()
    printed = table(answer)
    narrow = on_terminal and len(printed.partition("\n")[0]) > console.width
    click.echo(table(answer, SHOWN_NARROW) if narrow else printed)
    if on_terminal if plot is None else plot:
        plots(answer, prices, console)
    if asked.explain:
        of = "the mean over its units" if asked.unit is None else f"its unit {asked.unit}"
        click.echo(f"\nWhat the network kept, added and showed: {of}\n\n{gates_table(answer, asked.unit)}")
