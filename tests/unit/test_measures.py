"""Measures that a reader can check by hand."""

import numpy as np
import pytest

from models.measures import LEVELS, crps, measured, newey_west_t, pinball_loss


def test_pinball_loss_equals_a_hand_worked_example() -> None:
    quantiles, realised = np.array([[-2.0, 0.0, 1.0], [-1.0, 0.0, 3.0]]), np.array([2.0, -1.5])

    losses = pinball_loss(quantiles, realised, [0.1, 0.5, 0.9])

    # Above a quantile by d: level * d. Below it by d: (1 - level) * d.
    assert np.allclose(losses, [[0.1 * 4, 0.5 * 2, 0.9 * 1], [0.9 * 0.5, 0.5 * 1.5, 0.1 * 4.5]])


def test_crps_of_a_point_forecast_is_its_absolute_error() -> None:
    levels = np.arange(1, 1000) / 1000

    score = crps(pinball_loss(np.zeros((1, 999)), np.array([3.0]), levels), levels)

    assert score == pytest.approx(3.0, rel=2e-3)  # the last line falls to nothing at level 1


def test_crps_of_two_levels_is_the_area_under_three_lines() -> None:
    assert crps(np.array([[0.2, 0.4]]), [0.25, 0.75]) == pytest.approx(2 * (0.025 + 0.15 + 0.05))


def test_a_median_that_sees_the_sign_of_each_day_is_right_on_all_that_moved() -> None:
    realised = np.array([0.02, -0.01, 0.0, 0.03])
    quantiles = np.sign(realised)[:, None] * 0.01 + np.linspace(-0.02, 0.02, len(LEVELS))

    got = measured(quantiles, realised)

    assert (got.direction, got.up) == (1.0, pytest.approx(2 / 3))
    assert got.mae == pytest.approx(np.mean([0.01, 0.0, 0.0, 0.02]))
    assert got.mae_last_close == pytest.approx(0.015)


def test_hits_and_bands_count_days() -> None:
    quantiles = np.tile(np.array([-4.0, -3, -2, -1, 0, 1, 2, 3, 4]), (4, 1))

    got = measured(quantiles, np.array([-5.0, -2.5, 0.0, 3.5]))

    assert got.hits.tolist() == [0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 0.75, 0.75, 1.0]
    assert {band: days.mean() for band, days in got.inside.items()} == {"80": 0.25, "90": 0.5, "98": 0.75}


def test_losses_are_means_over_levels() -> None:
    got = measured(np.zeros((1, 9)), np.array([1.0]))

    assert got.losses[0] == pytest.approx(np.mean(LEVELS))


def test_newey_west_t_without_lags_is_the_plain_t() -> None:
    differences = np.array([1.0, 2.0, 3.0])  # fewer than 100 days: 4 (3 / 100)^(2/9) is 1 lag, of weight 1/2

    centred = differences - 2
    variance = centred @ centred + 2 * 0.5 * (centred[1:] @ centred[:-1])

    assert newey_west_t(differences) == pytest.approx(2 * 3 / np.sqrt(variance))


def test_newey_west_t_shrinks_where_neighbours_go_together() -> None:
    draws = np.random.default_rng(0).normal(0.2, 1, 500)
    together = np.repeat(draws[:125], 4)

    plain = together.mean() / together.std() * np.sqrt(500)

    assert abs(newey_west_t(together)) < 0.7 * abs(plain)
    assert newey_west_t(np.zeros(10)) == 0
