"""The family is compared on the same days, from the closes that each may see, and adds up by hand."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from models import data
from models.baselines import GARCH
from models.errors import DataError
from models.evaluate import Assessed
from models.export import walk_of_prices
from models.family import (
    DEVELOPMENT,
    LENGTHS_DAYS,
    Family,
    FamilyConfig,
    chart,
    compare,
    difference,
    fit_config,
    forecasts,
    markdown,
    places_of,
)
from models.fit import FitConfig
from models.measures import LEVELS, measured, newey_west_t
from models.networks import HIDDEN, WINDOW_DAYS, build
from models.panel import Panel
from models.ragged import Ragged
from models.train import trained_parameters
from nextday import main

TINY = FamilyConfig(
    lengths_days=(5, 30),
    span=(np.datetime64("2013-03-01"), np.datetime64("2013-04-01")),
    changes={"steps": 6, "batch": 4, "simulated": 0.0, "portfolios": 0.0, "validate_every": 3},
)


def market_of(count: int, days: int = 500) -> Panel:
    rng = np.random.default_rng(0)
    rows = [walk_of_prices(rng, days).astype(np.float64) for _ in range(count)]
    dates = np.tile(np.datetime64("2012-01-01") + np.arange(days), count)
    return Panel([f"S{row}" for row in range(count)], Ragged.of(rows), dates)


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[Family, Family]:
    prices, market = data.load("bokeh").panel, market_of(2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXTDAY_CACHE", str(tmp_path_factory.mktemp("cache")))
        return compare(TINY, prices, market), compare(TINY, prices, market)


def test_there_is_a_number_for_each_network_and_length_and_difference(twice: tuple[Family, Family]) -> None:
    family = twice[0]

    assert [(cell.network, cell.days) for cell in family.cells] == [
        ("lstm", 5), ("lstm", 30), ("rnn", 5), ("rnn", 30), ("mlp", 5), ("mlp", 30),
    ]  # fmt: skip
    assert len(family.differences) == 3 * 2
    assert [(each.network, each.window_days) for each in family.trained] == [
        ("lstm", None), ("rnn", None), ("mlp", 5), ("mlp", 30),
    ]  # fmt: skip
    assert (family.forecasts, family.series) == (2 * 31, 2)
    assert all(np.isfinite([cell.pinball_bp, cell.vs_garch_percent, cell.t_vs_garch]).all() for cell in family.cells)
    assert {len(line.split("|")) for line in markdown(family).splitlines() if line} == {5}


def test_the_same_seed_gives_the_same_numbers(twice: tuple[Family, Family]) -> None:
    assert twice[0] == twice[1]


def test_another_seed_gives_others(twice: tuple[Family, Family], tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("NEXTDAY_CACHE", str(tmp_path))

    other = compare(dataclasses.replace(TINY, seed=1), data.load("bokeh").panel, market_of(2))

    assert other.garch_pinball_bp == twice[0].garch_pinball_bp
    assert all(one.pinball_bp != two.pinball_bp for one, two in zip(other.cells, twice[0].cells, strict=True))


def test_parameters_grow_with_the_window_of_an_mlp_and_with_no_history_of_a_recurrent_network(
    twice: tuple[Family, Family],
) -> None:
    size = {(cell.network, cell.days): cell.parameters for cell in twice[0].cells}

    assert size["lstm", 5] == size["lstm", 30]
    assert size["rnn", 5] == size["rnn", 30]
    assert size["mlp", 30] - size["mlp", 5] == (30 - 5) * HIDDEN
    assert trained_parameters(build("mlp")) == trained_parameters(build("mlp", WINDOW_DAYS))


def test_differences_equal_hand_computation() -> None:
    days = np.datetime64("2013-01-01") + np.arange(4)
    by_series = [
        # days, the LSTM's, the RNN's and GARCH's losses
        (days[:3], [1.0, 2, 3], [2.0, 2, 2], [2.0, 2, 2]),
        (days[1:], [4.0, 4, 5], [6.0, 5, 5], [3.0, 4, 5]),
    ]
    assessed = [
        Assessed(str(row), when, {"lstm, 5 closes": loss(one), "rnn, 5 closes": loss(two), GARCH: loss(garch)})
        for row, (when, one, two, garch) in enumerate(by_series)
    ]

    made = difference(assessed, "lstm", "rnn", 5)

    # Relative to GARCH's mean, 2 and 4: -.5 0 .5 on the first three days, -.5 -.25 0 on the last three.
    daily = np.array([-0.5, (0 - 0.5) / 2, (0.5 - 0.25) / 2, 0])
    assert made.percent == pytest.approx(100 * daily.mean(), abs=1e-4)
    assert made.t == pytest.approx(newey_west_t(daily), abs=0.01)
    assert made.percent < 0


def loss(losses: list[float]):
    """Measures of a forecaster with those losses a day."""
    blank = measured(np.zeros((len(losses), len(LEVELS))), np.ones(len(losses)))
    return dataclasses.replace(blank, losses=np.array(losses))


@pytest.mark.parametrize(("network", "days"), [("lstm", 20), ("rnn", 20), ("mlp", 20)])
def test_a_forecast_is_the_networks_answer_to_the_last_closes_alone(network, days: int) -> None:
    made, closes, places = fresh(network, days), market_of(1).closes[0], np.array([40, 41, 300])

    answered = forecasts(made, closes, places, days)

    for place, row in zip(places, answered, strict=True):
        seen = torch.from_numpy(closes[place - days : place].astype(np.float32))[None]
        with torch.no_grad():
            alone = made(seen, torch.tensor([days]))[0].numpy() / closes[place - 1]
        assert np.allclose(np.exp(row), alone, rtol=1e-6)


@pytest.mark.parametrize("network", ["lstm", "rnn", "mlp"])
def test_neither_earlier_closes_nor_the_future_move_a_forecast(network) -> None:
    made, closes, place = fresh(network, 20), market_of(1).closes[0], 100
    changed, seen = closes.copy(), closes.copy()
    changed[: place - 20] *= 3
    changed[place:] *= 7
    seen[place - 20] *= 1.1

    before, after, other = (forecasts(made, each, np.array([place]), 20) for each in (closes, changed, seen))

    assert np.array_equal(before, after)
    assert not np.array_equal(before, other)


def fresh(network, days: int):
    torch.manual_seed(0)
    made = build(network, days).eval()
    torch.nn.init.normal_(made.head.linear.weight, std=0.3)
    return made


def test_an_mlp_refuses_fewer_closes_than_it_was_built_for() -> None:
    closes, places = market_of(1).closes[0], np.array([100])

    with pytest.raises(DataError, match="got 19 closes; this network needs at least 20"):
        forecasts(build("mlp", 20), closes, places, 19)
    assert np.isfinite(forecasts(build("lstm"), closes, places, 2)).all()


def test_windows_read_in_blocks_are_the_windows_read_at_once() -> None:
    mlp, closes = build("mlp", 200), torch.from_numpy(np.stack(list(market_of(3, 600).closes)).astype(np.float32))

    inputs, usual = mlp.seen(closes)  # 1,203 windows of 200 closes: more than one block

    for day in (0, 217, 400):
        alone = mlp.seen(closes[:, day : day + 200])
        assert torch.allclose(inputs[day], alone[0][0], atol=1e-5)
        assert torch.allclose(usual[day], alone[1][0])


def test_an_mlp_is_trained_for_its_window_and_otherwise_as_the_one_that_ships() -> None:
    config = FamilyConfig(seed=3)

    assert fit_config(config, "mlp", 250) == dataclasses.replace(FitConfig.of("mlp", seed=3), window_days=250)
    assert fit_config(config, "mlp", WINDOW_DAYS) == FitConfig.of("mlp", seed=3)
    assert fit_config(config, "lstm", 250) == FitConfig.of("lstm", seed=3)


def test_every_length_is_measured_on_the_days_that_have_the_longest_history() -> None:
    market = market_of(1)
    (places,) = places_of(dataclasses.replace(TINY, lengths_days=(5, 440)), market)

    assert places.tolist() == list(range(440, 456))  # of the days of March, 425 to 455


def test_a_span_without_a_long_enough_history_is_an_error_before_any_training() -> None:
    with pytest.raises(DataError, match=r"nothing to compare: .* with 1000 closes before it"):
        compare(dataclasses.replace(TINY, lengths_days=LENGTHS_DAYS), data.load("bokeh").panel, market_of(1))


def test_the_command_measures_the_development_days_unless_told_otherwise() -> None:
    defaults = {option.name: option.default for option in main.commands["family"].params}

    assert (defaults["first"], defaults["stop"]) == tuple(map(str, DEVELOPMENT))
    assert np.datetime64(data.VALIDATION_END) == DEVELOPMENT[1]


def test_the_page_of_charts_needs_no_network_and_has_every_member(twice: tuple[Family, Family], tmp_path: Path) -> None:
    page = chart(twice[0], tmp_path / "new").read_text()

    assert "<script src=" not in page
    assert all(f'"name":"{name}"' in page for name in ("LSTM", "RNN", "MLP", "LSTM less RNN", "RNN less MLP"))


def test_without_the_extra_the_family_names_it() -> None:
    code = "import sys; sys.modules['torch'] = None; import nextday; nextday.main(['family'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "pip install -e '.[train]'" in done.stderr
