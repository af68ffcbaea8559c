"""
Train a network and put it into the store: prices, fit, scores, export, bundle. Needs torch.

    nextday train --network lstm
    python -m models.train --data closes.csv --name mine
"""

import dataclasses
import datetime
import logging
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, get_args

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from models import data, export, fit
from models.bundle import Card, Network, next_version, write_bundle
from models.errors import NextdayError
from models.evaluate import Span, check_span
from models.gates_graph import to_explain
from models.measures import LEVELS
from models.networks import HIDDEN, WINDOW_DAYS, Forecasting
from models.packaged import FREE, MARKETS, PACKAGED
from models.scores import measure
from models.walk import Walk

STORE = Path(__file__).parent / "store"
_INTERRUPTED = 130
_SUMMARIES = {
    "lstm": f"An LSTM of {HIDDEN} units reads the whole history, a day a step, and forecasts the next close.",
    "rnn": f"A plain RNN of {HIDDEN} units reads the whole history, a day a step, and forecasts the next close.",
    "mlp": f"An MLP of two hidden layers of {HIDDEN} reads the last {WINDOW_DAYS} closes and forecasts the next one.",
}


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """
    All that a training depends on.

    Attributes:
        fit: How the network is fitted.
        sources: Names and paths of prices, as `models.data.load` takes them.
        tickers: Read from Yahoo beside them.
        split: Which days train, which validate, and which are looked at once.
        max_gap_days: Longest gap in a series, in calendar days; None allows any.
        markets: Of `models.packaged.MARKETS`, for the scores on the card; none for the prices' own test days.
    """

    fit: fit.FitConfig
    sources: tuple[str, ...] = FREE
    tickers: tuple[str, ...] = ()
    split: data.Split = data.Split()
    max_gap_days: int | None = data.MAX_GAP_DAYS
    markets: tuple[str, ...] = tuple(MARKETS)


def make_bundle(
    config: TrainConfig,
    store: Path,
    name: str,
    report: Callable[[fit.Progress], None],
    scored: Callable[[int, int], None] = lambda _done, _of: None,
) -> Path:
    """
    Train, export, check, score on the test days and write the next version of a model.

    Args:
        config: The same one, prices and package versions give the same bytes.
        store: Folder of the models.
        name: Of the model in it.
        report: Called after each step.
        scored: Told how many of how many series of the test days are scored, once training is over.

    Returns:
        The new bundle's folder, written whole or not at all.

    Raises:
        DataError: The prices cannot be trained on.
        BundleError: The graph does not answer as PyTorch does.
    """
    prices = [data.load(source, max_gap_days=config.max_gap_days) for source in config.sources]
    prices += [data.download(ticker, max_gap_days=config.max_gap_days) for ticker in config.tickers]
    panel = data.joined([each.panel for each in prices])
    data.warn_of_splits(panel)
    validation: Span = (np.datetime64(config.split.train_end), np.datetime64(config.split.validation_end))
    tests = {name: data.market(name) for name in config.markets} or {"test": panel}
    test: Span = (validation[1], max(each.dates.max() for each in tests.values()) + 1)
    for each in tests.values():
        check_span(each, test)  # before the work, not after it
    fitted = fit.fit(config.fit, panel, validation, report)
    model, walk = export.to_onnx(fitted.network), export.to_walk(fitted.network)
    parity = export.check_parity(model, walk, fitted.network)
    explain = to_explain(fitted.network)
    fit_facts = {"best_step": fitted.step, "validation_loss": fitted.validation, "parity": parity}
    card = Card(
        name=name,
        version=next_version(store, name),
        training=dataclasses.asdict(config.fit) | fit_facts,
        data=data.summary(prices, config.split),
        **measure(name, Walk(walk, fitted.network.min_days), tests, test, scored)._asdict(),
        sha256=sha256(model).hexdigest(),
        walk_sha256=sha256(walk).hexdigest(),
        explain_sha256=sha256(explain).hexdigest() if explain else None,
        **_described(config.fit, fitted.network),
    )
    return write_bundle(store, card, model, walk, explain)


def _described(config: fit.FitConfig, network: Forecasting) -> dict[str, Any]:
    """What a card says of the network itself."""
    return {
        "network": config.network,
        "summary": _SUMMARIES[config.network],
        "inputs": export.INPUTS,
        "outputs": export.OUTPUTS,
        "levels": list(LEVELS),
        "min_days": network.min_days,
        "trained_days": config.window_days,
        "window_days": network.window_days,
        "parameters": trained_parameters(network),
        "seed": config.seed,
        "packages": export.packages(),
        "golden": export.golden_samples(network),
    }


