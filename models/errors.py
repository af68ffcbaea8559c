"""
Every error that the forecasting core raises. It knows no status codes: the edges map these to theirs.

    NextdayError
    ├── InputError              the caller can mend it
    │   ├── InvalidSeries       one or more series of a request; carries every fault with its place
    │   ├── EmptyRequest
    │   ├── UnknownModel
    │   ├── UnknownLevel
    │   └── NothingToExplain    a model that cannot tell what it kept, added and showed
    ├── DataError               a price table that cannot be read as daily closes
    ├── SettingError            an environment variable with a value that cannot be
    └── ModelError              the operator can mend it
        ├── BundleError         a bundle that is not what its card says
        ├── ModelUnloaded       an operator has unloaded it
        └── ProviderUnavailable the execution provider asked for did not load
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_PATH = re.compile(r"[^\s'\"`(),;:=]*/(?=[^\s/])")
"""The folders in front of a file's name, in a message of a library's."""


class NextdayError(Exception):
    """The root; catch it at an edge."""


class InputError(NextdayError):
    """What the caller sent cannot be answered."""


@dataclass(frozen=True, slots=True)
class SeriesFault:
    """
    What is wrong with one series.

    Attributes:
        series: Its place in the request, from 0.
        message: What is wrong and what right looks like, without the series' place.
        close: Place of the faulty close in the series, from 0; None where the fault is the series' as a whole.
    """

    series: int
    message: str
    close: int | None = None

    def __str__(self) -> str:
        """The fault with its place, as a sentence for people."""
        return f"series {self.series}{' ' if self.close is None else ', '}{self.within}"

    @property
    def within(self) -> str:
        """The fault with its place in the series alone."""
        return self.message if self.close is None else f"close {self.close} {self.message}"


class InvalidSeries(InputError):
    """At least one series is faulty; `faults` names every one of them, at most one a series."""

    def __init__(self, *, faults: Sequence[SeriesFault]) -> None:
        self.faults = list(faults)
        more = f" (and {len(faults) - 1} more faulty series)" if len(faults) > 1 else ""
        super().__init__(f"{faults[0]}{more}")


class EmptyRequest(InputError):
    """There is no series to forecast."""

    def __init__(self) -> None:
        super().__init__("got no series; send at least one")


class UnknownModel(InputError):
    """No such model, or no such version of it, in the repository."""

    def __init__(self, *, name: str, version: int | None, known: Iterable[str]) -> None:
        self.version = version
        asked = name[:60] if version is None else f"{name[:60]} version {version}"
        super().__init__(f"there is no model {asked!r}; there are: {', '.join(known) or 'none'}")


class UnknownLevel(InputError):
    """A quantile level that the model does not give."""

    def __init__(self, *, level: float, known: Iterable[float]) -> None:
        super().__init__(f"level {level!r} is not one of the model's: {', '.join(map(str, known))}")


class NothingToExplain(InputError):
    """A model without a memory, or one that was exported without the graph that tells of it."""

    def __init__(self, *, model: str, version: int, memory: bool) -> None:
        why = (
            "was exported without explain.onnx; export its weights anew, or ask a version that has one"
            if memory
            else "is an MLP, which reads one window of days at once and has no memory to show; ask an LSTM or an RNN"
        )
        super().__init__(f"version {version} of {model!r} {why}")


class DataError(NextdayError):
    """A table of prices that cannot be read as daily closes; the message names file, series and date."""


class SettingError(NextdayError):
    """An environment variable whose value cannot be used."""

    def __init__(self, *, variable: str, value: str, wanted: str) -> None:
        super().__init__(f"{variable}={value!r}: {wanted}")


class ModelError(NextdayError):
    """
    A model that must not serve.

    Attributes:
        reason: Why, in words that name no folder of this machine.
    """

    def __init__(self, message: str, *, reason: str) -> None:
        self.reason = _PATH.sub("", reason)
        super().__init__(message)


class BundleError(ModelError):
    """A bundle on disk that is not what its card says."""

    def __init__(self, *, path: object, reason: str) -> None:
        super().__init__(f"bundle {path} is refused: {reason}", reason=reason)


class ModelUnloaded(ModelError):
    """An operator has unloaded the model."""

    def __init__(self, *, name: str) -> None:
        super().__init__(f"the model {name!r} is unloaded; an operator can load it again", reason="unloaded")


class ProviderUnavailable(ModelError):
    """The execution provider that was demanded did not load; nothing falls back in its stead."""

    def __init__(self, *, wanted: str, reason: str) -> None:
        message = f"execution provider {wanted} is not available: {reason}"
        super().__init__(message, reason=message)
