"""Scores on the right days, baselines that see no future, and a rule that does, caught."""

from pathlib import Path

import numpy as np
import pytest

from models import baselines
from models.baselines import BASELINES, GARCH, HISTORY_DAYS, RANDOM_WALK, cached, ewma_normal, random_walk
from models.errors import DataError
from models.evaluate import assess, baseline_rules, by_series, every_day, forecast_days, summary
from models.export import walk_of_prices
from models.garch import FIRST_FIT_DAYS, garch_t
from models.measures import LEVELS
from models.panel import Panel
from models.ragged import Ragged

SPAN = (np.datetime64("2001-01-01"), np.datetime64("2001-02-01"))
QUICK = {name: rule for name, rule in baseline_rules().items() if "GJR" not in name}


def panel_of(count: int, days: int = 500) -> Panel:
    rng = np.random.default_rng(0)
    rows = [walk_of_prices(rng, days) for _ in range(count)]
    dates = np.tile(np.datetime64("2000-01-01") + np.arange(days), count)
    return Panel([f"S{row}" for row in range(count)], Ragged.of(rows), dates)


def test_scores_equal_a_hand_worked_example() -> None:
    returns = np.tile([0.01, -0.01], 300)
    closes = 100 * np.exp(np.concatenate([[0], np.cumsum(returns)]))
    dates = np.datetime64("2000-01-01") + np.arange(len(closes))

    scored = summary(assess(QUICK, Panel(["A"], Ragged.of([closes]), dates), SPAN))

    walk = scored[RANDOM_WALK]
    # 250 returns of which half are +1 % and half -1 %: the quantiles are -1 % up to .25 and +1 % from .75 on.
    wings = sum(min(level, 1 - level) * 200 for level in LEVELS if level != 0.5)
    assert walk["pinball_bp"] == pytest.approx((wings / 2 + 50) / 9, abs=1e-3)
    assert (walk["coverage_80"], walk["forecasts"], walk["vs_random_walk_percent"]) == (100, 31, 0)
    assert scored[GARCH]["vs_garch_percent"] == scored[GARCH]["t_vs_garch"] == 0
    assert set(scored) == set(QUICK)


def test_a_day_is_scored_by_the_forecast_of_the_day_before_it() -> None:
    closes, jump_day = np.full(400, 100.0), 366
    closes[jump_day:] *= np.exp(0.1)
    dates = np.datetime64("2000-01-01") + np.arange(400)
    span = (dates[jump_day], dates[jump_day + 1])

    scored = summary(assess(QUICK, Panel(["A"], Ragged.of([closes]), dates), span))["EWMA .94, normal"]

    # Nothing moved before the jump, so every quantile was the last close, and each is missed by 10 %.
    assert scored["coverage_98"] == 0
    assert scored["pinball_bp"] == pytest.approx(0.1 * np.mean(LEVELS) * 1e4)
    assert scored["forecasts"] == 1


def test_the_relative_score_is_a_geometric_mean_over_series() -> None:
    given = panel_of(2)
    name = "EWMA .94, normal"
    both = summary(assess(QUICK, given, SPAN))[name]["vs_garch_percent"]

    alone = []
    for row in range(2):
        one = Panel(["A"], Ragged.of([given.closes[row]]), given.dates_of(row))
        alone.append(summary(assess(QUICK, one, SPAN))[name]["vs_garch_percent"])

    assert 1 + both / 100 == pytest.approx(np.sqrt((1 + alone[0] / 100) * (1 + alone[1] / 100)), abs=1e-5)


def test_all_forecasters_are_scored_on_the_days_that_all_can_forecast() -> None:
    def late(closes):
        quantiles = ewma_normal(np.diff(np.log(closes)), LEVELS)
        quantiles[:379] = np.nan  # the first forecast is of the day with number 381
        return quantiles

    (one,) = assess(QUICK | {"late": every_day(late)}, panel_of(1), SPAN)

    assert [len(one.by[name].losses) for name in one.by] == [16] * 4
    assert str(one.days[0]) == "2001-01-16"
    assert by_series([one])[0]["forecasts"] == 16


def test_a_rule_that_sees_the_next_close_stands_out() -> None:
    def peeking(closes):
        returns = np.append(np.diff(np.log(closes)), 0)[1:]
        return returns[:, None] + 1e-4 * np.array([-4, -3, -2, -1, 0, 1, 2, 3, 4])

    scored = summary(assess(QUICK | {"peeking": every_day(peeking)}, panel_of(2), SPAN))["peeking"]

    assert scored["vs_garch_percent"] < -90
    assert scored["direction_percent"] == 100


@pytest.mark.parametrize("rule", BASELINES.values(), ids=BASELINES)
def test_a_perturbed_future_moves_no_baseline(rule) -> None:
    # Calm and wild months in turn: where variance never moves, GARCH is right to answer nothing with it.
    returns = np.random.default_rng(0).normal(0, 0.01, 600) * np.tile(np.repeat([1, 4], 30), 10)
    changed = returns.copy()
    changed[520:] *= -5

    before, after = rule(returns, LEVELS), rule(changed, LEVELS)

    assert np.array_equal(before[:520], after[:520], equal_nan=True)
    assert not np.array_equal(before[520:], after[520:])


