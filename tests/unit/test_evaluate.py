"""Scores that a reader can check by hand, and baselines that see no future."""

from pathlib import Path

import numpy as np
import pytest
import torch

from models.baselines import BASELINES, HISTORY_DAYS, ewma_normal, random_walk
from models.evaluate import forecast_days, model_quantiles, pinball_loss, scores, scores_table
from models.export import torch_quantiles, walk
from models.networks import LEVELS, build
from models.panel import Panel
from models.ragged import Ragged
from models.repository import Repository

SPAN = (np.datetime64("2001-01-01"), np.datetime64("2001-02-01"))
STORE = Path(__file__).parents[2] / "models" / "store"


def panel_of(count: int, days: int = 500) -> Panel:
    rng = np.random.default_rng(0)
    rows = [walk(rng, days) for _ in range(count)]
    dates = np.tile(np.datetime64("2000-01-01") + np.arange(days), count)
    return Panel([f"S{row}" for row in range(count)], Ragged.of(rows), dates)


def test_pinball_loss_equals_a_hand_worked_example() -> None:
    quantiles, realised = np.array([[-2.0, 0.0, 1.0], [-1.0, 0.0, 3.0]]), np.array([2.0, -1.5])

    losses = pinball_loss(quantiles, realised, [0.1, 0.5, 0.9])

    # Above a quantile by d: level * d. Below it by d: (1 - level) * d.
    assert np.allclose(losses, [[0.1 * 4, 0.5 * 2, 0.9 * 1], [0.9 * 0.5, 0.5 * 1.5, 0.1 * 4.5]])


def test_scores_equal_a_hand_worked_example() -> None:
    returns = np.tile([0.01, -0.01], 300)
    closes = 100 * np.exp(np.concatenate([[0], np.cumsum(returns)]))
    dates = np.datetime64("2000-01-01") + np.arange(len(closes))
    still = build("lstm")  # a fresh head answers Student's t around the last close

    scored = scores("model", still, Panel(["A"], Ragged.of([closes]), dates), SPAN)

    walk_scores = scored["random walk, 250 days of history"]
    # 250 returns of which half are +1 % and half -1 %: the quantiles are -1 % up to .25 and +1 % from .75 on.
    wings = sum(min(level, 1 - level) * 200 for level in LEVELS if level != 0.5)
    assert walk_scores["pinball_bp"] == pytest.approx((wings / 2 + 50) / 9, abs=1e-3)
    assert walk_scores["coverage_80"] == 100
    assert walk_scores["mae_bp"] == pytest.approx(100)
    assert walk_scores["forecasts"] == 31
    assert walk_scores["pinball_vs_random_walk_percent"] == 0
    assert set(scored) == {"model", *BASELINES}


def test_a_day_is_scored_by_the_forecast_of_the_day_before_it() -> None:
    closes, jump_day = np.full(400, 100.0), 366
    closes[jump_day:] *= np.exp(0.1)
    dates = np.datetime64("2000-01-01") + np.arange(400)
    span = (dates[jump_day], dates[jump_day + 1])

    scored = scores("model", build("lstm"), Panel(["A"], Ragged.of([closes]), dates), span)["EWMA .94, normal"]

    # Nothing moved before the jump, so every quantile was the last close, and each is missed by 10 %.
    assert scored["coverage_98"] == 0
    assert scored["pinball_bp"] == pytest.approx(0.1 * np.mean(LEVELS) * 1e4)
    assert scored["forecasts"] == 1


def test_the_relative_score_is_a_geometric_mean_over_series() -> None:
    given = panel_of(2)
    both = scores("model", build("lstm"), given, SPAN)["model"]["pinball_vs_random_walk_percent"]

    alone = []
    for row in range(2):
        one = Panel(["A"], Ragged.of([given.closes[row]]), given.dates_of(row))
        alone.append(scores("model", build("lstm"), one, SPAN)["model"]["pinball_vs_random_walk_percent"])

    assert 1 + both / 100 == pytest.approx(np.sqrt((1 + alone[0] / 100) * (1 + alone[1] / 100)), abs=1e-5)


@pytest.mark.parametrize("rule", BASELINES.values(), ids=BASELINES)
def test_a_perturbed_future_moves_no_baseline(rule) -> None:
    returns = np.random.default_rng(0).normal(0, 0.01, 400)
    changed = returns.copy()
    changed[300:] *= -5

    before, after = rule(returns, LEVELS), rule(changed, LEVELS)

    assert np.array_equal(before[:300], after[:300], equal_nan=True)
    assert not np.array_equal(before[300:], after[300:])


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


@pytest.mark.parametrize("name", ["lstm", "rnn", "mlp"])
def test_one_pass_equals_a_call_of_the_shipped_graph_for_each_day(name: str) -> None:
    forecaster = Repository(STORE).get(name)
    network = build(name)
    closes = walk(np.random.default_rng(3), 120).astype(np.float64)
    days = range(forecaster.card.min_days, 121, 7)

    whole = [torch_quantiles(network, *Ragged.of([closes[:day]]).padded(np.array([0])))[0] for day in days]
    passed = np.exp(model_quantiles(network, closes))

    for day, quantiles in zip(days, whole, strict=True):
        assert np.allclose(closes[day - 1] * passed[day - 2], quantiles, rtol=1e-5)
    assert np.isnan(passed[: forecaster.card.min_days - 2]).all()


def test_the_table_of_scores_has_a_row_for_each_model_and_each_baseline_once() -> None:
    repository = Repository(STORE)

    table = scores_table(repository.card(name) for name in repository.names())

    rows = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert sorted(rows) == sorted({*repository.names(), *BASELINES})
    assert torch.is_grad_enabled()
