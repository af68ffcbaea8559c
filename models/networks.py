"""
The networks: an LSTM, a plain RNN and an MLP between one front of features and one head of quantiles. Needs torch.

Each module is the whole forecaster, from raw closes to quantiles of the next close, and is exported as it stands.
"""

import torch
from torch import Tensor, nn

from models.bundle import Network
from models.features import FEATURES, Front

LEVELS = (0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
HIDDEN = 32
WINDOW_DAYS = 60
"""Closes that the MLP reads."""

_STEPS_BETWEEN_LEVELS = (0.563, 0.580, 0.418, 1.046)
"""
Where training starts: from the median outwards, the steps between quantiles at .5, .75, .9, .95 and .99 of Student's t
with 5 degrees of freedom, scaled to unit variance.
"""
_LARGEST_RETURN = 1.9986
"""Quantiles stay within about exp(-8) and exp(8) times the last close, as a symmetric return."""


class Head(nn.Module):
    """
    Quantiles of the next symmetric return, in units of a usual day.

    The median, a scale, and positive steps away from the median: quantiles cannot cross, to the last bit, since adding
    something positive never rounds to less.
    """

    steps: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 2 + 2 * len(_STEPS_BETWEEN_LEVELS))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        steps = torch.tensor(_STEPS_BETWEEN_LEVELS).repeat_interleave(2)  # down, up, down, up, ...
        self.register_buffer("steps", steps, persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape ``(N, inputs)`` to shape ``(N, Q)``."""
        median, rest = torch.split(self.linear(inputs), [1, 9], 1)
        scale, steps = torch.split(_positive(rest), [1, 8], 1)
        first, second, third, fourth = torch.split(scale * (steps * self.steps), 2, 1)
        sums = [first, first + second, first + second + third, first + second + third + fourth]
        down, up = torch.split(torch.stack(sums, 2), 1, 1)
        return torch.cat([median - down.squeeze(1).flip(1), median, median + up.squeeze(1)], 1)


class Recurrent(nn.Module):
    """
    An LSTM or a plain RNN: any history from two closes on, and the same weights for each day of it.

    Its answer for a day is a function of the closes up to that day: one pass over a series forecasts every day of it.
    """

    min_days = 2
    window_days = None

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.front = Front()
        self.layer = nn.LSTM(FEATURES, HIDDEN) if network == "lstm" else nn.RNN(FEATURES, HIDDEN)
        self.head = Head(HIDDEN + FEATURES)

    def forward(self, closes: Tensor, lengths: Tensor) -> Tensor:
        """
        Quantiles of each row's next close.

        Args:
            closes: In quote currency, oldest first, right-padded with anything. Shape ``(B, T)``.
            lengths: Days that are real in each row, at least 2. Shape ``(B,)``.

        Returns:
            Non-decreasing along each row, in quote currency. Shape ``(B, Q)``.
        """
        last = closes.gather(1, (lengths - 1).unsqueeze(1))
        real = torch.arange(closes.shape[1]) < lengths.unsqueeze(1)
        features, usual = self.front(torch.where(real, closes, last))
        states, _ = self.layer(features)
        # The step of each row's last real day, out of steps laid end to end, time first.
        places = (lengths - 2) * closes.shape[0] + torch.arange(closes.shape[0])
        steps = torch.cat([states, features, usual], 2).flatten(0, 1).index_select(0, places)
        seen, usual = torch.split(steps, [HIDDEN + FEATURES, 1], 1)
        return next_closes(last, usual * self.head(seen))

    def seen(self, closes: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from closes, ``(B, T)``, for each day but the first: ``(T - 1, B, F)`` and ``(T - 1, B, 1)``."""
        features, usual = self.front(closes)
        return features, usual

    def quantiles(self, features: Tensor, usual: Tensor) -> Tensor:
        """Quantiles of the symmetric return that follows each day seen. Shape ``(T - 1, B, Q)``."""
        states, _ = self.layer(features)
        steps = torch.cat([states, features], 2)
        flat: Tensor = self.head(steps.flatten(0, 1))
        return usual * flat.reshape(*steps.shape[:2], -1)


class WindowMLP(nn.Module):
    """
    An MLP: two hidden layers that read one fixed window of days, the last of the history, and see nothing before it.

    Its inputs are the bent returns of each day of the window and all features of the last one.
    """

    min_days = WINDOW_DAYS
    window_days = WINDOW_DAYS

    def __init__(self) -> None:
        super().__init__()
        self.front = Front()
        inputs = WINDOW_DAYS - 1 + FEATURES
        self.layers = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.head = Head(HIDDEN + FEATURES)

    def forward(self, closes: Tensor, lengths: Tensor) -> Tensor:
        """As `Recurrent.forward`, for rows of at least `WINDOW_DAYS` days."""
        places = (lengths - WINDOW_DAYS).unsqueeze(1) + torch.arange(WINDOW_DAYS)
        window = closes.gather(1, places)
        return next_closes(window[:, -1:], self.quantiles(*self.seen(window))[0])

    def seen(self, closes: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from each full window of closes, ``(B, T)``: ``(N, B, F)`` and ``(N, B, 1)``, N full windows."""
        windows = closes.t().unfold(0, WINDOW_DAYS, 1)
        features, usual = self.front(windows.flatten(0, 1))
        inputs = torch.cat([features[:, :, 0].t(), features[-1]], 1)
        return inputs.reshape(*windows.shape[:2], -1), usual[-1].reshape(*windows.shape[:2], 1)

    def quantiles(self, inputs: Tensor, usual: Tensor) -> Tensor:
        """Quantiles of the symmetric return that follows each window seen. Shape ``(N, B, Q)``."""
        flat = inputs.flatten(0, 1)
        hidden = self.layers(flat)
        raw: Tensor = self.head(torch.cat([hidden, flat[:, -FEATURES:]], 1))
        return usual * raw.reshape(*inputs.shape[:2], -1)


Forecasting = Recurrent | WindowMLP


def build(network: Network) -> Forecasting:
    """A network of that kind with fresh weights, from torch's global generator."""
    return WindowMLP() if network == "mlp" else Recurrent(network)


def next_closes(last: Tensor, returns: Tensor) -> Tensor:
    """Closes that follow the last ones, ``(B, 1)``, by symmetric returns, ``(B, Q)``: ``c (2 + x) / (2 - x)``."""
    bounded = returns.clamp(-_LARGEST_RETURN, _LARGEST_RETURN)
    return last * ((2 + bounded) / (2 - bounded))


def _positive(raw: Tensor) -> Tensor:
    """A softplus without exp: positive, rising, 1 at 0, close to its argument far above it."""
    return (raw + (raw * raw + 4).sqrt()) / 2