def trained_parameters(network: Forecasting) -> int:
    """How many weights and biases of a network are trained; the same for two days and for 2,500."""
    return sum(weights.numel() for weights in network.parameters() if weights.requires_grad)


def _plain_name(_context: click.Context, _option: click.Parameter, name: str | None) -> str | None:
    if name is not None and not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise click.BadParameter(f"{name!r}; a name holds letters, digits, dots, hyphens and underscores alone")
    return name


@click.command()
@click.option(
    "--network", type=click.Choice(get_args(Network)), default="lstm", show_default=True, help="What to train."
)
@click.option(
    "--data",
    "sources",
    multiple=True,
    metavar="NAME|FILE",
    help=f"Prices: packaged ones ({', '.join(PACKAGED)}), or a CSV or Parquet file of daily closes, long (id, date, "
    f"close) or wide (date and a column a ticker). May be given several times. Default: {' and '.join(FREE)}, unless "
    "there is a --ticker.",
)
@click.option("--ticker", "tickers", multiple=True, help="Prices from Yahoo, as AAPL. May be given several times.")
@click.option(
    "--train-end",
    type=click.DateTime(["%Y-%m-%d"]),
    default=str(data.TRAIN_END),
    show_default=True,
    help="First day that is not trained on.",
)
@click.option(
    "--validation-end",
    type=click.DateTime(["%Y-%m-%d"]),
    default=str(data.VALIDATION_END),
    show_default=True,
    help="First day that training never looks at: the test days begin.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of weights and windows.")
@click.option("--steps", type=click.IntRange(1), help="Optimizer steps at most. Default: what the network needs.")
@click.option("--window-days", type=click.IntRange(60), help="Closes in a training window. Default: 1024; 60 for mlp.")
@click.option(
    "--simulated",
    type=click.FloatRange(0, 1),
    help="Share of the training windows that are simulated paths. Default: 0.65.",
)
@click.option("--allow-gaps", is_flag=True, help=f"Take series with gaps of more than {data.MAX_GAP_DAYS} days.")
@click.option(
    "--store",
    type=click.Path(file_okay=False, path_type=Path),
    default=STORE,
    help="Folder to put it into. Default: the package's own.",
)
@click.option("--name", callback=_plain_name, help="The model's name there. Default: the network's.")
def train(
    network: Network,
    sources: tuple[str, ...],
    tickers: tuple[str, ...],
    train_end: datetime.datetime,
    validation_end: datetime.datetime,
    store: Path,
    name: str | None,
    allow_gaps: bool,
    **changes: Any,
) -> None:
    """Train a network on daily closes and put it into the store as the next version."""
    console = Console(stderr=True)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    try:
        config = TrainConfig(
            fit=fit.FitConfig.of(network, **{key: value for key, value in changes.items() if value is not None}),
            sources=sources or (() if tickers else FREE),
            tickers=tickers,
            split=data.Split(train_end.date(), validation_end.date()),
            max_gap_days=None if allow_gaps else data.MAX_GAP_DAYS,
            markets=() if sources or tickers else tuple(MARKETS),
        )
        with _progress(console, config.fit.steps) as (report, scored):
            path = make_bundle(config, store, name or network, report, scored)
    except KeyboardInterrupt:
        console.print("Stopped. Nothing was written.")
        raise SystemExit(_INTERRUPTED) from None
    except NextdayError as error:
        raise _WrongInput(str(error)) from error
    click.echo(path)


class _WrongInput(click.ClickException):
    """An error of ours, with the exit code that the other commands have for it."""

    exit_code = 2


@contextmanager
def _progress(
    console: Console, steps: int
) -> Iterator[tuple[Callable[[fit.Progress], None], Callable[[int, int], None]]]:
    """A bar for the steps and, after them, one for the series that are scored; each tells the time that is left."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[at]}"), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        training = bar.add_task(f"step 0/{steps}", total=steps, at="")
        scoring = bar.add_task("scoring", total=None, at="beside the baselines", visible=False)

        def report(at: fit.Progress) -> None:
            loss, validation, best = (_digits(value) for value in (at.loss, at.validation, at.best))
            facts = f"loss {loss}, validation {validation}, best {best}"
            bar.update(training, completed=at.step, description=f"step {at.step}/{steps}", at=facts)

        def scored(done: int, of: int) -> None:
            bar.update(scoring, completed=done, total=of, description=f"series {done}/{of}", visible=True)

        yield report, scored


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.5f}"


if __name__ == "__main__":
    train()
