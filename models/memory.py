"""
A memory task: say at the end what was seen so many days ago, with noise on every day since. Needs torch.

Nothing but memory solves it, so it shows what the gradient over time can teach: a network that cannot carry one bit for
so long guesses, and is right half of the time. The task is the latch problem of Bengio, Simard and Frasconi, IEEE
Transactions on Neural Networks 5 (1994), in its smallest form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import torch
from torch import Tensor, nn

Start = Literal["rnn", "rnn, orthogonal", "lstm", "lstm, forget bias 1", "lstm, forget bias 3", "lstm, chrono"]
"""
A layer and how its weights start.

    rnn                     tanh, torch's defaults
    rnn, orthogonal         the recurrent weights turn the state and neither shrink nor stretch it: Saxe, McClelland and
                            Ganguli, ICLR (2014)
    lstm                    torch's defaults, whose forget gates keep about a half a day
    lstm, forget bias 1     Jozefowicz, Zaremba and Sutskever, ICML (2015), after Gers, Schmidhuber and Cummins (2000)
    lstm, forget bias 3     the same, wider open
    lstm, chrono            gates that keep for 1 to as many days as there are: Tallec and Ollivier, ICLR (2018)
"""
STARTS: Final[tuple[Start, ...]] = get_args(Start)
CHANCE: Final = 0.5
HELD: Final = 0.95
"""Accuracy from which on a task counts as held."""
_FLAG, _INPUTS = 1, 2


@dataclass(frozen=True, kw_only=True)
class MemoryConfig:
    """
    What is tried; the same configuration gives the same numbers.

    Attributes:
        seed: Of weights and sequences; each further run takes the next one.
        runs: How often each task is learned anew.
        lags_days: How long ago the symbol was seen, a task each.
        hidden: Units of each layer.
        steps: Optimizer steps, the same for all.
        batch: Sequences a step.
        learning_rate: Of Adam.
        clip: Greatest norm of the gradient.
        tested: Fresh sequences on which accuracy is measured.
    """

    seed: int = 0
    runs: int = 3
    lags_days: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    hidden: int = 32
    steps: int = 400
    batch: int = 32
    learning_rate: float = 3e-3
    clip: float = 1.0
    tested: int = 1000


@dataclass(frozen=True)
class Remembered:
    """
    How well one start learned one task.

    Attributes:
        start: Layer and how its weights start.
        lag_days: How long ago the symbol was seen.
        accuracies: Of each run, on sequences that were not trained on; `CHANCE` is a coin's.
    """

    start: Start
    lag_days: int
    accuracies: tuple[float, ...]


class Recaller(nn.Module):
    """A recurrent layer and a linear reading of its last hidden state: the logit of "the symbol was +1"."""

    def __init__(self, start: Start, hidden: int, longest_days: int) -> None:
        super().__init__()
        self.layer = started(start, _INPUTS, hidden, longest_days)
        self.read = nn.Linear(hidden, 1)

    def forward(self, sequences: Tensor) -> Tensor:
        """Shape ``(T, B, 2)`` to shape ``(B,)``."""
        states, _ = self.layer(sequences)
        logits: Tensor = self.read(states[-1])[:, 0]
        return logits


def started(start: Start, inputs: int, hidden: int, longest_days: int) -> nn.RNN | nn.LSTM:
    """A layer with fresh weights from torch's global generator; chrono gates keep for up to the longest days."""
    if start.startswith("rnn"):
        rnn = nn.RNN(inputs, hidden)
        if start == "rnn, orthogonal":
            nn.init.orthogonal_(rnn.get_parameter("weight_hh_l0"))
        return rnn
    lstm = nn.LSTM(inputs, hidden)
    if start.startswith("lstm, forget bias "):
        open_forget_gates(lstm, float(start.rsplit(" ", 1)[1]))
    elif start == "lstm, chrono":
        open_for_days(lstm, longest_days)
    return lstm


def open_forget_gates(layer: nn.LSTM, bias: float) -> None:
    """Set the bias of the forget gates; torch has two biases, of which the other becomes 0. A gate keeps sigmoid(b)."""
    forget = slice(layer.hidden_size, 2 * layer.hidden_size)  # torch's order of the gates: i, f, g, o
    with torch.no_grad():
        layer.get_parameter("bias_ih_l0")[forget] = bias
        layer.get_parameter("bias_hh_l0")[forget] = 0


def open_for_days(layer: nn.LSTM, longest_days: int) -> None:
    """
    Chrono initialisation: forget biases ``log(u)`` and input biases ``-log(u)``, u uniform in 1 to one day less.

    A unit with forget bias log(u) keeps ``u / (1 + u)`` a day, so it forgets in about u days. Tallec and Ollivier, ICLR
    (2018); that the other biases are 0 is our choice.
    """
    hidden, bias = layer.hidden_size, layer.get_parameter("bias_ih_l0")
    with torch.no_grad():
        nn.init.zeros_(bias)
        nn.init.zeros_(layer.get_parameter("bias_hh_l0"))
        kept = torch.log(torch.empty(hidden).uniform_(1, max(2, longest_days - 1)))
        bias[hidden : 2 * hidden] = kept  # torch's order of the gates: i, f, g, o
        bias[:hidden] = -kept


def sequences(generator: torch.Generator, lag_days: int, batch: int) -> tuple[Tensor, Tensor]:
    """
    Sequences, and which symbol each began with.

    Returns:
        Shape ``(lag_days + 1, B, 2)``: on the first day a symbol, +1 or -1, and a flag of 1; on every later day noise
        of unit variance and a flag of 0. And shape ``(B,)``: 1 where the symbol was +1, else 0.
    """
    drawn = torch.randn(lag_days + 1, batch, generator=generator)
    symbols = torch.randint(0, 2, (batch,), generator=generator).float()
    given = torch.stack([drawn, torch.zeros_like(drawn)], 2)
    given[0, :, 0] = 2 * symbols - 1
    given[0, :, _FLAG] = 1
    return given, symbols


def learn(config: MemoryConfig, start: Start, lag_days: int, seed: int) -> float:
    """
    Train a fresh network on one task; its accuracy on fresh sequences, 0 to 1.

    Chrono gates are told the longest of the tasks, not this one's lag, which the other starts are not told either.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Recaller(start, config.hidden, max(config.lags_days) + 1)
    optimizer = torch.optim.Adam(network.parameters(), lr=config.learning_rate)
    for _ in range(config.steps):
        given, symbols = sequences(generator, lag_days, config.batch)
        loss = nn.functional.binary_cross_entropy_with_logits(network(given), symbols)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        optimizer.step()
    given, symbols = sequences(generator, lag_days, config.tested)
    with torch.no_grad():
        right = (network(given) > 0) == (symbols > 0)
    return round(float(right.float().mean()), 4)


def remembered(
    config: MemoryConfig, report: Callable[[int, int], None] = lambda _done, _of: None
) -> tuple[Remembered, ...]:
    """
    Every start on every task.

    Args:
        config: What is tried.
        report: Told how many of how many tasks are done.
    """
    tasks = [(start, lag) for start in STARTS for lag in config.lags_days]
    rows = []
    for done, (start, lag) in enumerate(tasks, 1):
        accuracies = tuple(learn(config, start, lag, config.seed + run) for run in range(config.runs))
        rows.append(Remembered(start, lag, accuracies))
        report(done, len(tasks))
    return tuple(rows)
