"""Several days ahead: the next day as ever, then paths that spread as they should."""

import numpy as np
import pytest

from models.ahead import draw, forecast_ahead, rule_ahead
from models.bounds import MAX_HORIZON
from models.bundle import versions
from models.errors import DataError
from models.measures import LEVELS
from models.ragged import Doubles
from models.settings import ModelSettings
from models.walk import Walk

STORE = ModelSettings().store


def prices(days: int) -> Doubles:
    rng = np.random.default_rng(8)
    return 30 * np.exp(np.cumsum(rng.standard_t(5, days) * 0.01))


@pytest.fixture(params=["lstm", "rnn", "mlp"], scope="module")
def walk(request: pytest.FixtureRequest) -> Walk:
    return Walk.open(STORE / request.param / str(versions(STORE / request.param)[-1]))


def test_the_next_day_is_exactly_the_forecast_that_there_is_without_a_horizon(walk: Walk) -> None:
    closes = prices(300)

    ahead = forecast_ahead(walk, closes, 5)

    np.testing.assert_allclose(ahead[0], closes[-1] * np.exp(walk.quantiles(closes)[-1]), rtol=1e-12)
    assert ahead.shape == (5, len(LEVELS))


def test_the_same_seed_gives_the_same_paths_and_another_gives_others(walk: Walk) -> None:
    closes = prices(120)
    first, again, other = (forecast_ahead(walk, closes, 3, paths=50, seed=seed) for seed in (0, 0, 1))

    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first[1:], other[1:])


@pytest.mark.slow
def test_bands_widen_about_as_the_root_of_the_days(walk: Walk) -> None:
    ahead = np.log(forecast_ahead(walk, prices(400), MAX_HORIZON, paths=4000))
    widths = ahead[:, LEVELS.index(0.9)] - ahead[:, LEVELS.index(0.1)]

    assert (np.diff(widths) > -0.02 * widths[0]).all()
    assert widths[-1] / widths[0] == pytest.approx(np.sqrt(MAX_HORIZON), rel=0.35)
    assert (np.diff(ahead, axis=1) > 0).all()


@pytest.mark.parametrize("closes", [[1e-30, 1e30], [1e30, 1e-30]])
def test_closes_that_leap_by_sixty_orders_of_magnitude_still_give_prices(walk: Walk, closes: list[float]) -> None:
    ahead = forecast_ahead(walk, np.array(closes * 40), MAX_HORIZON).astype(np.float32)

    assert np.isfinite(ahead).all()
    assert (ahead > 0).all()


@pytest.mark.slow
def test_a_walk_from_a_state_forecasts_as_a_walk_of_the_closes_up_to_that_day(walk: Walk) -> None:
    closes, last = prices(400), np.array([300, 320, 399])

    forecasts = rule_ahead(walk, 4, paths=4000)(closes, last)

    for row, place in zip(forecasts, last.tolist(), strict=True):
        alone = np.log(forecast_ahead(walk, closes[: place + 1], 4, paths=4000)[-1] / closes[place])
        np.testing.assert_allclose(row, alone, atol=0.01)  # other draws: the noise of 4,000 paths


def test_a_rule_answers_nan_where_there_are_too_few_closes(walk: Walk) -> None:
    forecasts = rule_ahead(walk, 2, paths=10)(prices(100), np.array([0, walk.min_days - 2, 99]))

    assert np.isnan(forecasts[:2]).all()
    assert np.isfinite(forecasts[2]).all()


def test_draws_have_the_quantiles_that_they_are_drawn_from() -> None:
    logs = np.array([[-0.05, -0.03, -0.02, -0.01, 0.001, 0.011, 0.021, 0.03, 0.06]])
    uniforms = (np.arange(20_000) + 0.5) / 20_000

    drawn = draw(np.repeat(logs, len(uniforms), axis=0), uniforms)

    np.testing.assert_allclose(np.quantile(drawn, LEVELS), logs[0], atol=2e-4)
    assert (np.diff(drawn) >= 0).all()
    assert drawn[0] < -0.07  # there is a tail beyond the outermost quantile


@pytest.mark.parametrize("horizon", [0, 21, -1])
def test_a_horizon_out_of_range_is_refused(horizon: int, walk: Walk) -> None:
    with pytest.raises(DataError, match=f"a horizon is 1 to 20 days, not {horizon}"):
        forecast_ahead(walk, prices(100), horizon)


def test_too_few_closes_are_refused(walk: Walk) -> None:
    with pytest.raises(DataError, match=f"needs at least {walk.min_days}"):
        forecast_ahead(walk, prices(walk.min_days - 1), 2)
