"""
What the networks see of a price series: scale-free, causal features and the size of a usual day. Needs torch.

Returns are symmetric returns, ``x_t = 2 (c_t - c_{t-1}) / (c_t + c_{t-1}) = 2 tanh(r_t / 2)`` for a log return r. They
lie within -2 and 2 whatever the closes, and differ from log returns by a third of a per mille at 6 %.

Beside the recurrent operators, only operations that IEEE 754 rounds exactly are used: no log, no softplus. onnxruntime
computes those by one routine in the middle of a buffer and by another at its end, and then a row's forecast could
depend on where in its batch the row stands.

Between the recurrent operators the features stand first, then time, then batch, ``(F, T, B)``. Taking some of them,
putting them together or dividing them all by one then goes through memory in one piece, at a tenth of what it costs
with the features last, as the recurrent operators take and give them.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SMALLEST_VOLATILITY = 1e-4
"""Floor of a usual day, as a return: a series that never moves still gets a band of a hundredth of a per cent."""
FEATURES = 13
_CLIP_Z, _CLIP = 6.0, 4.0

_VOLATILITY_DECAYS = (0.75, 0.94, 0.98, 0.995, 1.0)  # a decay of 1 averages over all history
_MOMENTUM_DECAYS = (0.8, 0.95)
_SQUARE, _UP, _DOWN, _SIZE, _AFTER_UP, _AFTER_DOWN, _STILL = range(7)
_AVERAGES: tuple[tuple[float, int], ...] = (
    *((decay, _SQUARE) for decay in _VOLATILITY_DECAYS),
    *((decay, _UP) for decay in _MOMENTUM_DECAYS),
    (0.995, _AFTER_UP),
    *((decay, _DOWN) for decay in _MOMENTUM_DECAYS),
    (0.995, _AFTER_DOWN),
    (0.995, _SIZE),
    (0.98, _STILL),
)
"""Decay a day, and the input that is averaged; those of ups stand in the order of those of downs, which they meet."""
_FOREVER = _VOLATILITY_DECAYS.index(1.0)
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
        sums: Of the averages, then of their weights. Shape ``(1, B, 26)``.
    """

    usual: Tensor
    moves: Tensor
    sums: Tensor


