"""
How the gradient behaves over time steps: `nextday gradients`. Needs torch.

For each network that forecasts: how much its answer depends on what it saw so many days before, with fresh weights and
with trained ones, in double precision, in which 1e-300 is still a number. Beside that a plain RNN of one unit,
exploding gradients and clipping (`models.exploding`), and a memory task (`models.memory`).
"""

import copy
import dataclasses
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import click
import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from models import data, fit
from models.exploding import Clipped, Exploding, OneUnit, PlainConfig, clipping, exploding, one_unit, safe_norm
from models.features import FEATURES
from models.measures import LEVELS
from models.memory import HELD, MemoryConfig, Remembered, Start, remembered, started
from models.networks import HIDDEN, Forecasting, Recurrent, build
from models.packaged import FREE
from models.panel import Panel
from models.plots import write_pages
from models.progress import progress_bar
from models.simulate import paths
from models.windows import Windows

Layer = Literal["rnn", "lstm"]
Output = Literal["hidden state", "median", "90 % band"]
Report = Callable[[str, int, int], None]
"""Told what is going on, and how many of how many parts of it are done."""
LONGEST_LAG: Final = 500
FRESH: Final[dict[Layer, dict[str, Start]]] = {
    "rnn": {"fresh": "rnn", "fresh, orthogonal": "rnn, orthogonal"},
    "lstm": {
        "fresh": "lstm",
        "fresh, forget bias 1": "lstm, forget bias 1",
        "fresh, forget bias 3": "lstm, forget bias 3",
        "fresh, chrono": "lstm, chrono",
    },
}
"""By layer, what its fresh weights are called, and how they start."""
_SHOWN_LAGS = (0, 1, 10, 50, 100, 250, 500)
_SPAN = (np.datetime64(data.TRAIN_END), np.datetime64(data.VALIDATION_END))
_PATH_DAYS = 1025
_LOW, _MEDIAN, _HIGH = (LEVELS.index(level) for level in (0.05, 0.5, 0.95))


@dataclass(frozen=True, kw_only=True)
class GradientConfig:
    """
    What is measured; the same configuration, prices and package versions give the same numbers.

    Attributes:
        seed: Of weights, paths and windows.
        layers: Whose networks are measured; none where time is short.
        paths: Simulated series over which a gradient's norm is averaged.
        fit_steps: Optimizer steps after which a network is called trained.
        fit_paths: Simulated paths that it is trained on, and on nothing else.
        plain: The plain RNN: one unit, exploding gradients, clipping.
        memory: The memory task.
    """

    seed: int = 0
    layers: tuple[Layer, ...] = ("rnn", "lstm")
    paths: int = 16
    fit_steps: int = 150
    fit_paths: int = 1024
    plain: PlainConfig = field(default_factory=PlainConfig)
    memory: MemoryConfig = field(default_factory=MemoryConfig)

    @classmethod
    def of(cls, seed: int, *, quick: bool = False, network_free: bool = False) -> "GradientConfig":
        """The defaults with a seed; quick ones, whose trainings are too short to mean much; without the forecasters."""
        plain, memory = PlainConfig(seed=seed), MemoryConfig(seed=seed)
        config = cls(seed=seed, layers=() if network_free else cls.layers, plain=plain, memory=memory)
        if not quick:
            return config
        return dataclasses.replace(
            config,
            paths=4,
            fit_steps=10,
            fit_paths=64,
            plain=dataclasses.replace(plain, steps=30),
            memory=dataclasses.replace(memory, runs=1, lags_days=(5, 20, 50), steps=200),
        )


@dataclass(frozen=True)
class Profile:
    """
    How an output answers to the features some days before.

    Attributes:
        layer: Which.
        weights: "trained", or how fresh ones start, as in `FRESH`.
        output: The sum over the hidden state; or the median or the width of the 90 % band, in usual days.
        norms: At lags 0 to 500: the norm over features of the output's gradient, mean over paths.
        factor_a_day: What a day further back multiplies the norm by, geometric mean over lags 10 to 100.
        days_to_1_percent: First lag at which the norm is under a hundredth of that at lag 0; None where there is none.
    """

    layer: Layer
    weights: str
    output: Output
    norms: tuple[float, ...]
    factor_a_day: float
    days_to_1_percent: int | None


@dataclass(frozen=True)
class Carried:
    """
    How tomorrow's band answers to the return some days before, and what carried it.

    Attributes:
        layer: Of a trained network.
        whole: At lags 0 to 500: what the width of the 90 % band gains for each unit of the return, absolute value, mean
            over paths. Both are returns, so it has no unit.
        by_features: The same with the recurrent layer's state held fixed.
    """

    layer: Layer
    whole: tuple[float, ...]
    by_features: tuple[float, ...]


