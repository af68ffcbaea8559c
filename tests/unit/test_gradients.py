"""Gradients over time: equal to what a hand computes, causal, seeded, and bounded where they are clipped."""

import dataclasses
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from models.exploding import (
    Bend,
    Clipped,
    PlainConfig,
    clip_gradients,
    clipped,
    exploding,
    finite,
    one_unit,
    plain_weights,
    safe_norm,
    unrolled,
)
from models.gradient_charts import page
from models.gradients import (
    LONGEST_LAG,
    GradientConfig,
    Gradients,
    carry,
    charts,
    closes,
    fresh_profiles,
    lag_norms,
    markdown,
    measure,
    trained_profiles,
)
from models.memory import HELD, MemoryConfig, learn, open_for_days, open_forget_gates, remembered, sequences
from models.networks import Recurrent, build
from nextday import main

TINY_PLAIN = PlainConfig(weights=(0.5, 1.1), lags=(1, 10), scales=(1.0, 2.0), lengths=(5, 20), steps=3, length=10)
TINY_MEMORY = MemoryConfig(runs=2, lags_days=(2,), hidden=4, steps=2, batch=4, tested=20)
TINY = GradientConfig(layers=("rnn",), paths=3, fit_steps=1, fit_paths=64, plain=TINY_PLAIN, memory=TINY_MEMORY)


@pytest.fixture(scope="module")
def measured() -> Gradients:
    return measure(TINY)


def with_a_head(layer: str) -> Recurrent:
    torch.manual_seed(0)
    network = build(layer)
    torch.nn.init.normal_(network.head.linear.weight, std=0.3)
    return network


@pytest.mark.parametrize("weight", [0.5, 0.9, 1.0, 1.1])
@pytest.mark.parametrize("lag", [1, 10, 50, 100, 500])
def test_backpropagation_through_one_unit_gives_the_weight_to_the_power_of_the_steps(weight: float, lag: int) -> None:
    row = one_unit(weight, lag)

    assert row.closed_form == weight**lag
    assert row.autograd == pytest.approx(weight**lag, rel=1e-12)


def test_a_layer_unrolled_by_hand_is_torchs_own_rnn() -> None:
    torch.manual_seed(0)
    layer = torch.nn.RNN(3, 5, bias=False)
    inputs = torch.randn(7, 2, 3)

    states = unrolled(layer.weight_hh_l0, inputs @ layer.weight_ih_l0.t(), "tanh")

    assert torch.allclose(states, layer(inputs)[0], atol=1e-6)


def test_norms_over_lags_are_those_of_products_of_the_recurrent_matrix() -> None:
    torch.manual_seed(0)
    weights = torch.randn(4, 4, dtype=torch.double) / 3
    inputs = torch.randn(9, 2, 4, dtype=torch.double, requires_grad=True)

    norms = lag_norms(unrolled(weights, inputs, "linear")[-1].sum(1), inputs, 8)

    wanted = [torch.linalg.vector_norm(torch.linalg.matrix_power(weights.t(), lag).sum(1)).item() for lag in range(9)]
    assert norms == pytest.approx(wanted)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_a_norm_holds_where_its_squares_would_vanish_or_overflow(size: float) -> None:
    values = size * torch.tensor([[3.0, 4.0], [0.0, 0.0]], dtype=torch.double)

    assert float(safe_norm(values)) == pytest.approx(5 * size)
    assert safe_norm(values, 1).tolist() == pytest.approx([5 * size, 0])


@pytest.mark.parametrize("layer", ["rnn", "lstm"])
def test_the_gradient_of_a_state_by_inputs_that_come_later_is_zero(layer: str) -> None:
    network = with_a_head(layer).double()
    features = network.seen(closes(TINY))[0][:60].detach().requires_grad_()

    states, _ = network.layer(features)
    (gradient,) = torch.autograd.grad(states[39].sum(), features)

    assert gradient[40:].abs().max() == 0
    assert gradient[39].abs().min() > 0
    assert gradient[20:40].abs().sum(2).min() > 0


@pytest.mark.parametrize(("layer", "starts"), [("rnn", 2), ("lstm", 4)])
def test_profiles_are_of_each_start_and_of_each_output_at_every_lag(layer: str, starts: int) -> None:
    given = closes(TINY)

    fresh, trained = fresh_profiles(TINY, layer, given), trained_profiles(layer, with_a_head(layer), given)

    assert len({row.weights for row in fresh}) == starts
    assert [row.output for row in trained] == ["hidden state", "median", "90 % band"]
    for row in [*fresh, *trained]:
        assert len(row.norms) == LONGEST_LAG + 1
        assert all(norm > 0 for norm in row.norms)


