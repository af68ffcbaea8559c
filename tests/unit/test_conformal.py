"""The correction: causal, ordered, and exact in the long run whatever the forecasts."""

import numpy as np
import pytest

from models.conformal import corrected, track
from models.measures import LEVELS
from models.ragged import Doubles


def returns_of(days: int) -> Doubles:
    rng = np.random.default_rng(4)
    return 0.01 * rng.standard_t(4, days) * np.exp(0.5 * np.sin(np.arange(days) / 200))


def flat(returns: Doubles, width: float) -> Doubles:
    """The same quantiles every day, wrong by design."""
    return np.tile(width * np.linspace(-2, 2, len(LEVELS)), (len(returns), 1))


@pytest.mark.parametrize(("width", "rate"), [(0.006, 0.1), (0.05, 0.02)])
def test_coverage_comes_right_however_wrong_the_forecast(width: float, rate: float) -> None:
    returns = returns_of(6000)

    moved = track(flat(returns, width), returns, rate)

    hits = (returns[1:, None] <= moved[:-1])[1000:].mean(0)
    np.testing.assert_allclose(hits, LEVELS, atol=0.01)
    assert not np.allclose((returns[1:, None] <= flat(returns, width)[:-1])[1000:].mean(0), LEVELS, atol=0.05)


def test_the_first_steps_equal_a_hand_worked_example() -> None:
    evenly = np.linspace(-1, 1, len(LEVELS))

    moved = track(np.tile(evenly, (3, 1)), np.array([0.0, 0.5, -2.0]), 0.1)

    np.testing.assert_allclose(moved[0], evenly)
    # .5 came, at or under the three highest: those fall by rate times 1 - level, the others rise by rate times level.
    steps, between_quartiles = [0.01, 0.05, 0.1, 0.25, 0.5, 0.75, -0.1, -0.05, -0.01], 0.5
    np.testing.assert_allclose(moved[1], evenly + 0.1 * between_quartiles * np.array(steps))


def test_a_changed_future_changes_no_past_quantile() -> None:
    returns = returns_of(500)
    changed = returns.copy()
    changed[300:] *= -3

    before, after = (track(flat(each, 0.01), each, 0.05) for each in (returns, changed))

    np.testing.assert_array_equal(before[:300], after[:300])
    assert not np.array_equal(before[300:], after[300:])


def test_quantiles_stay_in_order_and_nan_where_there_is_no_forecast() -> None:
    closes = 100 * np.exp(np.cumsum(returns_of(800)))

    def forecasts(given: Doubles) -> Doubles:
        made = flat(np.diff(np.log(given)), 0.001)
        made[:50] = np.nan
        return made

    moved = corrected(forecasts, rate=0.5)(closes)

    assert np.isnan(moved[:50]).all()
    assert (np.diff(moved[50:], axis=1) >= 0).all()