@dataclass(frozen=True)
class TrainingNorm:
    """Norm of the gradient of a forecaster's training loss, mean and largest over batches; training clips at `clip`."""

    layer: Layer
    weights: str
    mean: float
    largest: float
    clip: float


@dataclass(frozen=True)
class Gradients:
    """All that `nextday gradients` measures."""

    config: GradientConfig
    one_unit: tuple[OneUnit, ...]
    profiles: tuple[Profile, ...]
    carried: tuple[Carried, ...]
    training: tuple[TrainingNorm, ...]
    exploding: tuple[Exploding, ...]
    clipped: tuple[Clipped, ...]
    memory: tuple[Remembered, ...]


def measure(config: GradientConfig, report: Report = lambda _what, _done, _of: None) -> Gradients:
    """
    All of it. Torch is set to one thread, since another number rounds sums otherwise.

    Args:
        config: What.
        report: Told what is going on.

    Raises:
        DataError: The packaged prices, on which a training is validated, are not installed.
    """
    torch.set_num_threads(1)
    given = closes(config)
    profiles: list[Profile] = []
    carried: list[Carried] = []
    training: list[TrainingNorm] = []
    for layer in config.layers:
        network = trained(config, layer, report)
        profiles += fresh_profiles(config, layer, given) + trained_profiles(layer, network, given)
        carried.append(carry(layer, network, given))
        training += training_norms(config, layer, network)
    return Gradients(
        config=config,
        one_unit=tuple(one_unit(weight, lag) for weight in config.plain.weights for lag in config.plain.lags),
        profiles=tuple(profiles),
        carried=tuple(carried),
        training=tuple(training),
        exploding=exploding(config.plain),
        clipped=clipping(config.plain, lambda done, of: report("clipping", done, of)),
        memory=remembered(config.memory, lambda done, of: report("memory task", done, of)),
    )


def closes(config: GradientConfig) -> Tensor:
    """
    Simulated closes that nothing was trained on, in double precision. Shape ``(B, T)``.

    Each moves on its first day: where nothing has moved yet a volatility is 0, and its square root has no derivative.
    """
    drawn = paths(np.random.default_rng([config.seed, 2]), 4 * config.paths, _PATH_DAYS)
    return torch.from_numpy(drawn[drawn[:, 0] != drawn[:, 1]][: config.paths].copy())


def lag_norms(output: Tensor, inputs: Tensor, longest: int = LONGEST_LAG) -> tuple[float, ...]:
    """
    Norm over features of an output's gradient by its inputs, mean over rows, at lags 0 to the longest.

    Args:
        output: One number a row, which depends on that row's inputs alone. Shape ``(B,)``.
        inputs: The last step has lag 0. Shape ``(T, B, F)``.
        longest: Lag, less than T.
    """
    (gradient,) = torch.autograd.grad(output.sum(), inputs, retain_graph=True)
    return tuple(safe_norm(gradient, 2).mean(1).flip(0)[: longest + 1].tolist())


def fresh_profiles(config: GradientConfig, layer: Layer, given: Tensor) -> list[Profile]:
    """Of each start of a layer, its hidden state: the head starts at 0, so a fresh forecast depends on nothing."""
    inputs = _features(build(layer), given)
    profiles = []
    for weights, start in FRESH[layer].items():
        torch.manual_seed(config.seed)
        states, _ = started(start, FEATURES, HIDDEN, LONGEST_LAG + 1).double()(inputs)
        profiles.append(_profile(layer, weights, "hidden state", lag_norms(states[-1].sum(1), inputs)))
    return profiles


def trained_profiles(layer: Layer, network: Recurrent, given: Tensor) -> list[Profile]:
    """Of a trained network: its hidden state, and its forecast of the last day."""
    exact = copy.deepcopy(network).double()
    inputs = _features(network, given)
    states, _ = exact.layer(inputs)
    quantiles = exact.head(torch.cat([states[-1], inputs[-1]], 1))
    outputs: dict[Output, Tensor] = {
        "hidden state": states[-1].sum(1),
        "median": quantiles[:, _MEDIAN],
        "90 % band": quantiles[:, _HIGH] - quantiles[:, _LOW],
    }
    return [_profile(layer, "trained", name, lag_norms(output, inputs)) for name, output in outputs.items()]