def test_fresh_gradients_vanish_fastest_in_an_rnn_and_slowest_where_gates_are_open() -> None:
    given = closes(TINY)

    factors = {row.weights: row.factor_a_day for row in fresh_profiles(TINY, "lstm", given)}
    (rnn, _) = (row.factor_a_day for row in fresh_profiles(TINY, "rnn", given))

    assert rnn < factors["fresh"] < 0.7 < factors["fresh, forget bias 1"] < 0.9
    assert 0.95 < min(factors["fresh, forget bias 3"], factors["fresh, chrono"]) < 1


def test_the_derivative_of_a_band_by_a_return_is_what_moving_that_return_gives() -> None:
    network, given = with_a_head("lstm").double(), closes(dataclasses.replace(TINY, paths=1))
    lag, moved_by = 20, 1e-6

    def width(path: torch.Tensor) -> float:
        with torch.no_grad():
            quantiles = network.quantiles(*network.seen(path))[-1, 0]
        return float(quantiles[7] - quantiles[1])

    moved = given.clone()
    moved[:, -1 - lag :] *= math.exp(moved_by)  # a larger return on that day lifts each close from there on

    slope = (width(moved) - width(given)) / moved_by
    carried = carry("lstm", network, given)

    assert carried.whole[lag] == pytest.approx(abs(slope), rel=1e-3)
    assert carried.by_features[lag] != pytest.approx(abs(slope), rel=1e-3)


def test_scaled_up_weights_explode_in_a_linear_layer_and_not_where_the_radius_is_below_one() -> None:
    config = PlainConfig(scales=(1.0, 3.0), lengths=(10, 100))

    norms = {(row.bend, row.input_size, row.scale, row.length): row.norm for row in exploding(config)}
    radii = {row.scale: row.spectral_radius for row in exploding(config)}

    assert radii[1.0] < 1 < radii[3.0]
    assert radii[3.0] == pytest.approx(3 * radii[1.0])
    assert norms["linear", 1e-3, 3.0, 100] > 1e20 * norms["linear", 1e-3, 3.0, 10]
    assert norms["linear", 1e-3, 1.0, 100] < 20 * norms["linear", 1e-3, 1.0, 10]
    assert norms["tanh", 1.0, 3.0, 100] < 1e-6 * norms["linear", 1e-3, 3.0, 100]  # a tanh that is full lets little pass


def test_without_clipping_the_loss_is_lost_and_with_it_the_layer_learns() -> None:
    config = PlainConfig(steps=60)

    wild, tame = (clipped(config, "linear", 2.0, clip) for clip in (None, 1.0))

    assert wild.losses[-1] is None
    assert wild.largest_move is None or wild.largest_move > 1e6
    assert len(tame.losses) == 60
    assert tame.losses[-1] is not None
    assert tame.losses[-1] < 0.1 < tame.losses[0]


@pytest.mark.parametrize(("bend", "scale"), [("linear", 2.0), ("tanh", 3.0)])
def test_clipping_bounds_each_step_of_the_weights(bend: Bend, scale: float) -> None:
    row = clipped(PlainConfig(steps=5), bend, scale, 0.5)

    assert max(row.norms) > 0.5
    assert row.largest_move == pytest.approx(0.5, rel=1e-3)


def test_clipping_shortens_a_gradient_and_does_not_turn_it() -> None:
    weights = torch.zeros(2, requires_grad=True)
    weights.grad = torch.tensor([30.0, -40.0])

    before = clip_gradients([weights], 1.0)

    assert before == pytest.approx(50)
    assert weights.grad.tolist() == pytest.approx([0.6, -0.8], rel=1e-5)
    assert clip_gradients([weights], None) == pytest.approx(1, rel=1e-5)
    assert weights.grad.tolist() == pytest.approx([0.6, -0.8], rel=1e-5)


def test_a_forget_bias_opens_the_gates_that_forget_and_no_others() -> None:
    torch.manual_seed(0)
    layer = torch.nn.LSTM(2, 4)
    before = layer.bias_ih_l0.detach() + layer.bias_hh_l0.detach()

    open_forget_gates(layer, 1.0)

    after = layer.bias_ih_l0.detach() + layer.bias_hh_l0.detach()
    assert after[4:8].tolist() == [1.0] * 4
    assert torch.equal(after[:4], before[:4])
    assert torch.equal(after[8:], before[8:])


