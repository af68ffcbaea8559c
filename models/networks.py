"""
The networks: an LSTM, a plain RNN and an MLP between one front of features and one head of quantiles. Needs torch.

Each module is the whole forecaster, from raw closes to quantiles of the next close, and is exported as it stands.
"""

import torch
from torch import Tensor, nn

from models.bundle import Network
from models.features import FEATURES, PAST, Front, Past

HIDDEN = 48
WINDOW_DAYS = 60
"""Closes that the MLP reads."""

_BLOCK_CLOSES = 2**17
"""Closes of windows that an MLP reads at a time: what its features need in between stays in the processor's cache."""

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
    downs: Tensor
    ups: Tensor

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, 2 + 2 * len(_STEPS_BETWEEN_LEVELS))
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        steps = torch.tensor(_STEPS_BETWEEN_LEVELS).repeat_interleave(2)  # down, up, down, up, ...
        self.register_buffer("steps", steps, persistent=False)
        self.register_buffer("downs", torch.tensor([6, 4, 2, 0]), persistent=False)  # the farthest first
        self.register_buffer("ups", torch.tensor([1, 3, 5, 7]), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Shape ``(N, inputs)`` to shape ``(N, Q)``."""
        median, rest = torch.split(self.linear(inputs), [1, 9], 1)
        scale, steps = torch.split(_positive(rest), [1, 8], 1)
        first, second, third, fourth = torch.split(scale * (steps * self.steps), 2, 1)
        sums = [first, first + second, first + second + third, first + second + third + fourth]
        both = torch.cat(sums, 1)
        down, up = (both.index_select(1, places) for places in (self.downs, self.ups))
        return torch.cat([median - down, median, median + up], 1)


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
        self._state = [1, 2, PAST - 3, *[HIDDEN] * (2 if network == "lstm" else 1)]

    @property
    def state_size(self) -> int:
        """S, the numbers that hold the past of a series."""
        return sum(self._state)

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
        features, usual, _ = self.front(closes)  # what comes after a row's end moves nothing before it
        states, _ = self.layer(features)
        # Each row's last real day: of each number its own, so nothing of the days before it has to be copied together.
        place = (lengths - 2).reshape(1, -1, 1)
        sizes = (HIDDEN, FEATURES, 1)
        parts = [
            steps.gather(0, place + torch.zeros(size, dtype=torch.long))
            for steps, size in zip((states, features, usual), sizes, strict=True)
        ]
        seen, usual = torch.split(torch.cat(parts, 2).reshape(-1, sum(sizes)), [HIDDEN + FEATURES, 1], 1)
        return next_closes(last, usual * self.head(seen))

    def seen(self, closes: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from closes, ``(B, T)``, for each day but the first: ``(T - 1, B, F)`` and ``(T - 1, B, 1)``."""
        features, usual, _ = self.front(closes)
        return features, usual

    def quantiles(self, features: Tensor, usual: Tensor) -> Tensor:
        """Quantiles of the symmetric return that follows each day seen. Shape ``(T - 1, B, Q)``."""
        states, _ = self.layer(features)
        return self._returns(states, features, usual)

    def resumed(self, closes: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """
        Go on from where another run ended: a day's update costs the same however long the history is.

        Args:
            closes: The first of them was the last of the run before, if there was one. Shape ``(B, T)``.
            state: As the run before returned it; zeros if there was none. Shape ``(B, S)``.

        Returns:
            Quantiles of the symmetric return that follows each day but the first, shape ``(T - 1, B, Q)``, and the
            state after the last day, shape ``(B, S)``.
        """
        usual, moves, sums, *layers = torch.split(state.unsqueeze(0), self._state, 2)
        features, usual, past = self.front(closes, Past(usual, moves, sums))
        states, after = self.layer(features, layers[0] if len(layers) == 1 else tuple(layers))
        after = after if isinstance(after, tuple) else (after,)
        return self._returns(states, features, usual), torch.cat([*past, *after], 2).squeeze(0)

    def _returns(self, states: Tensor, features: Tensor, usual: Tensor) -> Tensor:
        steps = torch.cat([states, features], 2)
        flat: Tensor = self.head(steps.flatten(0, 1))
        return usual * flat.reshape(*steps.shape[:2], -1)


class WindowMLP(nn.Module):
    """
    An MLP: two hidden layers that read one fixed window of days, the last of the history, and see nothing before it.

    Its inputs are the bent returns of each day of the window and all features of the last one.
    """

    def __init__(self, window_days: int = WINDOW_DAYS) -> None:
        """
        Fresh weights for a window; another window is another network.

        Args:
            window_days: Closes that it reads, at least 2.
        """
        super().__init__()
        self.min_days = self.window_days = window_days
        self.front = Front()
        inputs = window_days - 1 + FEATURES
        self.layers = nn.Sequential(nn.Linear(inputs, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, HIDDEN), nn.ReLU())
        self.head = Head(HIDDEN + FEATURES)

    def forward(self, closes: Tensor, lengths: Tensor) -> Tensor:
        """As `Recurrent.forward`, for rows of at least `window_days` days."""
        places = (lengths - self.window_days).unsqueeze(1) + torch.arange(self.window_days)
        window = closes.gather(1, places)
        inputs, usual = self._read(window)
        return next_closes(window[:, -1:], self.quantiles(inputs.unsqueeze(0), usual.unsqueeze(0))[0])

    def seen(self, closes: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from each full window of closes, ``(B, T)``: ``(N, B, F)`` and ``(N, B, 1)``, N full windows."""
        days = self.window_days
        places = torch.arange(closes.shape[1] - days + 1).unsqueeze(1) + torch.arange(days)
        windows = closes.index_select(1, places.flatten()).reshape(closes.shape[0], -1, days).transpose(0, 1)
        inputs, usual = self._read(windows.flatten(0, 1))
        return inputs.reshape(*windows.shape[:2], -1), usual.reshape(*windows.shape[:2], 1)

    def _read(self, windows: Tensor) -> tuple[Tensor, Tensor]:
        """What is read from windows, ``(M, window_days)``: ``(M, F)`` and ``(M, 1)``."""
        most = max(1, _BLOCK_CLOSES // self.window_days)
        if windows.shape[0] > most:
            parts = [self._read(block) for block in torch.split(windows, most)]
            return torch.cat([inputs for inputs, _ in parts]), torch.cat([usual for _, usual in parts])
        features, usual, _ = self.front(windows)
        return torch.cat([features[:, :, 0].t(), features[-1]], 1), usual[-1]

    def quantiles(self, inputs: Tensor, usual: Tensor) -> Tensor:
        """Quantiles of the symmetric return that follows each window seen. Shape ``(N, B, Q)``."""
        flat = inputs.flatten(0, 1)
        hidden = self.layers(flat)
        raw: Tensor = self.head(torch.cat([hidden, flat[:, -FEATURES:]], 1))
        return usual * raw.reshape(*inputs.shape[:2], -1)


Forecasting = Recurrent | WindowMLP


class Walk(nn.Module):
    """A network that forecasts every day of a history at once, from the closes up to that day."""

    def __init__(self, network: Forecasting) -> None:
        super().__init__()
        self.network = network

    def forward(self, closes: Tensor, state: Tensor | None = None) -> tuple[Tensor, ...]:
        """
        Quantiles of the close after each day that can be forecast, the last ``N`` of the history.

        Args:
            closes: In quote currency, oldest first, all of them real. Shape ``(B, T)``.
            state: As for `Recurrent.resumed`; None for an MLP, which has none. Shape ``(B, S)``.

        Returns:
            As multiples of the day's own close, shape ``(B, N, Q)``, and the state after the last day, if there is one.
        """
        if isinstance(self.network, WindowMLP) or state is None:
            return (_ratios(self.network.quantiles(*self.network.seen(closes))),)
        returns, after = self.network.resumed(closes, state)
        return _ratios(returns), after


def build(network: Network, window_days: int = WINDOW_DAYS) -> Forecasting:
    """A network of that kind with fresh weights, from torch's global generator; a window is an MLP's alone."""
    return WindowMLP(window_days) if network == "mlp" else Recurrent(network)


def next_closes(last: Tensor, returns: Tensor) -> Tensor:
    """Closes that follow the last ones, ``(B, 1)``, by symmetric returns, ``(B, Q)``: ``c (2 + x) / (2 - x)``."""
    bounded = returns.clamp(-_LARGEST_RETURN, _LARGEST_RETURN)
    return last * ((2 + bounded) / (2 - bounded))


def _ratios(returns: Tensor) -> Tensor:
    """Next closes as multiples of the last ones, batch first: ``(N, B, Q)`` to ``(B, N, Q)``."""
    return next_closes(torch.ones_like(returns[:, :, :1]), returns).transpose(0, 1)


def _positive(raw: Tensor) -> Tensor:
    """A softplus without exp: positive, rising, 1 at 0, close to its argument far above it."""
    return (raw + (raw * raw + 4).sqrt()) / 2
