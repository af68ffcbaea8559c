"""The networks and their features: causal, scale-free, and never crossing."""

from typing import get_args

import numpy as np
import pytest
import torch

from models.bundle import Network
from models.export import walk_of_prices
from models.features import FEATURES, Front, symmetric_returns
from models.measures import LEVELS
from models.networks import WINDOW_DAYS, Forecasting, Head, build, next_closes
from models.windows import SMALLEST_MOVE

NETWORKS = get_args(Network)
DAYS = 90


@pytest.fixture(params=NETWORKS)
def network(request: pytest.FixtureRequest) -> Forecasting:
    torch.manual_seed(0)
    made = build(request.param).eval()
    torch.nn.init.normal_(made.head.linear.weight, std=0.3)
    return made


@pytest.fixture
def closes() -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(np.stack([walk_of_prices(rng, DAYS) for _ in range(4)]))


def forecasts(network: Forecasting, closes: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return network.quantiles(*network.seen(closes))


def answer(network: Forecasting, closes: torch.Tensor, days: int) -> torch.Tensor:
    with torch.no_grad():
        return network(closes, torch.full((len(closes),), days))


@pytest.mark.parametrize("changed_from", [WINDOW_DAYS, 75, DAYS - 1])
def test_a_perturbed_future_moves_no_past_forecast(
    network: Forecasting, closes: torch.Tensor, changed_from: int
) -> None:
    changed = closes.clone()
    changed[:, changed_from:] *= 3

    before, after = forecasts(network, closes), forecasts(network, changed)

    past = len(before) - (DAYS - changed_from)
    assert torch.equal(before[:past], after[:past])
    assert not torch.equal(before[past:], after[past:])


def test_no_feature_and_no_scale_sees_the_future(closes: torch.Tensor) -> None:
    changed = closes.clone()
    changed[:, 50:] /= 7

    for before, after in zip(Front()(closes)[:2], Front()(changed)[:2], strict=True):
        assert torch.equal(before[:49], after[:49])
        assert not torch.equal(before[49:], after[49:])


def test_one_pass_over_a_series_gives_what_each_day_alone_gives(network: Forecasting, closes: torch.Tensor) -> None:
    steps = forecasts(network, closes)
    first = DAYS - len(steps) + 1

    for days in range(first, DAYS + 1, 7):
        alone = answer(network, closes, days)

        assert torch.allclose(next_closes(closes[:, days - 1 : days], steps[days - first]), alone, rtol=1e-6)


def test_padding_of_any_kind_moves_nothing(network: Forecasting, closes: torch.Tensor) -> None:
    wanted = answer(network, closes[:, :70], 70)

    for padding in (0.0, -1.0, float("nan"), float("inf")):
        padded = torch.cat([closes[:, :70], torch.full((4, 9), padding)], 1)
        assert torch.equal(answer(network, padded, 70), wanted)


@pytest.mark.parametrize("factor", [1e-20, 0.37, 1000, 1e20])
def test_closes_times_a_constant_give_quantiles_times_that_constant(
    network: Forecasting, closes: torch.Tensor, factor: float
) -> None:
    wanted = answer(network, closes, DAYS)

    scaled = answer(network, closes * factor, DAYS)

    assert torch.allclose(scaled / factor, wanted, rtol=2e-5)


def test_quantiles_never_cross_whatever_the_weights() -> None:
    torch.manual_seed(0)
    head = Head(5)

    for size in (0.1, 1, 10, 1000):
        torch.nn.init.normal_(head.linear.weight, std=size)
        quantiles = head(torch.randn(1000, 5) * 4)

        assert (quantiles.diff(dim=1) >= 0).all()
        assert quantiles.isfinite().all()


def test_a_series_that_never_moves_has_a_narrow_band_around_its_close(network: Forecasting) -> None:
    quantiles = answer(network, torch.full((1, DAYS), 12.5), DAYS)

    assert (quantiles.diff(dim=1) >= 0).all()
    assert torch.allclose(quantiles, torch.tensor(12.5), rtol=0.02)


@pytest.mark.parametrize("jump", [1e-30, 0.25, 4, 1e30])
def test_a_jump_of_any_size_leaves_the_forecast_finite(network: Forecasting, closes: torch.Tensor, jump: float) -> None:
    closes = closes / closes[:, :1]
    closes[:, 60:] *= jump

    quantiles = answer(network, closes, DAYS)

    assert quantiles.isfinite().all()
    assert (quantiles > 0).all()
    assert (quantiles.diff(dim=1) >= 0).all()


def test_yesterday_and_today_give_tomorrow() -> None:
    torch.manual_seed(0)

    quantiles = answer(build("lstm"), torch.tensor([[100.0, 101.0]]), 2)

    assert quantiles.shape == (1, len(LEVELS))
    assert quantiles[0, 0] < 101 < quantiles[0, -1]


def test_the_mlp_reads_its_window_and_nothing_before(closes: torch.Tensor) -> None:
    mlp = build("mlp")
    changed = closes.clone()
    changed[:, : DAYS - WINDOW_DAYS] *= 5

    assert torch.equal(answer(mlp, closes, DAYS), answer(mlp, changed, DAYS))


def test_features_are_bounded_and_a_usual_day_has_a_floor(closes: torch.Tensor) -> None:
    wild = torch.cat([closes, closes * torch.rand_like(closes) ** 20, torch.ones(1, DAYS)])

    features, usual, _ = Front()(wild)

    assert features.shape == (DAYS - 1, len(wild), FEATURES)
    assert features.abs().max() <= 4
    assert usual.min() >= SMALLEST_MOVE


def test_symmetric_returns_invert_to_the_next_close() -> None:
    closes = torch.tensor([[100.0, 150.0, 149.0, 7.0]])
    returns = symmetric_returns(closes.t()).t()

    assert torch.allclose(next_closes(closes[:, :-1].t(), returns.t()).t(), closes[:, 1:])
