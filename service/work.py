"""What a request for forecasts becomes once it is read and checked: rows that wait for a run, and what comes after."""

from collections.abc import Callable
from typing import NamedTuple

from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from service.exchange import Answer


class Work(NamedTuple):
    """
    Rows of a request, every one of which can be forecast.

    Attributes:
        forecaster: The model that answers.
        rows: Closes of B series.
        finish: From the quantiles, shape ``(B, Q)``, to the answer.
        heavy: Whether `finish` takes its time, as where paths are drawn.
    """

    forecaster: Forecaster
    rows: Ragged
    finish: Callable[[Floats], Answer]
    heavy: bool = False
