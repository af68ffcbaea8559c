"""
What the networks see of a price series: scale-free, causal features and the size of a usual day. Needs torch.

Returns are symmetric returns, ``x_t = 2 (c_t - c_{t-1}) / (c_t + c_{t-1}) = 2 tanh(r_t / 2)`` for a log return r. They
lie within -2 and 2 whatever the closes, and differ from log returns by a third of a per mille at 6 %.

Beside the recurrent operators, only operations that IEEE 754 rounds exactly are used: no log, no softplus. onnxruntime
computes those by one routine in the middle of a buffer and by another at its end, and then a row's forecast could
depend on where in its batch the row stands.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

SMALLEST_VOLATILITY = 1e-4
"""Floor of a usual day, as a return: a series that never moves still gets a band of a hundredth of a per cent."""
FEATURES = 13
_CLIP_Z, _CLIP = 6.0, 4.0

_VOLATILITY_DECAYS = (0.75, 0.94, 0.98, 0.995, 1.0)  # a decay of 1 averages over all history
_MOMENTUM_DECAYS = (0.8, 0.95)
_SQUARE, _UP, _DOWN, _AFTER_UP, _AFTER_DOWN, _STILL, _MOVED = range(7)
_AVERAGES: tuple[tuple[float, tuple[int, ...]], ...] = (
    *((decay, (_SQUARE,)) for decay in _VOLATILITY_DECAYS),
    *((decay, (_UP,)) for decay in _MOMENTUM_DECAYS),
    *((decay, (_DOWN,)) for decay in _MOMENTUM_DECAYS),
    (0.995, (_UP, _DOWN)),
    (0.995, (_AFTER_UP,)),
    (0.995, (_AFTER_DOWN,)),
    (0.98, (_STILL,)),
)
"""Decay a day, and the inputs whose sum is averaged."""
_SCALES = (1.0, 1.0, *[4.0] * 5, 2.0, 4.0, 4.0, 8.0, 3.0, 1.0)
_SHIFTS = (0.0, -0.6, *[0.0] * 7, -3.0, 0.0, 0.0, 0.0)
"""What brings each feature to about -1 to 1."""


PAST = 3 + 2 * len(_AVERAGES)
"""Numbers in a `Past`."""


class Past(NamedTuple):
    """
    All that the features of later days need of the days before them; zeros where there were none.

    Attributes:
        usual: Size of a usual day, as of the last day. Shape ``(1, B, 1)``.
        moves: The last return, up and down apart. Shape ``(1, B, 2)``.
        sums: Of the averages. Shape ``(1, B, 26)``.
    """

    usual: Tensor
    moves: Tensor
    sums: Tensor


class Averages(nn.Module):
    """
    Exponentially weighted means of non-negative inputs, from the first day on.

    A mean is a weighted sum over the sum of its weights, and each sum is one unit of a recurrent layer with fixed
    diagonal weights and a ReLU that never acts. So the past is a small state, and the graph has one operator for it.
    """

    def __init__(self) -> None:
        super().__init__()
        count = len(_AVERAGES)
        self.sums = nn.RNN(_MOVED + 1, 2 * count, nonlinearity="relu", bias=False)
        taken, kept = torch.zeros(2 * count, _MOVED + 1), torch.zeros(2 * count, 2 * count)
        for unit, (decay, inputs) in enumerate(_AVERAGES):
            taken[unit, list(inputs)] = 1
            taken[count + unit, [_STILL, _MOVED]] = 1  # one of the two is 1 on each day
            kept[unit, unit] = kept[count + unit, count + unit] = decay
        self.sums.weight_ih_l0 = nn.Parameter(taken, requires_grad=False)
        self.sums.weight_hh_l0 = nn.Parameter(kept, requires_grad=False)

    def forward(self, inputs: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """
        Means up to each day, the number of days so far, and the sums as of the last day.

        Args:
            inputs: Not negative. Shape ``(T, B, 7)``.
            before: Sums as of the day before the first, if there were days. Shape ``(1, B, 26)``.

        Returns:
            Shapes ``(T, B, 13)``, ``(T, B, 1)`` and ``(1, B, 26)``.
        """
        sums, last = self.sums(inputs, before)
        weighted, weights = torch.split(sums, len(_AVERAGES), 2)
        forever = len(_VOLATILITY_DECAYS) - 1
        return weighted / weights, weights[:, :, forever : forever + 1], last


class Front(nn.Module):
    """Closes in, features and the size of a usual day out; nothing in it is trained. Time comes first, then batch."""

    scales: Tensor
    shifts: Tensor
    signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.averages = Averages()
        self.register_buffer("scales", torch.tensor(_SCALES), persistent=False)
        self.register_buffer("shifts", torch.tensor(_SHIFTS), persistent=False)
        self.register_buffer("signs", torch.tensor([1.0, -1.0]), persistent=False)

    def forward(self, closes: Tensor, past: Past | None = None) -> tuple[Tensor, Tensor, Past]:
        """
        Features of each day but the first, from the closes up to that day.

        Args:
            closes: In quote currency, positive, oldest first. Shape ``(B, T)``.
            past: Of the days up to the first of the closes, where there were some.

        Returns:
            Features within -4 and 4, shape ``(T - 1, B, F)``, volatility, a return a day, shape ``(T - 1, B, 1)``, and
            the past of the days that may follow.
        """
        x = symmetric_returns(closes.t()).unsqueeze(2)
        moves = (x * self.signs).clamp(min=0)
        inputs = self._inputs(x, moves, moves[:1] * 0 if past is None else past.moves)
        means, days, sums = self.averages(inputs, None if past is None else past.sums)
        volatilities, ups, downs, size, after_up, after_down, still = torch.split(means, [5, 2, 2, 1, 1, 1, 1], 2)
        volatilities = volatilities.sqrt()
        usual = torch.maximum(volatilities[:, :, 1:2], 0.1 * volatilities[:, :, 4:5]).clamp(min=SMALLEST_VOLATILITY)
        # The day's own move is no part of the scale that it is measured by, but for the first, which has no other.
        first = usual[:1] if past is None else torch.where(past.usual > 0, past.usual, usual[:1])
        z = (x / torch.cat([first, usual[:-1]])).clamp(-_CLIP_Z, _CLIP_Z)
        bent = z / (1 + z.abs()).sqrt()
        slow = volatilities[:, :, 3:4].clamp(min=SMALLEST_VOLATILITY)
        features = [
            bent,
            bent.abs(),
            (volatilities - usual) / (volatilities + usual),
            (ups - downs) / usual,  # momentum
            size / slow,  # thin or fat tails
            (after_up - after_down) / (slow * slow),  # leverage: do falls make the next move larger
            still,
            (days - 60) / (days + 60),
        ]
        scaled = (torch.cat(features, 2) * self.scales + self.shifts).clamp(-_CLIP, _CLIP)
        return scaled, usual, Past(usual[-1:], moves[-1:], sums)

    def _inputs(self, x: Tensor, moves: Tensor, first: Tensor) -> Tensor:
        """What is averaged, from returns, the same up and down apart, and the move before the first one."""
        before = torch.cat([first, moves[:-1]])
        still = (x == 0).to(x.dtype)
        return torch.cat([x * x, moves, before * x.abs(), still, 1 - still], 2)


def symmetric_returns(closes: Tensor) -> Tensor:
    """
    ``2 (c_t - c_{t-1}) / (c_t + c_{t-1})`` for each day but the first. Shapes ``(T, B)`` and ``(T - 1, B)``.

    >>> symmetric_returns(torch.tensor([[100.0], [300.0], [100.0]])).flatten()
    tensor([ 1., -1.])
    """
    before, after = closes[:-1], closes[1:]
    return 2 * (after - before) / (after + before)