def carry(layer: Layer, network: Recurrent, given: Tensor) -> Carried:
    """How the band after the last day answers to each return: by features and state together, and by features alone."""
    exact = copy.deepcopy(network).double()
    returns = given.log().diff(dim=1).requires_grad_()
    moved = given[:, :1] * torch.cat([torch.zeros_like(given[:, :1]), returns.cumsum(1)], 1).exp()
    features, usual = exact.seen(moved)
    states, _ = exact.layer(features)
    whole, by_features = (
        _band_by_return(usual[-1] * exact.head(torch.cat([state, features[-1]], 1)), returns)
        for state in (states[-1], states[-1].detach())
    )
    return Carried(layer, whole, by_features)


def _band_by_return(quantiles: Tensor, returns: Tensor) -> tuple[float, ...]:
    width = quantiles[:, _HIGH] - quantiles[:, _LOW]
    (gradient,) = torch.autograd.grad(width.sum(), returns, retain_graph=True)
    return tuple(gradient.abs().mean(0).flip(0)[: LONGEST_LAG + 1].tolist())


def _features(network: Forecasting, given: Tensor) -> Tensor:
    """What a network reads of closes, as inputs whose gradient is wanted. Shape ``(T - 1, B, F)``."""
    features: Tensor
    with torch.no_grad():
        features, _ = copy.deepcopy(network).double().seen(given)
    return features.requires_grad_()


def _profile(layer: Layer, weights: str, output: Output, norms: tuple[float, ...]) -> Profile:
    small = (lag for lag, norm in enumerate(norms) if norm < norms[0] / 100)
    return Profile(layer, weights, output, norms, (norms[100] / norms[10]) ** (1 / 90), next(small, None))


def trained(config: GradientConfig, layer: Layer, report: Report = lambda _what, _done, _of: None) -> Recurrent:
    """A network after a short training on simulated paths; the packaged prices only choose which step is kept."""

    def progress(at: fit.Progress) -> None:
        report(f"training the {layer}", at.step, config.fit_steps)

    network = fit.fit(_fit_config(config, layer), _prices(), _SPAN, progress).network
    assert isinstance(network, Recurrent)  # noqa: S101 - of a layer no MLP is made
    return network


def training_norms(config: GradientConfig, layer: Layer, network: Recurrent, batches: int = 8) -> list[TrainingNorm]:
    """Norms of the gradient that training sees, of fresh and of trained weights, on the same batches."""
    how = _fit_config(config, layer)
    windows = Windows(_prices(), _SPAN[0], how)
    drawn = [[torch.from_numpy(each) for each in windows.draw()] for _ in range(batches)]
    torch.manual_seed(config.seed)
    rows = []
    for weights, each in (("fresh", build(layer)), ("trained", network)):
        learning = [parameter for parameter in each.parameters() if parameter.requires_grad]
        losses = (fit.window_loss(each, window, sizes, how.burn_in_days) for window, sizes in drawn)
        norms = [float(nn.utils.get_total_norm(torch.autograd.grad(loss, learning))) for loss in losses]
        rows.append(TrainingNorm(layer, weights, float(np.mean(norms)), max(norms), how.clip))
    return rows


def _fit_config(config: GradientConfig, layer: Layer) -> fit.FitConfig:
    return fit.FitConfig.of(
        layer, seed=config.seed, steps=config.fit_steps, paths=config.fit_paths, simulated=1.0, portfolios=0.0
    )


def _prices() -> Panel:
    return data.joined([data.load(source).panel for source in FREE])


def markdown(measured: Gradients) -> str:
    """All of it for people: a Markdown table a question."""
    parts = [
        ("One linear unit: the gradient over k steps is w^k", _one_unit_table(measured.one_unit)),
        ("Norm of the gradient of an output by the features k days before", _profile_table(measured.profiles)),
        ("What tomorrow's 90 % band gains for each unit of the return k days before", _carried_table(measured.carried)),
        ("Norm of the gradient in training", _training_table(measured.training)),
        ("A plain RNN: norm of the gradient by its recurrent weights, by length", _exploding_table(measured.exploding)),
        ("Gradient descent with and without clipping: loss after so many steps", _clipped_table(measured.clipped)),
        (f"Memory task: accuracy, and runs of at least {HELD:.0%}, by days back", _memory_table(measured.memory)),
    ]
    return "\n\n".join(f"## {title}\n\n{table}" for title, table in parts if table)


def _one_unit_table(rows: Sequence[OneUnit]) -> str:
    by_weight = {row.weight: [each for each in rows if each.weight == row.weight] for row in rows}
    lags = [row.lag for row in rows if row.weight == rows[0].weight]
    apart = max(abs(row.autograd / row.closed_form - 1) for row in rows)
    lines = [[f"{weight}", *(number(row.autograd) for row in each)] for weight, each in by_weight.items()]
    table = _table(["w", *(f"k = {lag}" for lag in lags)], lines)
    return f"{table}\n\nBackpropagation and the formula differ by at most {apart:.0e} of the value."


