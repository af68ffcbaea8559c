"""What a forecast may never do, held against the models that ship."""

from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t as student

from models.bundle import versions
from models.forecaster import Forecaster
from models.measures import LEVELS, pinball_loss
from models.ragged import Doubles, Floats, Ragged
from models.settings import ModelSettings
from models.walk import Walk

STORE = ModelSettings().store
NAMES = ("lstm", "rnn", "mlp")
ORACLE_PERCENT = 1.6
"""How far above the loss of one who knows the process the LSTM's may lie."""


def bundle(name: str) -> Path:
    return STORE / name / str(versions(STORE / name)[-1])


@pytest.fixture(params=NAMES, scope="module")
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    return Forecaster.load(bundle(request.param))


def prices(seed: int, days: int, size: float = 0.012) -> Doubles:
    rng = np.random.default_rng(seed)
    return 80 * np.exp(np.cumsum(np.clip(rng.standard_t(3, days) * size, -0.7, 0.7)))


def answer(forecaster: Forecaster, closes: Doubles) -> Floats:
    return forecaster.predict(Ragged.of([closes]))[0]


def garch_paths(count: int, days: int) -> tuple[Doubles, Doubles, Doubles]:
    """Closes of GARCH(1,1)-t processes, their true volatility on each day, and their degrees of freedom."""
    rng = np.random.default_rng(11)
    reaction, degrees = rng.uniform(0.04, 0.12, count), rng.uniform(4, 9, count)
    kept = 0.98 - reaction
    usual = np.exp(rng.normal(np.log(0.013), 0.4, count)) ** 2
    variance, returns, volatility = usual.copy(), np.empty((days, count)), np.empty((days, count))
    for day in range(days):
        volatility[day] = np.sqrt(variance)
        returns[day] = volatility[day] * rng.standard_t(degrees) * np.sqrt((degrees - 2) / degrees)
        variance = 0.02 * usual + reaction * returns[day] ** 2 + kept * variance
    return 100 * np.exp(np.cumsum(returns, axis=0)).T, volatility.T, degrees


def test_the_lstm_comes_near_one_who_knows_the_garch_process() -> None:
    walk = Walk.open(bundle("lstm"))
    losses = []
    for closes, volatility, degrees in zip(*garch_paths(60, 1800), strict=True):
        realised = np.diff(np.log(closes))[500:]
        known = volatility[501:, None] * student.ppf(LEVELS, degrees) * np.sqrt((degrees - 2) / degrees)
        forecast = walk.quantiles(closes)[499:-1]
        losses.append([pinball_loss(each, realised).mean() for each in (forecast, known)])
    own, oracle = np.array(losses).T

    above = 100 * (np.exp(np.log(own / oracle).mean()) - 1)

    assert 0 < above < ORACLE_PERCENT  # nobody beats the one who knows


@pytest.mark.parametrize("factor", [0.01, 3, 4096])
def test_closes_times_a_constant_give_quantiles_times_that_constant(forecaster: Forecaster, factor: float) -> None:
    closes = prices(1, 400)

    np.testing.assert_allclose(answer(forecaster, closes * factor), factor * answer(forecaster, closes), rtol=2e-5)


@pytest.mark.parametrize("size", [1e-7, 1e-4, 0.01, 0.2])
def test_quantiles_rise_and_strictly_wherever_float32_can_tell(forecaster: Forecaster, size: float) -> None:
    for seed in range(20):
        quantiles = answer(forecaster, prices(seed, 300, size))

        assert (np.diff(quantiles) > 0).all()


def test_eight_thousand_closes_give_nearly_what_the_last_three_thousand_give(forecaster: Forecaster) -> None:
    closes = prices(2, 8000)

    long, short = answer(forecaster, closes), answer(forecaster, closes[-3000:])

    np.testing.assert_allclose(long / closes[-1], short / closes[-1], atol=2e-3)


def test_a_series_that_never_moves_is_forecast_to_stay(forecaster: Forecaster) -> None:
    quantiles = answer(forecaster, np.full(500, 42.0))

    assert (np.diff(quantiles) >= 0).all()
    np.testing.assert_allclose(quantiles, 42, rtol=2e-3)


def test_after_a_split_bands_are_wide_at_once_and_as_before_a_year_later(forecaster: Forecaster) -> None:
    closes = prices(3, 900, 0.008)
    split = closes.copy()
    split[400:] /= 2

    def width(given: Doubles) -> float:
        quantiles = answer(forecaster, given)
        return float((quantiles[-1] - quantiles[0]) / given[-1])

    assert width(split[:401]) > 1.5 * width(closes[:401])
    assert width(split) == pytest.approx(width(closes), rel=0.15)


def test_two_closes_are_enough_for_the_networks_that_recur() -> None:
    for name in ("lstm", "rnn"):
        quantiles = answer(Forecaster.load(bundle(name)), np.array([100.0, 101.0]))

        assert quantiles[0] < 101 < quantiles[-1]
