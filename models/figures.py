"""
What the service's pages draw that is computed beforehand: gradients, memory, parameters, and a few real prices.

``make figures`` writes them anew; it trains networks and takes a quarter of an hour of one core.
"""

import csv
import gzip
import json
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np

from models import data
from models.errors import DataError
from models.family import MARKET, FamilyConfig, compare
from models.gradients import GradientConfig, measure
from models.packaged import FREE, PACKAGED

EXAMPLE_DAYS = 500
STOCKS = ("AAPL", "GOOG", "IBM", "MSFT")
DIGITS = 4
"""Of each number; a chart shows fewer."""


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def write(folder: Path) -> None:
    """Write `figures/*.json` and `examples/*.csv` into FOLDER."""
    write_examples(folder / "examples")
    measured = asdict(measure(GradientConfig.of(0), _report))
    write_json(folder / "figures" / "gradients.json", drawn_of_gradients(measured))
    prices = data.joined([data.load(source).panel for source in FREE])
    family = asdict(compare(FamilyConfig(), prices, data.market(MARKET), _report))
    write_json(folder / "figures" / "family.json", drawn_of_family(family))


def _report(what: str, *_done: int) -> None:
    click.echo(what, err=True)


def drawn_of_gradients(measured: dict[str, Any]) -> dict[str, Any]:
    """What the pages draw of a `models.gradients.Gradients` as a dictionary."""
    return {
        "seed": measured["config"]["seed"],
        "one_unit": [{key: row[key] for key in ("weight", "lag", "autograd")} for row in measured["one_unit"]],
        "profiles": measured["profiles"],
        "memory": measured["memory"],
    }


def drawn_of_family(family: dict[str, Any]) -> dict[str, Any]:
    """What the pages draw of a `models.family.Family` as a dictionary."""
    keys = ("network", "days", "parameters", "vs_garch_percent")
    told = {key: family[key] for key in ("seed", "forecasts", "series", "span")}
    return told | {"cells": [{key: cell[key] for key in keys} for cell in family["cells"]]}


def write_json(file: Path, value: Any) -> None:
    """Write a value as JSON, its numbers rounded to `DIGITS` digits."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(rounded(value), separators=(",", ":"), default=str) + "\n", encoding="utf-8")


def rounded(value: Any) -> Any:
    """
    A value with its numbers rounded to `DIGITS` digits.

    >>> rounded({"norms": [0.123456, 3, None]})
    {'norms': [0.1235, 3, None]}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value


def write_examples(folder: Path) -> None:
    """Write the prices that the pages offer, of the sources that anyone may use for anything."""
    folder.mkdir(parents=True, exist_ok=True)
    stocks = {name: _stock_rows(name) for name in STOCKS}
    head = ("id", "date", "open", "high", "low", "close")
    for name, rows in stocks.items():
        _write_csv(folder / f"{name.lower()}.csv", head, rows)
    _write_csv(folder / "four.csv", head, (row for rows in stocks.values() for row in rows[-EXAMPLE_DAYS // 2 :]))
    with (folder / "wti.csv").open("w", encoding="utf-8", newline="") as file:
        data.write_csv(data.last_days(PACKAGED["wti"].panel(), EXAMPLE_DAYS), file)


def _stock_rows(name: str) -> list[tuple[str, ...]]:
    """The last days of a packaged stock as they were traded; none of these stocks was split in them."""
    with gzip.open(PACKAGED["bokeh"].file(), "rt", encoding="utf-8") as file:
        keys = ("Ticker", "Date", "Open", "High", "Low", "Close")
        rows = [tuple(row[key] for key in keys) for row in csv.DictReader(file) if row["Ticker"] == name]
    moves = np.diff(np.log([float(row[-1]) for row in rows[-EXAMPLE_DAYS:]]))
    if np.abs(moves).max() > data.SPLIT_LOG_RETURN:
        raise DataError(f"{name} was split in its last {EXAMPLE_DAYS} days; these prices are not adjusted")
    return rows[-EXAMPLE_DAYS:]


def _write_csv(file: Path, head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> None:
    with file.open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened, lineterminator="\n")
        writer.writerow(head)
        writer.writerows(rows)


if __name__ == "__main__":
    write()
