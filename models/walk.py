"""
A bundle walked forward: its forecast for every day of a history, each from the closes up to that day. Knows no torch.

One run of `walk.onnx`, the same weights as `model.onnx`, instead of a run a day: about a microsecond a day. What a
recurrent network knows of a history is a small state, so a run can go on where another one ended.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from models.bundle import Card, read_card, read_walk
from models.errors import BundleError, ModelError
from models.execution import open_session
from models.measures import LEVELS
from models.ragged import Doubles, Floats

GOLDEN_TOLERANCE = 2e-5
_WINDOWS_PER_RUN = 64


class Walk:
    """The every-day forecaster of a bundle; its `quantiles` is a rule as `models.evaluate` takes it."""

    def __init__(self, graph: bytes, min_days: int, *, threads: int = 1) -> None:
        """
        Open a graph.

        Args:
            graph: `walk.onnx`.
            min_days: Closes before its first forecast, that day's own among them.
            threads: Of a run.
        """
        self._session = open_session(graph, device="cpu", threads=threads)
        self.min_days = min_days
        shapes: dict[str, list[Any]] = {put.name: put.shape for put in self._session.get_inputs()}
        self._state_size: int = shapes["state"][1] if "state" in shapes else min_days - 1
        self._recurrent = "state" in shapes

    @classmethod
    def open(cls, path: Path) -> "Walk":
        """
        The walk of the bundle in a folder, verified and checked against its golden samples.

        Raises:
            BundleError: It is missing, changed, or does not answer as it did when exported.
        """
        card = read_card(path)
        graph = read_walk(path, card)
        return cls.of(path, card, graph)

    @classmethod
    def of(cls, path: Path, card: Card, graph: bytes, *, threads: int = 1) -> "Walk":
        """The walk of a bundle whose files are read and verified; errors as for `open`."""
        try:
            walk = cls(graph, card.min_days, threads=threads)
            worst = float(np.max([walk._off(*sample) for sample in _samples(card)]))
        except ModelError:
            raise
        except Exception as error:  # onnxruntime's errors have no base in common but this
            raise BundleError(path=path, reason=f"{type(error).__name__}: {error}") from error
        if not worst <= GOLDEN_TOLERANCE:
            raise BundleError(path=path, reason=f"walked, its golden samples come out {worst:.2g} off, relatively")
        return walk

    def quantiles(self, closes: Doubles) -> Doubles:
        """
        Quantiles of the log return that follows each close but the first, NaN where there are too few closes before.

        Args:
            closes: In quote currency, positive, oldest first. Shape ``(T,)``.

        Returns:
            At the card's levels; the last row belongs to a day that is not there yet. Shape ``(T - 1, Q)``.
        """
        quantiles = np.full((len(closes) - 1, len(LEVELS)), np.nan)
        if len(closes) >= self.min_days:
            ratios = self.ratios(closes[None])[0]
            quantiles[len(quantiles) - len(ratios) :] = np.log(ratios)
        return quantiles

    def of_last(self, days: int) -> Callable[[Doubles], Doubles]:
        """`quantiles` where no forecast sees more than the last ``days`` closes; NaN before there are as many."""

        def quantiles(closes: Doubles) -> Doubles:
            answered = np.full((len(closes) - 1, len(LEVELS)), np.nan)
            if len(closes) >= max(days, self.min_days):
                windows = np.lib.stride_tricks.sliding_window_view(closes, days)
                for first in range(0, len(windows), _WINDOWS_PER_RUN):
                    last = self.ratios(windows[first : first + _WINDOWS_PER_RUN])[:, -1]
                    answered[first + days - 2 : first + days - 2 + len(last)] = np.log(last)
            return answered

        return quantiles

    def ratios(self, closes: Doubles | Floats) -> Doubles:
        """
        Quantiles of the close after each day that can be forecast, as multiples of the day's own close.

        Args:
            closes: In quote currency, oldest first, at least `min_days`. Shape ``(B, T)``.

        Returns:
            For the last N days of each row. Shape ``(B, N, Q)``.
        """
        ratios, _ = self.resumed(closes, None)
        return ratios

    def resumed(self, closes: Doubles | Floats, state: Floats | None) -> tuple[Doubles, Floats]:
        """
        Go on from where another run ended.

        Args:
            closes: The first of them was the last of the run before, if there was one. Shape ``(B, T)``.
            state: As the run before returned it; None if there was none. Shape ``(B, S)``.

        Returns:
            `ratios` of the days after the first, and the state after the last day: for an MLP its last closes.
        """
        if self._recurrent:
            state = np.zeros((len(closes), self._state_size), np.float32) if state is None else state
            given = {"closes": closes.astype(np.float32), "state": state}
            ratios, after = self._session.run(["quantiles", "after"], given)
            return np.asarray(ratios, np.float64), after
        seen = closes if state is None else np.hstack([state, closes[:, 1:]])
        (ratios,) = self._session.run(["quantiles"], {"closes": seen.astype(np.float32)})
        return np.asarray(ratios, np.float64), seen[:, -self._state_size :].astype(np.float32)

    def _off(self, closes: list[float], quantiles: list[float]) -> float:
        """How far the answer to a golden sample is from PyTorch's, relatively."""
        answered = self.ratios(np.array([closes]))[0, -1] * closes[-1]
        return float(np.max(np.abs(answered / quantiles - 1)))


def _samples(card: Card) -> Iterator[tuple[list[float], list[float]]]:
    """A card's golden samples: closes, and the quantiles that follow them."""
    return zip(card.golden.closes, card.golden.quantiles, strict=True)
