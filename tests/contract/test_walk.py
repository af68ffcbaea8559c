"""A bundle's every-day graph against the graph that serves, and its state against its whole history."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from models.bundle import versions
from models.errors import BundleError
from models.forecaster import Forecaster
from models.measures import LEVELS
from models.ragged import Doubles, Ragged
from models.settings import ModelSettings
from models.walk import Walk

STORE = ModelSettings().store
BUNDLES = {name: STORE / name / str(versions(STORE / name)[-1]) for name in ("lstm", "rnn", "mlp")}
TOLERANCE = 2e-6
"""The plain RNN operator of onnxruntime rounds otherwise for other shapes; the LSTM's does not."""


def prices(rows: int, days: int) -> Doubles:
    rng = np.random.default_rng(5)
    return 50 * np.exp(np.cumsum(rng.standard_t(4, (rows, days)) * 0.01, axis=1))


@pytest.fixture(params=BUNDLES)
def path(request: pytest.FixtureRequest) -> Path:
    return BUNDLES[request.param]


@pytest.fixture
def walk(path: Path) -> Walk:
    return Walk.open(path)


def test_each_day_is_forecast_as_the_service_forecasts_it_from_the_closes_up_to_that_day(
    path: Path, walk: Walk
) -> None:
    closes = prices(1, 200)[0]
    days = list(range(walk.min_days, 201, 13))
    served = Forecaster.load(path).predict(Ragged.of([closes[:day] for day in days]))

    walked = walk.quantiles(closes)

    assert walked.shape == (199, len(LEVELS))
    expected = np.log(served / closes[np.array(days) - 1][:, None])
    np.testing.assert_allclose(walked[np.array(days) - 2], expected, atol=TOLERANCE)
    assert np.isnan(walked[: walk.min_days - 2]).all()
    assert np.isfinite(walked[walk.min_days - 2 :]).all()


def test_a_changed_future_changes_no_past_forecast(walk: Walk) -> None:
    closes = prices(1, 300)[0]
    changed = closes.copy()
    changed[150:] *= np.linspace(1.5, 3, 150)

    before, after = walk.quantiles(closes), walk.quantiles(changed)

    np.testing.assert_array_equal(before[:149], after[:149])
    assert not np.allclose(before[149:], after[149:], equal_nan=True)


def test_a_run_that_goes_on_from_a_state_is_the_run_over_the_whole_history(walk: Walk) -> None:
    closes = prices(3, 260)
    whole = walk.ratios(closes)

    first, state = walk.resumed(closes[:, :200], None)
    parts = [first]
    for day in range(200, 260):
        step, state = walk.resumed(closes[:, day - 1 : day + 1], state)
        parts.append(step)

    np.testing.assert_allclose(np.concatenate(parts, axis=1), whole, rtol=TOLERANCE)


def test_the_state_is_small_whatever_the_length_of_the_history(walk: Walk) -> None:
    states = [walk.resumed(prices(2, days), None)[1] for days in (70, 3000)]

    assert states[0].shape == states[1].shape
    assert states[0].shape[1] < 200


def test_a_forecast_of_the_last_days_sees_nothing_before_them(walk: Walk) -> None:
    closes = prices(1, 300)[0]
    changed = closes.copy()
    changed[:200] = np.linspace(20, closes[200], 200)
    rule = walk.of_last(100)

    np.testing.assert_array_equal(rule(closes)[298], rule(changed)[298])
    np.testing.assert_allclose(rule(closes)[298], walk.quantiles(closes[200:])[-1], atol=TOLERANCE)
    assert np.isnan(rule(closes)[:98]).all()


def test_a_spoilt_walk_is_refused_with_its_reason(tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(BUNDLES["lstm"], tmp_path / "lstm"))
    graph = bytearray((spoilt / "walk.onnx").read_bytes())
    graph[len(graph) // 2] ^= 1
    (spoilt / "walk.onnx").write_bytes(graph)

    with pytest.raises(BundleError, match=r"walk.onnx has sha256 .*, its card says"):
        Walk.open(spoilt)


def test_a_bundle_without_its_walk_is_refused(tmp_path: Path) -> None:
    spoilt = Path(shutil.copytree(BUNDLES["lstm"], tmp_path / "lstm"))
    (spoilt / "walk.onnx").unlink()

    with pytest.raises(BundleError, match=r"walk\.onnx"):
        Walk.open(spoilt)
