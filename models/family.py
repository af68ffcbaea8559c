"""
The family side by side: LSTM, RNN and MLP of equal width, by how many closes a forecast may see. Needs torch.

Features, head, prices, seed and days are the same for all. A recurrent network is trained once and shown fewer or more
closes; an MLP reads one number of closes alone, so for each number there is another MLP.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from models import data, fit
from models.baselines import GARCH, RANDOM_WALK
from models.bundle import Network
from models.errors import DataError
from models.evaluate import Assessed, Span, baseline_rules, check_span, forecast_days, summary
from models.fit import FitConfig, Fitted
from models.measures import LEVELS, PER_CENT, measured, newey_west_t
from models.networks import Forecasting
from models.packaged import FREE
from models.panel import Panel
from models.plots import write_pages
from models.ragged import Doubles, Ints
from models.train import trained_parameters

LENGTHS_DAYS = (5, 20, 60, 250, 1000)
DEVELOPMENT: Span = (np.datetime64(data.TRAIN_END), np.datetime64(data.VALIDATION_END))
"""Days that no training reads and that are not the test's: those that stop the training of other series."""
MARKET = "us-stocks"
NETWORKS: tuple[Network, ...] = ("lstm", "rnn", "mlp")
PAIRS: dict[tuple[Network, Network], str] = {
    ("lstm", "rnn"): "the gates",
    ("rnn", "mlp"): "the feedback loop",
    ("lstm", "mlp"): "both",
}
"""Whose loss less whose, and what the difference buys."""
_CLOSES_PER_RUN = 2**17

Report = Callable[[str, int, int], None]
"""Told what is going on, and how many of how many parts of it are done."""


@dataclass(frozen=True, kw_only=True)
class FamilyConfig:
    """
    All that a comparison depends on, beside the prices.

    Attributes:
        seed: Of each training.
        span: Days that are forecast.
        lengths_days: Closes that a forecast may see, ascending; an MLP is trained for each.
        changes: Of `FitConfig`, for every network alike.
    """

    seed: int = 0
    span: Span = DEVELOPMENT
    lengths_days: tuple[int, ...] = LENGTHS_DAYS
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Trained:
    """
    One network.

    Attributes:
        network: Its kind.
        window_days: Closes that an MLP reads; None for a recurrent network, which is shown any number.
        parameters: Trained weights and biases.
        best_step: At which the validation days were forecast best.
        validation_loss: There; of MLPs of different windows not on quite the same days.
    """

    network: Network
    window_days: int | None
    parameters: int
    best_step: int
    validation_loss: float | None


@dataclass(frozen=True)
class Cell:
    """
    One network where it sees so many closes; the measures are those of `models.evaluate.summary`.

    Attributes:
        network: Its kind.
        days: Closes that each forecast sees, the last of the history.
        parameters: Trained weights and biases.
        pinball_bp: Loss, in basis points.
        vs_garch_percent: Beside GARCH-t, which sees the whole history; geometric mean over series.
        t_vs_garch: Newey and West's t of that.
        better_percent: Of series, where the loss is less than GARCH's.
    """

    network: Network
    days: int
    parameters: int
    pinball_bp: float
    vs_garch_percent: float
    t_vs_garch: float
    better_percent: float


@dataclass(frozen=True)
class Difference:
    """
    One network's loss less another's, on the same days with the same number of closes.

    Attributes:
        network: Whose loss.
        other: Less whose.
        days: Closes that each forecast sees.
        percent: Of GARCH-t's mean loss on the series; mean over series of each day, then over days. Below 0: less loss.
        t: Newey and West's, of the daily differences.
    """

    network: Network
    other: Network
    days: int
    percent: float
    t: float


@dataclass(frozen=True, kw_only=True)
class Family:
    """
    The whole comparison.

    Attributes:
        seed: Of each training.
        span: First day forecast, and the day after the last.
        forecasts: How many, of each network at each length.
        series: How many.
        garch_pinball_bp: Loss of GARCH-t with the whole history, in basis points.
        random_walk_vs_garch_percent: The random walk beside it, for scale.
        trained: Each network.
        cells: Each network at each length.
        differences: Each of `PAIRS` at each length.
    """

    seed: int
    span: tuple[str, str]
    forecasts: int
    series: int
    garch_pinball_bp: float
    random_walk_vs_garch_percent: float
    trained: list[Trained]
    cells: list[Cell]
    differences: list[Difference]


Members = dict[tuple[Network, int], Fitted]
"""Who forecasts, by kind and number of closes; a recurrent network stands under each number."""


