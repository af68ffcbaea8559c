"""
What a recurrent network kept, added and showed on each day of a series, by a bundle's `explain.onnx`. Knows no torch.

The same weights as `model.onnx`; read and opened when somebody asks for the first time.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np

from models.bundle import Card, read_explain
from models.errors import BundleError, ModelError, NothingToExplain
from models.execution import open_session
from models.ragged import Doubles, Floats

OUTPUTS: Final[dict[str, tuple[str, ...]]] = {
    "lstm": ("forget_gate", "input_gate", "candidate", "output_gate", "cell", "hidden"),
    "rnn": ("hidden",),
}
"""By network, what there is to tell of each unit and day."""


class Gates:
    """
    The inside of a recurrent network.

    Thread-safe. It runs on the CPU whatever the forecaster runs on: people ask for it, a series at a time, and a Scan
    on a GPU is some launches a day.

    Attributes:
        units: H, of the recurrent layer.
    """

    def __init__(self, path: Path, card: Card) -> None:
        """
        Read and open the graph of the bundle in a folder.

        Raises:
            NothingToExplain: The bundle has none.
            BundleError: The graph is not what the card says.
        """
        check_explains(card)
        self._names = OUTPUTS[card.network]
        try:
            self._session = open_session(read_explain(path, card), device="cpu")
            found = {put.name for put in self._session.get_outputs()}
        except ModelError:
            raise
        except Exception as error:  # onnxruntime's errors have no base in common but this
            raise BundleError(path=path, reason=f"{type(error).__name__}: {error}") from error
        if found != set(self._names):
            raise BundleError(path=path, reason=f"explain.onnx gives {sorted(found)}, not {sorted(self._names)}")
        self.units: int = self._session.get_outputs()[0].shape[2]

    def __call__(self, closes: Doubles) -> dict[str, Floats]:
        """
        What happened on each day but the first, which has no move to be seen.

        Args:
            closes: In quote currency, positive, oldest first, at least two. Shape ``(T,)``.

        Returns:
            By the names of `OUTPUTS`, in their order. Shapes ``(T - 1, H)``.
        """
        given = {"closes": closes.astype(np.float32)[None], "lengths": np.array([len(closes)])}
        told = self._session.run(list(self._names), given)
        return {name: each[0] for name, each in zip(self._names, told, strict=True)}


def means(told: Mapping[str, Floats]) -> dict[str, Floats]:
    """The mean over the units of each of the `OUTPUTS`: shapes ``(N, H)`` to shapes ``(N,)``."""
    return {name: each.mean(axis=1, dtype=np.float64).astype(np.float32) for name, each in told.items()}


def check_explains(card: Card) -> None:
    """Raise `NothingToExplain` where a bundle has no `explain.onnx`, and why."""
    if card.network not in OUTPUTS:
        raise NothingToExplain(model=card.name, version=card.version, memory=False)
    if card.explain_sha256 is None:
        raise NothingToExplain(model=card.name, version=card.version, memory=True)
