"""
Fitting a network: windows of closes, pinball loss, early stopping on the validation days. Needs torch.

A window starts like a request does, with nothing before it, and each of its days but the first twenty is forecast. It
is of a simulated path, a portfolio or a series, as `models.windows` draws them.
"""

import copy
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.bundle import Network
from models.errors import DataError
from models.evaluate import Span
from models.features import symmetric_returns
from models.measures import LEVELS
from models.networks import WINDOW_DAYS, Forecasting, build
from models.panel import Panel
from models.ragged import Doubles
from models.simulate import paths
from models.windows import PATH_DAYS, SMALLEST_MOVE, Windows

VALIDATION_PATHS, PATH_SCORED_DAYS = 64, 500
"""Simulated paths that stop training, beside the validation days, and the last days of each that are scored."""


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """
    How a network is fitted; the same configuration, prices and package versions give the same weights.

    Attributes:
        network: Which one.
        seed: Of weights and windows.
        steps: Optimizer steps at most.
        batch: Windows a step.
        window_days: Closes that a window has in front of the last day that it forecasts.
        burn_in_days: First days of a window that are not scored, as so little history is seen.
        learning_rate: Peak of the one-cycle schedule.
        weight_decay: Of AdamW.
        clip: Greatest norm of the gradient.
        simulated: Share of windows that are simulated paths.
        paths: How many of those there are to draw from.
        portfolios: Share of the other windows that are portfolios of several series.
        averaging: Decay a step of the mean of weights, which is what is validated and kept.
        validate_every: Steps between validations.
        patience: Validations without a better one before training stops.
        threads: Of torch. Another number rounds sums otherwise and gives other weights.
    """

    network: Network = "lstm"
    seed: int = 0
    steps: int = 400
    batch: int = 32
    window_days: int = 1024
    burn_in_days: int = 20
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    clip: float = 1.0
    simulated: float = 0.65
    paths: int = 4096
    portfolios: float = 0.2
    averaging: float = 0.98
    validate_every: int = 25
    patience: int = 8
    threads: int = 1

    @classmethod
    def of(cls, network: Network, **changes: Any) -> "FitConfig":
        """
        The defaults of a network, but for the changes given.

        An MLP sees nothing but its window, so it gets many short ones, and a strong decay, since it overfits them.

        Raises:
            DataError: An MLP shall see another window than its own.
        """
        if network != "mlp":
            return cls(network=network, **changes)
        if changes.get("window_days", WINDOW_DAYS) != WINDOW_DAYS:
            raise DataError(f"an MLP reads {WINDOW_DAYS} closes and is trained on windows of them, no other length")
        settings: dict[str, Any] = {
            "window_days": WINDOW_DAYS,
            "burn_in_days": 0,
            "batch": 1024,
            "steps": 800,
            "learning_rate": 1e-3,
            "weight_decay": 10.0,
            "validate_every": 50,
        }
        return cls(network=network, **(settings | changes))


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a fit is: steps done, the training loss of the last one, and validation losses, None before the first."""

    step: int
    loss: float
    validation: float | None
    best: float | None


class Fitted:
    """The best weights so far, by the validation days alone."""

    def __init__(self, network: Forecasting) -> None:
        self.network = network
        self.validation: float | None = None
        self.step = 0
        self.stale = 0

    def offer(self, network: Forecasting, validation: float, step: int) -> None:
        """Keep a copy of a network if it is the best yet."""
        self.stale += 1
        if self.validation is None or validation < self.validation:
            self.network, self.validation, self.step, self.stale = copy.deepcopy(network), validation, step, 0


class Validation:
    """
    The loss on the validation days, each forecast from its whole history, and on paths that nothing was trained on.

    Series are right-padded to one length, which a causal network cannot see; padding is not scored.
    """

    def __init__(self, network: Forecasting, prices: Panel, span: Span, simulated: Iterable[Doubles] = ()) -> None:
        """
        Read the features once; they do not change.

        Args:
            network: What will be validated.
            prices: Each series with days in the span counts as one.
            span: The validation days.
            simulated: Each path counts as one series; its last days are scored.

        Raises:
            DataError: No series has a day in the span.
        """
        rows, scored = [], []
        for row, closes in enumerate(prices.closes):
            dates = prices.dates_of(row)
            first, stop = np.searchsorted(dates, np.array(span)).tolist()
            start = 0 if network.window_days is None else max(0, first - network.window_days)
            if first < stop and first - start >= network.min_days:
                rows.append(closes[start:stop])
                scored.append(range(first - start, stop - start))
        for path in simulated:
            rows.append(path[-(PATH_SCORED_DAYS + (network.window_days or len(path))) :])
            scored.append(range(len(rows[-1]) - PATH_SCORED_DAYS, len(rows[-1])))
        if not rows:
            raise DataError(f"no series has closes both before {span[0]} and between there and {span[1]}")
        padded = _padded(rows)
        self._features, self._usual = network.seen(padded)
        days = torch.arange(padded.shape[1])[-len(self._features) + 1 :]
        self._targets = symmetric_returns(padded.t())[-len(days) :]
        self._weights = torch.stack([((days >= each.start) & (days < each.stop)).float() for each in scored], 1)
        size = (self._targets.abs() * self._weights).sum(0) / self._weights.sum(0)
        self._weights /= self._weights.sum(0) * size.clamp(min=SMALLEST_MOVE) * len(rows)

    def loss(self, network: Forecasting) -> float:
        """Mean pinball loss over its days and levels, in mean absolute returns of each series, mean over series."""
        with torch.no_grad():
            quantiles = network.quantiles(self._features, self._usual)[:-1]
            return float((_pinball(quantiles, self._targets) * self._weights).sum())


def fit(config: FitConfig, prices: Panel, span: Span, report: Callable[[Progress], None]) -> Fitted:
    """
    The network that did best on the validation days.

    Args:
        config: How.
        prices: Of which nothing from the end of the span on is read.
        span: The validation days; the days before them are trained on.
        report: Called after each step.

    Raises:
        DataError: There is too little before the span to train on, or nothing in it.
    """
    torch.manual_seed(config.seed)
    torch.set_num_threads(config.threads)
    torch.use_deterministic_algorithms(True)
    network = build(config.network, config.window_days)
    simulated = paths(np.random.default_rng([config.seed, 1]), VALIDATION_PATHS, PATH_DAYS) if config.simulated else ()
    windows = Windows(prices, span[0], config)
    validation = Validation(network, prices, span, simulated)
    average = copy.deepcopy(network)
    fitted = Fitted(average)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=config.weight_decay, lr=config.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.learning_rate, total_steps=config.steps)
    score = None
    for step in range(1, config.steps + 1):
        closes, sizes = (torch.from_numpy(each) for each in windows.draw())
        loss = window_loss(network, closes, sizes, config.burn_in_days)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
        schedule.step()
        _move_towards(average, network, 1 - config.averaging)
        if step % config.validate_every == 0 or step == config.steps:
            score = validation.loss(average)
            fitted.offer(average, score, step)
        report(Progress(step, float(loss.detach()), score, fitted.validation))
        if fitted.stale >= config.patience:
            break
    return fitted


def window_loss(network: Forecasting, closes: Tensor, sizes: Tensor, burn_in_days: int) -> Tensor:
    """
    Mean pinball loss of the days of windows, in mean absolute returns of their series.

    The measure is the series', not the window's: divided by the very return that is forecast, a loss rewards bands that
    are too narrow.

    Args:
        network: Whose weights get gradients.
        closes: The last of each window is forecast and not seen. Shape ``(B, T)``.
        sizes: Mean absolute return of each window's series. Shape ``(B,)``.
        burn_in_days: First days that are not scored.
    """
    with torch.no_grad():
        seen = network.seen(closes[:, :-1])
    targets = symmetric_returns(closes.t())[-len(seen[0]) :]
    return (_pinball(network.quantiles(*seen), targets) / sizes)[burn_in_days:].mean()


def _pinball(quantiles: Tensor, realised: Tensor) -> Tensor:
    """`models.measures.pinball_loss`, mean over levels, for gradients; ``(N, B, Q)`` and ``(N, B)`` to ``(N, B)``."""
    levels = torch.tensor(LEVELS)
    error = realised.unsqueeze(2) - quantiles
    return torch.maximum(levels * error, (levels - 1) * error).mean(2)


def _move_towards(average: nn.Module, network: nn.Module, share: float) -> None:
    with torch.no_grad():
        for mean, weight in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(weight, share)


def _padded(rows: list[np.ndarray[tuple[int], np.dtype[np.float64]]]) -> Tensor:
    """Series side by side, each continued with its last close. Shape ``(B, T)``."""
    longest = max(len(row) for row in rows)
    return torch.from_numpy(np.stack([np.pad(row, (0, longest - len(row)), "edge") for row in rows]).astype(np.float32))