def compare(
    config: FamilyConfig, prices: Panel, market: Panel, report: Report = lambda _what, _done, _of: None
) -> Family:
    """
    Train the family and measure it.

    Args:
        config: The same one and the same prices give the same numbers.
        prices: Trained on up to 2012; 2013 to 2015 stop the training.
        market: Measured on.
        report: Told the progress.

    Raises:
        DataError: The prices cannot be trained on, or there is no day to forecast.
    """
    places = places_of(config, market)  # before the work, not after it
    members = train(config, prices, report)
    assessed = assess(members, market, places, report)
    scores = summary(assessed)
    return Family(
        seed=config.seed,
        span=(str(config.span[0]), str(config.span[1])),
        forecasts=int(scores[GARCH]["forecasts"]),
        series=int(scores[GARCH]["series"]),
        garch_pinball_bp=scores[GARCH]["pinball_bp"],
        random_walk_vs_garch_percent=scores[RANDOM_WALK]["vs_garch_percent"],
        trained=_trained(members),
        cells=[_cell(network, days, fitted, scores) for (network, days), fitted in members.items()],
        differences=[difference(assessed, *pair, days) for pair in PAIRS for days in config.lengths_days],
    )


def train(config: FamilyConfig, prices: Panel, report: Report) -> Members:
    """Every network, fitted from the same seed; one LSTM, one RNN, and an MLP for each length."""
    span: Span = (np.datetime64(data.TRAIN_END), np.datetime64(data.VALIDATION_END))
    members: Members = {}
    for network in NETWORKS:
        for days in config.lengths_days:
            first = (network, config.lengths_days[0])
            again = network != "mlp" and first in members
            wanted = fit_config(config, network, days)
            members[network, days] = members[first] if again else _fitted(wanted, prices, span, report)
    return members


def fit_config(config: FamilyConfig, network: Network, days: int) -> FitConfig:
    """How a network is trained: its defaults, but for an MLP's window and what the comparison changes."""
    defaults = FitConfig.of(network, seed=config.seed, **config.changes)
    return dataclasses.replace(defaults, window_days=days) if network == "mlp" else defaults


def _fitted(config: FitConfig, prices: Panel, span: Span, report: Report) -> Fitted:
    what = f"training {config.network}" + (f" of {config.window_days} closes" if config.network == "mlp" else "")
    report(what, 0, config.steps)
    fitted = fit.fit(config, prices, span, lambda at: report(what, at.step, config.steps))
    report(what, config.steps, config.steps)  # also where it stopped early
    return fitted


def places_of(config: FamilyConfig, market: Panel) -> list[Ints]:
    """
    Places in each series of the days that are forecast: the same for every network and length.

    Raises:
        DataError: No series has a day in the span with as many closes before it as the longest history.
    """
    check_span(market, config.span)
    longest = max(config.lengths_days)
    days = [forecast_days(market.dates_of(row), config.span) for row in range(len(market))]
    places = [each[each >= longest] for each in days]
    if not any(each.size for each in places):
        span = f"from {config.span[0]} to before {config.span[1]}"
        raise DataError(f"there is nothing to compare: no series has a day {span} with {longest} closes before it")
    return places


def assess(members: Members, market: Panel, places: list[Ints], report: Report) -> list[Assessed]:
    """
    Every member on every series, and GARCH-t and the random walk beside them, which see the whole history.

    Args:
        members: Each sees its number of closes before a day, and nothing else.
        market: Without faults.
        places: In each series, of the days that are forecast.
        report: Told the progress.
    """
    rules = {name: rule for name, rule in baseline_rules(data.cache_folder()).items() if name in (GARCH, RANDOM_WALK)}
    assessed = []
    for row, closes in enumerate(market.closes):
        if places[row].size:
            realised = np.diff(np.log(closes))[places[row] - 1]
            by = {name: measured(rule(closes, places[row] - 1), realised) for name, rule in rules.items()}
            for (network, days), fitted in members.items():
                quantiles = forecasts(fitted.network, closes, places[row], days)
                by[_name(network, days)] = measured(quantiles, realised)
            assessed.append(Assessed(market.ids[row], market.dates_of(row)[places[row]], by))
        report("measuring", row + 1, len(market))
    return assessed


