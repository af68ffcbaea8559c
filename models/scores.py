"""
What a card says of how good its forecaster is, beside the baselines on the same days: scores, and coverage by quarter.

Knows no torch. A card from before something was measured gets it from the graph beside it, which stays as it is:

    python -m models.scores lstm
"""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import NamedTuple

import click
import msgspec
import numpy as np

from models import data
from models.baselines import GARCH
from models.bundle import ByQuarter, Card, folder_of, read_bundle, replace_card
from models.coverage import by_quarter
from models.errors import DataError, NextdayError
from models.evaluate import Scores, Span, assess, baseline_rules, every_day, summary
from models.packaged import MARKETS
from models.panel import Panel
from models.settings import ModelSettings, from_env
from models.walk import Walk


class Found(NamedTuple):
    """What was measured, each by market; the fields are those of the card."""

    scores: dict[str, Scores]
    coverage_by_quarter: dict[str, ByQuarter]


def measure(
    name: str,
    walk: Walk,
    markets: dict[str, Panel],
    span: Span,
    scored: Callable[[int, int], None] = lambda _done, _of: None,
) -> Found:
    """
    A forecaster and the baselines on the same days.

    Args:
        name: Of the forecaster.
        walk: It.
        markets: By name.
        span: Days that are forecast.
        scored: Told how many of how many series are done.
    """
    rules = {name: every_day(walk.quantiles)} | baseline_rules(data.cache_folder())
    done, of = count(1), sum(map(len, markets.values()))
    found = Found({}, {})
    for market, prices in markets.items():
        assessed = assess(rules, prices, span, lambda _name: scored(next(done), of))
        found.scores[market] = summary(assessed)
        found.coverage_by_quarter[market] = by_quarter(assessed, (name, GARCH))
    return found


def measure_as(card: Card, walk: Walk) -> Found:
    """
    The same for a forecaster on the markets and the days that its card has scores of.

    Raises:
        DataError: Its card's scores are of days that no packaged market has.
    """
    check_markets(card)
    markets = {market: data.market(market) for market in card.scores}
    days = (np.datetime64(card.data["test"][0]), max(each.dates.max() for each in markets.values()) + 1)
    return measure(card.name, walk, markets, days)


def check_markets(card: Card) -> None:
    """
    Nothing, where a card's scores are of packaged markets.

    Raises:
        DataError: They are of prices that only its training had.
    """
    if unknown := set(card.scores) - set(MARKETS):
        named = ", ".join(sorted(unknown))
        raise DataError(f"{card.name} was scored on prices of its own ({named}); train it again")


def score_anew(store: Path, model: str) -> Path:
    """
    Add to the card of a bundle what its graph is found to do today; nothing else of the card changes.

    Args:
        store: Folder of the models.
        model: ``name`` for its newest version, or ``name:version``.

    Returns:
        The bundle's folder.

    Raises:
        UnknownModel: There is no such one.
        BundleError: It is spoilt.
        DataError: Its scores are not of packaged markets, or come out otherwise than the card has them.
    """
    path = folder_of(store, model)
    bundle = read_bundle(path)
    found = measure_as(bundle.card, Walk.of(path, bundle.card, bundle.walk))
    if found.scores != bundle.card.scores:
        raise DataError(
            f"the scores of {model} come out otherwise than its card has them, as on another processor or with other "
            "packages; `python -m models.reexport` makes a version with scores of this machine"
        )
    replace_card(path, msgspec.structs.replace(bundle.card, **found._asdict()))
    return path


@click.command()
@click.argument("model")
@click.option("--store", type=click.Path(file_okay=False, path_type=Path), help="Folder of the models.")
def main(model: str, store: Path | None) -> None:
    """Add to the card of MODEL (a name, or name:version) what its graph is found to do, where the card lacks it."""
    try:
        click.echo(score_anew(store or from_env(ModelSettings).store, model))
    except NextdayError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
