"""
A plain RNN, unrolled by hand: the gradient over steps in one unit, exploding gradients, and what clipping does.

Needs torch. In one linear unit the gradient over k steps is w^k. In a layer it is a product of k matrices, and the same
happens: it vanishes or explodes. Bengio, Simard and Frasconi, IEEE Transactions on Neural Networks 5 (1994); Pascanu,
Mikolov and Bengio, ICML (2013), who clip.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import torch
from torch import Tensor, nn

Bend = Literal["linear", "tanh"]
BENDS: Final[dict[Bend, Callable[[Tensor], Tensor]]] = {"linear": lambda states: states, "tanh": torch.tanh}
_CASES: Final[tuple[tuple[Bend, float], ...]] = (("linear", 1e-3), ("tanh", 1e-3), ("tanh", 1.0))
"""Activation function, and the standard deviation of the inputs."""
_DECAY = 0.9


@dataclass(frozen=True, kw_only=True)
class PlainConfig:
    """
    What is measured; the same configuration gives the same numbers.

    Attributes:
        seed: Of weights and inputs.
        weights: Of the one-unit case.
        lags: Steps back, in the one-unit case.
        inputs: Of the layer.
        hidden: Units of the layer.
        batch: Sequences over which a loss is a mean.
        scales: What the recurrent weights are multiplied by.
        lengths: Steps of the sequences whose gradient is measured.
        clip: Greatest norm of a gradient that is clipped.
        clipped: Activation functions and scales that are trained with and without clipping.
        steps: Optimizer steps of each training.
        length: Steps of its sequences.
        learning_rate: Of plain gradient descent.
    """

    seed: int = 0
    weights: tuple[float, ...] = (0.5, 0.9, 1.0, 1.1)
    lags: tuple[int, ...] = (1, 10, 50, 100, 500)
    inputs: int = 13
    hidden: int = 32
    batch: int = 16
    scales: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0)
    lengths: tuple[int, ...] = (10, 50, 100, 200, 500)
    clip: float = 1.0
    clipped: tuple[tuple[Bend, float], ...] = (("linear", 1.0), ("linear", 2.0), ("linear", 3.0), ("tanh", 3.0))
    steps: int = 200
    length: int = 100
    learning_rate: float = 0.1


@dataclass(frozen=True)
class OneUnit:
    """The gradient of the last output of ``h_t = w h_(t-1) + x_t`` by the input some steps before: w^k, twice."""

    weight: float
    lag: int
    closed_form: float
    autograd: float


@dataclass(frozen=True)
class Exploding:
    """
    The gradient of a plain RNN whose recurrent weights are scaled.

    Attributes:
        bend: The activation function.
        input_size: Standard deviation of its inputs.
        scale: What torch's default weights were multiplied by.
        spectral_radius: Of the result; above 1 the linear one explodes.
        length: Steps of the sequences.
        norm: Of the gradient of the loss, summed over steps, by the recurrent weights; None above 1e308.
    """

    bend: Bend
    input_size: float
    scale: float
    spectral_radius: float
    length: int
    norm: float | None


@dataclass(frozen=True)
class Clipped:
    """
    A training with or without clipping.

    Attributes:
        bend: The activation function of the plain RNN.
        scale: What torch's default recurrent weights were multiplied by, before the first step.
        clip: Greatest norm of the gradient; None for no clipping.
        losses: Of each step, up to the first that is no number or infinite, which is None.
        norms: Of each step's gradient, before clipping; None where it is no number or infinite.
        largest_move: Norm of the largest step of the weights, over the learning rate; None as for norms.
    """

    bend: Bend
    scale: float
    clip: float | None
    losses: tuple[float | None, ...]
    norms: tuple[float | None, ...]
    largest_move: float | None


def one_unit(weight: float, lag: int) -> OneUnit:
    """
    The gradient over some steps of one linear unit, by its formula and by backpropagation.

    >>> one_unit(0.5, 2)
    OneUnit(weight=0.5, lag=2, closed_form=0.25, autograd=0.25)
    """
    inputs = torch.zeros(lag + 1, 1, 1, dtype=torch.double, requires_grad=True)
    last = unrolled(torch.full((1, 1), weight, dtype=torch.double), inputs, "linear")[-1]
    (gradient,) = torch.autograd.grad(last.sum(), inputs)
    return OneUnit(weight, lag, weight**lag, float(gradient[0, 0, 0]))


def unrolled(weights: Tensor, drive: Tensor, bend: Bend) -> Tensor:
    """
    States of a plain RNN that starts from 0: ``h_t = bend(d_t + W h_(t-1))``.

    Args:
        weights: W, shape ``(H, H)``.
        drive: What the inputs add at each step. Shape ``(T, B, H)``.
        bend: The activation function.

    Returns:
        Shape ``(T, B, H)``.
    """
    state, states = torch.zeros_like(drive[0]), []
    for each in drive:
        state = BENDS[bend](each + state @ weights.t())
        states.append(state)
    return torch.stack(states)


def exploding(config: PlainConfig) -> tuple[Exploding, ...]:
    """
    Norms of the gradient of the total loss by the recurrent weights, in double precision.

    The loss is half the squared distance of the states from targets that are noise of the inputs' size, mean over units
    and sequences, summed over steps. A linear layer's gradient only scales with its inputs; a tanh's, near 0, is its.
    """
    return tuple(
        _exploding(config, bend, size, scale, length)
        for bend, size in _CASES
        for scale in config.scales
        for length in config.lengths
    )


def _exploding(config: PlainConfig, bend: Bend, size: float, scale: float, length: int) -> Exploding:
    taken, kept = (each.double() for each in plain_weights(config, config.inputs, scale))
    generator = torch.Generator().manual_seed(config.seed)
    inputs = size * torch.randn(length, config.batch, config.inputs, generator=generator, dtype=torch.double)
    targets = size * torch.randn(length, config.batch, config.hidden, generator=generator, dtype=torch.double)
    kept.requires_grad_()
    states = unrolled(kept, inputs @ taken.t(), bend)
    loss = 0.5 * (states - targets).square().mean((1, 2)).sum()
    (gradient,) = torch.autograd.grad(loss, kept)
    radius = float(torch.linalg.eigvals(kept.detach()).abs().max())
    return Exploding(bend, size, scale, radius, length, finite(float(safe_norm(gradient))))


def plain_weights(config: PlainConfig, inputs: int, scale: float) -> tuple[Tensor, Tensor]:
    """Weights of the inputs, ``(H, inputs)``, and of the states, ``(H, H)``: torch's defaults, the latter scaled."""
    torch.manual_seed(config.seed)
    layer = nn.RNN(inputs, config.hidden)
    taken, kept = layer.get_parameter("weight_ih_l0"), layer.get_parameter("weight_hh_l0")
    return taken.detach().clone(), scale * kept.detach()


