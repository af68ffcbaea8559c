"""Simulated closes look like closes, and training draws from them what it should."""

import numpy as np
import pytest

from models.errors import DataError
from models.fit import FitConfig
from models.panel import Panel
from models.ragged import Ragged
from models.simulate import LARGEST_RETURN, paths
from models.windows import PATH_DAYS, Windows, portfolios

END = np.datetime64("2003-01-01")
CONFIG = FitConfig(window_days=100, batch=400, paths=50)


def prices_of(*rows: np.ndarray) -> Panel:
    dates = np.concatenate([np.datetime64("2000-01-01") + np.arange(len(row)) for row in rows])
    return Panel([f"S{row}" for row in range(len(rows))], Ragged.of(rows), dates)


def test_the_same_seed_gives_the_same_paths_and_another_gives_others() -> None:
    first, again, other = (paths(np.random.default_rng(seed), 8, 300) for seed in (1, 1, 2))

    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_paths_are_closes_of_bounded_moves() -> None:
    closes = paths(np.random.default_rng(0), 500, 400)

    assert closes.shape == (500, 400)
    assert (closes > 0).all()
    assert np.abs(np.diff(np.log(closes))).max() < LARGEST_RETURN + 0.1  # a tick may add to a move


def test_paths_have_fat_tails_and_volatility_that_clusters_and_rises_after_falls() -> None:
    moves = np.diff(np.log(paths(np.random.default_rng(0), 1000, 1000)))
    moves -= moves.mean(1, keepdims=True)
    sizes = np.abs(moves) - np.abs(moves).mean(1, keepdims=True)

    kurtosis = (moves**4).mean(1) / moves.var(1) ** 2
    clustering = (sizes[:, 10:] * sizes[:, :-10]).mean(1) / sizes.var(1)
    leverage = (moves[:, :-1] * sizes[:, 1:]).mean(1) / (moves.std(1) * sizes.std(1))

    assert np.median(kurtosis) > 5
    assert np.median(clustering) > 0.05
    assert np.median(leverage) < -0.02


def test_a_portfolio_of_one_series_twice_is_that_series() -> None:
    row = np.exp(np.random.default_rng(0).normal(0, 0.01, 200).cumsum())

    (mixed, *_) = portfolios(prices_of(row, row), END, np.random.default_rng(0), 3)

    assert np.allclose(mixed / mixed[0], row / row[0])


def test_portfolios_end_before_training_ends_and_hold_days_that_all_have() -> None:
    given = prices_of(np.linspace(1, 2, 2000), np.linspace(2, 1, 500))

    mixed = portfolios(given, END, np.random.default_rng(0), 5)

    assert {len(each) for each in mixed} == {500}
    assert portfolios(prices_of(np.ones(10)), END, np.random.default_rng(0), 5) == []


def test_windows_are_drawn_in_the_shares_that_were_asked_for() -> None:
    still, risen = np.full(1000, 7.0), np.full(1000, 9.0)

    closes, sizes = Windows(prices_of(still, risen), END, CONFIG).draw()

    real = (closes == 7).all(1) | (closes == 9).all(1)
    mixed = (closes == 100).all(1)
    assert closes.shape == (400, 101)
    assert sizes.shape == (400,)
    assert 0.2 < real.mean() < 0.36  # 28 % of 400
    assert 0.03 < mixed.mean() < 0.12  # 7 %


@pytest.mark.parametrize("simulated", [0, 0.65])
def test_a_history_must_be_long_enough_where_a_share_of_the_windows_is_of_it(simulated: float) -> None:
    short = prices_of(np.linspace(1, 2, 60))

    with pytest.raises(DataError, match="no series has 101 closes before 2003-01-01"):
        Windows(short, END, FitConfig(window_days=100, simulated=simulated, paths=8))


@pytest.mark.parametrize("window_days", [100, PATH_DAYS + 100])
def test_simulated_paths_alone_need_no_history_and_are_as_long_as_a_window(window_days: int) -> None:
    config = FitConfig(window_days=window_days, simulated=1, paths=8, batch=5)

    closes, _ = Windows(prices_of(np.linspace(1, 2, 60)), END, config).draw()

    assert closes.shape == (5, window_days + 1)