def test_chrono_gates_keep_for_one_day_to_the_longest() -> None:
    torch.manual_seed(0)
    layer = torch.nn.LSTM(2, 1000)

    open_for_days(layer, 101)

    days = layer.bias_ih_l0.detach()[1000:2000].exp()
    assert 1 <= days.min() < 2
    assert 99 < days.max() <= 100.001
    assert torch.equal(layer.bias_ih_l0[:1000], -layer.bias_ih_l0[1000:2000])


def test_a_sequence_begins_with_its_symbol_and_then_says_nothing_of_it() -> None:
    given, symbols = sequences(torch.Generator().manual_seed(0), 3, 2000)

    assert given.shape == (4, 2000, 2)
    assert torch.equal(given[0, :, 0] > 0, symbols > 0)
    assert given[0, :, 0].abs().tolist() == [1] * 2000
    assert (given[0, :, 1].min(), given[1:, :, 1].max()) == (1, 0)
    assert 0.45 < symbols.mean() < 0.55
    assert torch.corrcoef(torch.cat([symbols[None], given[1:, :, 0]]))[0, 1:].abs().max() < 0.1


def test_an_lstm_learns_to_remember_for_five_days() -> None:
    config = MemoryConfig(steps=200)

    assert learn(config, "lstm", 5, seed=0) >= HELD


@pytest.mark.slow
def test_after_the_same_steps_open_gates_hold_what_an_rnn_has_forgotten() -> None:
    config = MemoryConfig(lags_days=(100,), runs=1)

    accuracies = {row.start: row.accuracies[0] for row in remembered(config)}

    assert accuracies["lstm, chrono"] >= HELD
    assert accuracies["rnn"] < 0.6


@pytest.mark.slow
def test_the_same_seed_gives_the_same_numbers_and_another_gives_others(measured: Gradients) -> None:
    again = measure(TINY)
    other = fresh_profiles(dataclasses.replace(TINY, seed=1), "rnn", closes(TINY))

    assert again == measured
    assert [row.norms for row in other] != [row.norms for row in measured.profiles[:2]]
    assert not torch.equal(plain_weights(PlainConfig(seed=1), 2, 1)[1], plain_weights(PlainConfig(seed=0), 2, 1)[1])


def test_all_that_is_measured_is_json_and_stands_in_the_tables_and_charts(measured: Gradients, tmp_path: Path) -> None:
    record = json.loads(json.dumps(dataclasses.asdict(measured), allow_nan=False))

    text, file = markdown(measured), charts(measured, tmp_path / "plots")

    assert len(record["profiles"][0]["norms"]) == LONGEST_LAG + 1
    assert [row["weights"] for row in record["training"]] == ["fresh", "trained"]
    assert text.count("## ") == 7
    assert "| 0.5 | 0.5 | 9.77e-04 |" in text
    assert file.read_text().count("Plotly.newPlot(") == 6
    assert "<script src=" not in file.read_text()


def test_without_networks_there_are_no_tables_of_them() -> None:
    config = GradientConfig.of(3, quick=True, network_free=True)

    text = markdown(measure(dataclasses.replace(config, plain=TINY_PLAIN, memory=TINY_MEMORY)))

    assert (config.layers, config.seed, config.plain.seed, config.memory.seed) == ((), 3, 3, 3)
    assert text.count("## ") == 4
    assert "the features k days before" not in text


def test_a_chart_has_a_gap_where_a_loss_is_no_number() -> None:
    row = Clipped("linear", 3.0, None, (finite(1.5), finite(math.nan)), (None, finite(math.inf)), None)
    empty = dict.fromkeys(("one_unit", "profiles", "carried", "exploding", "memory"), ())

    assert row.losses == (1.5, None)
    assert "NaN" not in page({**empty, "clipped": [dataclasses.asdict(row)]}).rsplit("Plotly.newPlot(", 1)[1]


def test_the_help_names_the_options_and_a_wrong_seed_is_refused() -> None:
    helped, refused = (CliRunner().invoke(main, ["gradients", *each]) for each in (["--help"], ["--seed", "-1"]))

    assert helped.exit_code == 0
    assert all(option in helped.output for option in ("--seed", "--quick", "--network-free", "--json", "--plots"))
    assert refused.exit_code == 2


def test_without_the_extra_gradients_name_it() -> None:
    code = "import sys; sys.modules['torch'] = None; import nextday; nextday.main(['gradients'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "pip install -e '.[train]'" in done.stderr