def test_garch_finds_the_variance_of_a_simulated_garch_process() -> None:
    rng, variance, returns, truth = np.random.default_rng(1), 1.0, [], []
    for _ in range(2600):
        shock = np.sqrt(variance) * rng.standard_t(6) * np.sqrt(4 / 6)
        returns.append(shock / 100)
        variance = 0.05 + 0.1 * shock**2 + 0.85 * variance
        truth.append(np.sqrt(variance) / 100)

    quantiles = garch_t(np.array(returns), LEVELS)

    width = (quantiles[2500:, 7] - quantiles[2500:, 1]) / 2
    true_width = 1.943 * np.sqrt(4 / 6) * np.array(truth)[2500:]  # Student's t with 6 degrees, at .95
    assert np.abs(width / true_width - 1).max() < 0.12


@pytest.mark.parametrize("name", BASELINES)
def test_a_series_that_never_moves_gets_a_finite_answer(name: str) -> None:
    answered = BASELINES[name](np.zeros(600), LEVELS)[FIRST_FIT_DAYS:]

    assert np.isfinite(answered).all()
    assert (np.diff(answered) >= 0).all()


def test_kept_forecasts_are_the_same_and_a_broken_file_is_made_anew(tmp_path: Path, monkeypatch) -> None:
    closes = panel_of(1, 300).closes[0]
    fresh = cached("EWMA .94, normal", closes, None)

    assert np.array_equal(cached("EWMA .94, normal", closes, tmp_path), fresh)
    (file,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setitem(baselines.BASELINES, "EWMA .94, normal", lambda _returns, _levels: pytest.fail("not kept"))
        assert np.array_equal(cached("EWMA .94, normal", closes, tmp_path), fresh)
    file.write_bytes(file.read_bytes()[:100])
    assert np.array_equal(cached("EWMA .94, normal", closes, tmp_path), fresh)
    assert not np.array_equal(cached("EWMA .94, normal", closes * np.linspace(1, 2, 300), tmp_path), fresh)


def test_the_random_walk_is_centred_on_the_last_close() -> None:
    quantiles = random_walk(np.random.default_rng(0).normal(0.5, 1, 300), LEVELS)

    assert np.isnan(quantiles[: HISTORY_DAYS - 1]).all()
    assert np.allclose(quantiles[HISTORY_DAYS - 1 :, 4], 0)


def test_the_ewma_of_returns_of_one_size_is_that_size() -> None:
    quantiles = ewma_normal(np.array([0.01, -0.01, 0.01]), [0.5, 0.975])

    assert np.allclose(quantiles, [[0, 0.0195996]] * 3)


def test_forecast_days_are_chosen_by_date_alone() -> None:
    dates = np.datetime64("2000-01-01") + np.arange(500)

    assert forecast_days(dates, SPAN).tolist() == list(range(366, 397))
    assert forecast_days(dates, (dates[0], dates[252])).tolist() == [251]


def test_a_span_without_days_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to score: no series has a day from 2031"):
        assess(QUICK, panel_of(1), (np.datetime64("2031-01-01"), np.datetime64("2032-01-01")))


def test_forecasts_of_several_days_do_not_overlap_and_are_scored_by_the_return_over_those_days() -> None:
    given, seen = panel_of(1), []

    def nothing(closes, last):
        seen.extend(last.tolist())
        return np.tile(np.linspace(-1e-9, 1e-9, len(LEVELS)), (len(last), 1))

    (one,) = assess(
        {"nothing": nothing} | baseline_rules(horizon=5), given, (SPAN[0], np.datetime64("2001-05-01")), horizon=5
    )

    places = np.array(seen) + 5
    assert (np.diff(places) == 5).all()
    assert [str(day) for day in one.days] == [str(day) for day in given.dates[places]]
    returns = np.log(given.closes[0][places] / given.closes[0][np.array(seen)])
    assert one.by["nothing"].mae_last_close == pytest.approx(np.abs(returns).mean())


@pytest.mark.parametrize("rule", BASELINES.values(), ids=BASELINES)
def test_a_baseline_widens_about_as_the_root_of_the_days_and_sees_no_future(rule) -> None:
    returns = np.random.default_rng(3).standard_t(5, 700) * 0.01
    changed = returns.copy()
    changed[600:] *= 4

    one, ten, other = rule(returns, LEVELS, 1), rule(returns, LEVELS, 10), rule(changed, LEVELS, 10)

    known = ~np.isnan(ten[:, 0])
    assert known[249::10].all()
    widths = [(each[known, -2] - each[known, 1]).mean() for each in (one, ten)]
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(10), rel=0.2)
    np.testing.assert_array_equal(ten[:500], other[:500])  # up to the last fit before the change