def forecasts(network: Forecasting, closes: Doubles, places: Ints, days: int) -> Doubles:
    """
    Quantiles of the log return of each day named, from the ``days`` closes before it alone.

    Args:
        network: Fitted.
        closes: Of one series, in quote currency, oldest first. Shape ``(T,)``.
        places: Of the days that are forecast, each at least ``days``. Shape ``(N,)``.
        days: Closes that are seen.

    Returns:
        Shape ``(N, Q)``.

    Raises:
        DataError: The network needs more closes than that.
    """
    if days < network.min_days:
        raise DataError(f"got {days} closes; this network needs at least {network.min_days}")
    windows = closes[places[:, None] + np.arange(-days, 0)]
    ratios = np.empty((len(places), len(LEVELS)))
    at_a_time = max(1, _CLOSES_PER_RUN // days)
    for first in range(0, len(places), at_a_time):
        some = torch.from_numpy(windows[first : first + at_a_time].astype(np.float32))
        with torch.no_grad():
            answered = network.eval()(some, torch.full((len(some),), days))
        ratios[first : first + at_a_time] = (answered.double() / some[:, -1:].double()).numpy()
    quantiles: Doubles = np.log(ratios)
    return quantiles


def difference(assessed: list[Assessed], network: Network, other: Network, days: int) -> Difference:
    """One network's loss less another's where both see so many closes; see `Difference`."""
    own, others = _name(network, days), _name(other, days)
    relative = [(each.by[own].losses - each.by[others].losses) / each.by[GARCH].losses.mean() for each in assessed]
    _, place = np.unique(np.concatenate([each.days for each in assessed]), return_inverse=True)
    daily = PER_CENT * np.bincount(place, np.concatenate(relative)) / np.bincount(place)
    return Difference(network, other, days, round(float(daily.mean()), 4), round(newey_west_t(daily), 2))


def _name(network: Network, days: int) -> str:
    return f"{network}, {days} closes"


def _trained(members: Members) -> list[Trained]:
    """Each network once."""
    once = {id(fitted): (kind, fitted) for (kind, _), fitted in members.items()}
    return [
        Trained(kind, each.network.window_days, trained_parameters(each.network), each.step, each.validation)
        for kind, each in once.values()
    ]


def _cell(network: Network, days: int, fitted: Fitted, scores: dict[str, dict[str, float]]) -> Cell:
    measures = ("pinball_bp", "vs_garch_percent", "t_vs_garch", "better_percent")
    row = scores[_name(network, days)]
    return Cell(network, days, trained_parameters(fitted.network), **{key: row[key] for key in measures})


def markdown(family: Family) -> str:
    """The comparison as three Markdown tables: losses, parameters, differences."""
    days = sorted({cell.days for cell in family.cells})
    by = {(cell.network, cell.days): cell for cell in family.cells}
    losses = {n.upper(): [f"{by[n, each].vs_garch_percent:+.2f} %" for each in days] for n in NETWORKS}
    sizes = {n.upper(): [f"{by[n, each].parameters:,}" for each in days] for n in NETWORKS}
    parts = {(each.network, each.other, each.days): each for each in family.differences}
    apart = {
        f"{one.upper()} less {other.upper()}: {what}": [
            f"{parts[one, other, each].percent:+.2f} % (t {parts[one, other, each].t:+.1f})" for each in days
        ]
        for (one, other), what in PAIRS.items()
    }
    return "\n\n".join(
        [
            _table("loss beside GARCH-t", days, losses),
            _table("parameters", days, sizes),
            _table("difference of losses", days, apart),
        ]
    )


def _table(what: str, days: list[int], rows: Mapping[str, list[str]]) -> str:
    head = f"| {what} | {' | '.join(f'{each} closes' for each in days)} |"
    return "\n".join(
        [head, "|---" * (len(days) + 1) + "|", *(f"| {n} | {' | '.join(row)} |" for n, row in rows.items())]
    )


def summary_line(family: Family) -> str:
    """What the tables are about."""
    return (
        f"{family.forecasts:,} forecasts of {family.series} series, from {family.span[0]} to before {family.span[1]}, "
        f"seed {family.seed}. GARCH-t with the whole history: {family.garch_pinball_bp:.2f} bp; "
        f"the random walk beside it: {family.random_walk_vs_garch_percent:+.2f} %."
    )


def chart(family: Family, folder: Path) -> Path:
    """
    The comparison as a page of charts, readable offline.

    Args:
        family: What is drawn.
        folder: Made if it is not there.

    Raises:
        DataError: plotly is not installed.
    """
    return write_pages("models.family_charts", {"family": (dataclasses.asdict(family),)}, folder)[0]


def run(config: FamilyConfig, *, as_json: bool, plots: Path | None) -> None:
    """
    Compare, on the packaged prices, and print tables or the whole result; errors as for `compare`.

    Args:
        config: What.
        as_json: Print JSON.
        plots: Folder for charts.
    """
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    prices = data.joined([data.load(source).panel for source in FREE])
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=of)
            bar.update(tasks[what], completed=done)

        family = compare(config, prices, data.market(MARKET), report)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(family), indent=1))
    else:
        click.echo(f"{summary_line(family)}\n\n{markdown(family)}")
    if plots:
        console.print(f"charts: {chart(family, plots)}")
