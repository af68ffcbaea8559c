"""Coverage by quarter: the right days in the right quarter, and none that says nothing."""

import numpy as np
import pytest

from models.bundle import ByQuarter
from models.coverage import by_quarter
from models.evaluate import Assessed
from models.measures import LEVELS, measured

BANDS_OF_ONE = np.linspace(-1, 1, len(LEVELS))
"""Quantiles at -1, -.75, -.5 up to 1: the 98 % band ends at 1, the 90 % band at .75, the 80 % band at .5."""


def assessed(first: str, realised: list[float], name: str = "A") -> Assessed:
    days = np.datetime64(first) + np.arange(len(realised))
    quantiles = np.tile(BANDS_OF_ONE, (len(realised), 1))
    return Assessed(name, days, {"one": measured(quantiles, np.array(realised))})


def test_closes_are_counted_in_the_quarter_of_their_own_day() -> None:
    calm, wild = [0.0] * 60, [0.0] * 30 + [0.6] * 10 + [0.9] * 10 + [2.0] * 10
    found = by_quarter([assessed("2020-02-01", calm + wild)], ["one"])  # 60 days to the end of March

    assert found == ByQuarter(
        quarters=["2020-Q1", "2020-Q2"],
        forecasts=[60, 60],
        inside_percent={"one": {"80": [100, 50], "90": [100, 66.67], "98": [100, 83.33]}},
    )


def test_a_quarter_is_of_all_series_together() -> None:
    together = [assessed("2020-01-01", [0.0] * 60), assessed("2020-01-01", [2.0] * 30, "B")]

    found = by_quarter(together, ["one"])

    assert found.forecasts == [90]
    assert found.inside_percent["one"]["90"] == [66.67]


@pytest.mark.parametrize(("days", "told"), [(49, []), (50, ["2020-Q1"])])
def test_a_quarter_of_few_forecasts_is_not_told(days: int, told: list[str]) -> None:
    found = by_quarter([assessed("2020-01-01", [0.0] * days)], ["one"])

    assert found.quarters == told
    assert len(found.forecasts) == len(found.inside_percent["one"]["98"]) == len(told)