class Averages(nn.Module):
    """
    Exponentially weighted means of non-negative inputs, from the first day on.

    A mean is a weighted sum over the sum of its weights, and each sum is one unit of a recurrent layer with fixed
    diagonal weights and a ReLU that never acts. So the past is a small state, and the graph has one operator for it.
    The sums of the weights are those of a row whose inputs are all 1, and it stands in the batch beside the others: one
    for all rows where they start together, one for each where they go on from a past of their own.
    """

    def __init__(self) -> None:
        super().__init__()
        count = len(_AVERAGES)
        # Drawn and dropped: so many random numbers went before the trained weights when the shipped ones were trained.
        nn.RNN(_STILL + 1, 2 * count, bias=False)
        with torch.random.fork_rng(devices=[]):
            self.sums = nn.RNN(_STILL + 1, count, nonlinearity="relu", bias=False)
        taken, kept = torch.zeros(count, _STILL + 1), torch.zeros(count, count)
        for unit, (decay, taken_from) in enumerate(_AVERAGES):
            taken[unit, taken_from], kept[unit, unit] = 1, decay
        self.sums.weight_ih_l0 = nn.Parameter(taken, requires_grad=False)
        self.sums.weight_hh_l0 = nn.Parameter(kept, requires_grad=False)

    def forward(self, inputs: Tensor, before: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """
        Means up to each day, the number of days so far, and the sums as of the last day.

        Args:
            inputs: Not negative. Shape ``(T, B, 7)``.
            before: Sums as of the day before the first, if there were days. Shape ``(1, B, 26)``.

        Returns:
            Shapes ``(13, T, B)``, ``(1, T, 1)`` or ``(1, T, B)``, and ``(1, B, 26)``.
        """
        if before is None:
            rows, last = self.sums(functional.pad(inputs, (0, 0, 0, 1), value=1.0))
            rows = _features_first(rows)
            weighted, weights = rows[:, :, :-1], rows[:, :, -1:]
            after = torch.cat([last[:, :-1], last[:, -1:].expand_as(last[:, :-1])], 2)
        else:
            start = torch.cat(torch.split(before, len(_AVERAGES), 2), 1)
            rows, last = self.sums(torch.cat([inputs, torch.ones_like(inputs)], 1), start)
            weighted, weights = _halves(_features_first(rows), 2)
            after = torch.cat(_halves(last, 1), 2)
        return weighted / weights, weights[_FOREVER : _FOREVER + 1], after


class Front(nn.Module):
    """Closes in, features and the size of a usual day out; nothing in it is trained."""

    scales: Tensor
    shifts: Tensor
    signs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.averages = Averages()
        for name, values in (("scales", _SCALES), ("shifts", _SHIFTS), ("signs", (1.0, -1.0))):
            self.register_buffer(name, torch.tensor(values).reshape(-1, 1, 1), persistent=False)

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
        x = symmetric_returns(closes.t()).unsqueeze(0)
        moves = (x * self.signs).relu()
        before = functional.pad(moves[:, :-1], (0, 0, 1, 0))
        if past is not None:
            before = torch.cat([past.moves.permute(2, 0, 1), moves[:, :-1]], 1)
        size = x.abs()
        inputs = torch.cat([x * x, moves, size, before * size, (x == 0).to(x.dtype)])
        means, days, sums = self.averages(inputs.permute(1, 2, 0), None if past is None else past.sums)
        features, usual = self._features(x, means, days.expand_as(x), None if past is None else past.usual)
        scaled = (features * self.scales + self.shifts).clamp(-_CLIP, _CLIP)
        usual = usual.permute(1, 2, 0)
        return scaled.permute(1, 2, 0), usual, Past(usual[-1:], moves[:, -1:].permute(1, 2, 0), sums)

    def _features(self, x: Tensor, means: Tensor, days: Tensor, before: Tensor | None) -> tuple[Tensor, Tensor]:
        """
        Features and the size of a usual day.

        Args:
            x: Returns. Shape ``(1, T, B)``.
            means: Of `Averages`, and so the next. Shape ``(13, T, B)``.
            days: How many so far. Shape ``(1, T, B)``.
            before: A usual day as of the day before the first, if there was one. Shape ``(1, B, 1)``.

        Returns:
            Shapes ``(13, T, B)`` and ``(1, T, B)``.
        """
        squares, rises, falls, size, still = torch.split(means, [5, 3, 3, 1, 1])
        volatilities = squares.sqrt()
        _, quick, _, slow, forever = torch.split(volatilities, 1)
        usual = torch.maximum(quick, 0.1 * forever).clamp(min=SMALLEST_VOLATILITY)
        slow = slow.clamp(min=SMALLEST_VOLATILITY)
        # The day's own move is no part of the scale that it is measured by, but for the first, which has no other.
        first = usual[:, :1]
        if before is not None:
            first = torch.where(before > 0, before, first.permute(1, 2, 0)).permute(2, 0, 1)
        z = (x / torch.cat([first, usual[:, :-1]], 1)).clamp(-_CLIP_Z, _CLIP_Z)
        bent = z / (1 + z.abs()).sqrt()
        momentum, leverage = torch.split(rises - falls, [2, 1])
        features = [
            bent,
            bent.abs(),
            (volatilities - usual) / (volatilities + usual),
            momentum / usual,
            size / slow,  # thin or fat tails
            leverage / (slow * slow),  # do falls make the next move larger
            still,
            (days - 60) / (days + 60),
        ]
        return torch.cat(features), usual


def _features_first(averages: Tensor) -> Tensor:
    """
    ``(T, B, 13)`` to ``(13, T, B)``.

    onnxruntime moves a Transpose past every operator it can, to meet another one, and so would put the features last
    again in all that follows. A Gather, which changes nothing here, it leaves where it is.
    """
    return averages.permute(2, 0, 1).index_select(0, torch.arange(len(_AVERAGES)))


def _halves(both: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """The first and the second half along an axis."""
    first, second = torch.chunk(both, 2, axis)
    return first, second


def symmetric_returns(closes: Tensor) -> Tensor:
    """
    ``2 (c_t - c_{t-1}) / (c_t + c_{t-1})`` for each day but the first. Shapes ``(T, B)`` and ``(T - 1, B)``.

    >>> symmetric_returns(torch.tensor([[100.0], [300.0], [100.0]])).flatten()
    tensor([ 1., -1.])
    """
    before, after = closes[:-1], closes[1:]
    return 2 * (after - before) / (after + before)