def clipping(config: PlainConfig, report: Callable[[int, int], None] = lambda _done, _of: None) -> tuple[Clipped, ...]:
    """
    Each case trained twice on the same batches, without clipping and with it.

    Args:
        config: What is trained.
        report: Told how many of how many trainings are done.
    """
    cases = [(bend, scale, clip) for bend, scale in config.clipped for clip in (None, config.clip)]
    rows = []
    for done, case in enumerate(cases, 1):
        rows.append(clipped(config, *case))
        report(done, len(cases))
    return tuple(rows)


def clipped(config: PlainConfig, bend: Bend, scale: float, clip: float | None) -> Clipped:
    """
    A plain RNN trained by gradient descent, in single precision, until it is done or its loss is no number.

    What it learns is the exponentially weighted mean of its inputs, with a decay of 0.9 a step: one linear unit can.
    """
    weights = [each.requires_grad_() for each in plain_weights(config, 1, scale)]
    read = nn.Linear(config.hidden, 1)
    parameters = [*weights, *read.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=config.learning_rate)
    generator = torch.Generator().manual_seed(config.seed)
    losses, norms, moves = [], [], [0.0]
    for _ in range(config.steps):
        inputs = torch.randn(config.length, config.batch, 1, generator=generator)
        answers = read(unrolled(weights[1], inputs @ weights[0].t(), bend))
        loss = (answers - weighted_means(inputs)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        before = _flat(parameters)
        losses.append(float(loss.detach()))
        norms.append(clip_gradients(parameters, clip))
        optimizer.step()
        moves.append(float(safe_norm(_flat(parameters) - before)) / config.learning_rate)
        if not math.isfinite(losses[-1]):
            break
    largest = None if any(not math.isfinite(move) for move in moves) else max(moves)
    return Clipped(bend, scale, clip, tuple(map(finite, losses)), tuple(map(finite, norms)), largest)


def clip_gradients(parameters: Sequence[Tensor], clip: float | None) -> float:
    """Scale gradients down to a norm of `clip` where theirs is greater; the norm they had. None scales nothing."""
    return float(nn.utils.clip_grad_norm_(parameters, math.inf if clip is None else clip))


def weighted_means(inputs: Tensor) -> Tensor:
    """``m_t = 0.9 m_(t-1) + 0.1 x_t``, from 0; shape ``(T, B, 1)`` to the same."""
    decay = torch.full((1, 1), _DECAY)
    return unrolled(decay, (1 - _DECAY) * inputs, "linear")


def safe_norm(values: Tensor, dim: int | None = None) -> Tensor:
    """Euclidean norm, of all values or along one dimension; squares neither vanish nor overflow on the way."""
    largest = values.abs().max() if dim is None else values.abs().amax(dim, keepdim=True)
    scale = torch.where((largest > 0) & largest.isfinite(), largest, torch.ones_like(largest))
    norm: Tensor = torch.linalg.vector_norm(values / scale, dim=dim)
    return norm * (scale if dim is None else scale.squeeze(dim))


def finite(value: float) -> float | None:
    """The value, or None where it is no number or infinite, which JSON does not know."""
    return value if math.isfinite(value) else None


def _flat(parameters: Sequence[Tensor]) -> Tensor:
    return torch.cat([each.detach().flatten() for each in parameters])