def _profile_table(rows: Sequence[Profile]) -> str:
    head = ["layer", "weights", "gradient of", *map(str, _SHOWN_LAGS), "factor a day", "under 1 % from day"]
    lines = [
        [
            *(row.layer, row.weights, row.output),
            *(number(row.norms[lag]) for lag in _SHOWN_LAGS),
            f"{row.factor_a_day:.3f}",
            f"{row.days_to_1_percent or 'never'}",
        ]
        for row in rows
    ]
    return _table(head, lines)


def _carried_table(rows: Sequence[Carried]) -> str:
    lines = [
        [row.layer, by, *(number(values[lag]) for lag in _SHOWN_LAGS)]
        for row in rows
        for by, values in (("features and state", row.whole), ("features alone", row.by_features))
    ]
    return _table(["trained layer", "carried by", *map(str, _SHOWN_LAGS)], lines)


def _training_table(rows: Sequence[TrainingNorm]) -> str:
    lines = [[row.layer, row.weights, number(row.mean), number(row.largest), f"{row.clip:g}"] for row in rows]
    return _table(["layer", "weights", "mean", "largest", "clipped at"], lines)


def _exploding_table(rows: Sequence[Exploding]) -> str:
    cases = list(dict.fromkeys((row.bend, row.input_size, row.scale, row.spectral_radius) for row in rows))
    lengths = list(dict.fromkeys(row.length for row in rows))
    norms = {(row.bend, row.input_size, row.scale, row.length): row.norm for row in rows}
    lines = [
        [
            bend,
            f"{size:g}",
            f"{scale:g}",
            f"{radius:.2f}",
            *(number(norms[bend, size, scale, each]) for each in lengths),
        ]
        for bend, size, scale, radius in cases
    ]
    return _table(["activation", "inputs", "weights times", "spectral radius", *map(str, lengths)], lines)


def _clipped_table(rows: Sequence[Clipped]) -> str:
    steps = max(len(row.losses) for row in rows)
    shown = [at for at in (0, 1, 5, 20, 50, 100, steps - 1) if at < steps]
    lines = [
        [
            *(row.bend, f"{row.scale:g}", f"{row.clip or 'none'}"),
            *(number(row.losses[at] if at < len(row.losses) else None) for at in shown),
            number(row.norms[0]),
            number(row.largest_move),
        ]
        for row in rows
    ]
    head = ["activation", "weights times", "clipped at", *map(str, shown), "first gradient", "largest step / rate"]
    return _table(head, lines)


def _memory_table(rows: Sequence[Remembered]) -> str:
    lags = list(dict.fromkeys(row.lag_days for row in rows))
    cells: dict[str, list[str]] = {row.start: [] for row in rows}
    for row in rows:
        held = sum(accuracy >= HELD for accuracy in row.accuracies)
        cells[row.start].append(f"{100 * np.mean(row.accuracies):.1f} % ({held} of {len(row.accuracies)})")
    return _table(["layer and start", *map(str, lags)], [[start, *each] for start, each in cells.items()])


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    if not lines:
        return ""
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, ["---"] * len(head), *lines))


def number(value: float | None) -> str:
    """
    Three digits, or what is none.

    >>> [number(value) for value in (0.25, 1.5e-7, 0.0, None)]
    ['0.25', '1.50e-07', '0', 'not finite']
    """
    if value is None:
        return "not finite"
    return f"{value:.3g}" if value == 0 or 1e-3 <= abs(value) < 1e4 else f"{value:.2e}"


def charts(measured: Gradients, folder: Path) -> Path:
    """
    One page of charts, readable offline.

    Args:
        measured: As `measure` returns it.
        folder: Made if it is not there.

    Raises:
        DataError: plotly is not installed.
    """
    return write_pages("models.gradient_charts", {"gradients": (dataclasses.asdict(measured),)}, folder)[0]


def run(config: GradientConfig, *, as_json: bool, plots: Path | None) -> None:
    """
    Measure, and print tables or everything as JSON; errors as for `measure` and `charts`.

    Args:
        config: What is measured.
        as_json: Print JSON.
        plots: Folder for charts.
    """
    console = Console(stderr=True)
    with progress_bar(console, "starting") as report:
        measured = measure(config, report)
    click.echo(json.dumps(dataclasses.asdict(measured), allow_nan=False) if as_json else markdown(measured))
    if plots:
        console.print(f"charts: {charts(measured, plots)}")
