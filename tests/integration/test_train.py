"""Training from prices to a bundle that serves: reproducible, interruptible, blind to what it must not see."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from models import data
from models.bundle import folder_of, read_bundle
from models.export import torch_quantiles, walk_of_prices
from models.fit import FitConfig, Progress, fit
from models.forecaster import Forecaster
from models.panel import Panel
from models.ragged import Ragged
from models.settings import ModelSettings
from models.train import TrainConfig, make_bundle, train
from models.windows import Windows

SPAN = (np.datetime64("2001-06-01"), np.datetime64("2002-01-01"))
TINY = FitConfig(steps=6, batch=4, window_days=120, validate_every=2, paths=64)


def panel_of(count: int = 3, days: int = 900) -> Panel:
    rng = np.random.default_rng(0)
    dates = np.tile(np.datetime64("2000-01-01") + np.arange(days), count)
    return Panel(
        [f"S{row}" for row in range(count)], Ragged.of([walk_of_prices(rng, days) for _ in range(count)]), dates
    )


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prices") / "closes.csv"
    with path.open("w") as opened:
        data.write_csv(panel_of(), opened)
    return path


def run(file: Path, store: Path, *more: str) -> Result:
    days = ["--train-end", "2001-06-01", "--validation-end", "2002-01-01"]
    short = ["--steps", "3"] if "mlp" in more else ["--steps", "3", "--window-days", "120"]
    return CliRunner().invoke(train, ["--data", str(file), "--store", str(store), *days, *short, *more])


def weights(prices: Panel, span: tuple[np.datetime64, np.datetime64] = SPAN) -> list[np.ndarray]:
    fitted = fit(TINY, prices, span, lambda _: None)
    return [each.detach().numpy() for each in fitted.network.parameters()]


def changed(prices: Panel, day: np.datetime64) -> Panel:
    """The same prices up to a day, others from it on."""
    values = prices.closes.values * np.where(prices.dates >= day, 1 + 0.5 * (np.arange(len(prices.dates)) % 2), 1)
    return Panel(prices.ids, Ragged(values, prices.closes.offsets), prices.dates)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["lstm", "rnn", "mlp"])
def test_the_same_seed_gives_the_same_bundle(network: str, file: Path, tmp_path: Path) -> None:
    for store in ("one", "two"):
        result = run(file, tmp_path / store, "--network", network)
        assert result.exit_code == 0, result.output
        assert "step 3/3" in result.stderr
        assert "series 3/3" in result.stderr
        assert result.stdout == f"{tmp_path / store / network / '1'}\n"

    names = ("model.onnx", "walk.onnx", "card.json", *(("explain.onnx",) if network != "mlp" else ()))
    assert {file.name for file in (tmp_path / "one" / network / "1").iterdir()} == set(names)
    for name in names:
        first, second = ((tmp_path / store / network / "1" / name).read_bytes() for store in ("one", "two"))
        assert first == second


@pytest.mark.drill
def test_the_default_training_gives_the_lstm_that_ships() -> None:
    card = read_bundle(folder_of(ModelSettings().store, "lstm")).card
    config = TrainConfig(fit=FitConfig.of("lstm"))
    prices = data.joined([data.load(source).panel for source in config.sources])
    span = (np.datetime64(config.split.train_end), np.datetime64(config.split.validation_end))

    fitted = fit(config.fit, prices, span, lambda _: None)

    assert data.content_hash(prices) == card.data["sha256"]
    # Another processor rounds otherwise, and training carries that on: equal to the byte on one machine, not on all.
    closes, lengths = Ragged.of(card.golden.closes).padded(np.arange(len(card.golden.closes)))
    np.testing.assert_allclose(torch_quantiles(fitted.network, closes, lengths), card.golden.quantiles, rtol=3e-3)
    assert fitted.validation == pytest.approx(card.training["validation_loss"], rel=1e-3)


@pytest.mark.slow
def test_a_new_training_is_the_next_version_and_serves(file: Path, tmp_path: Path) -> None:
    for seed in ("0", "1"):
        assert run(file, tmp_path, "--seed", seed, "--name", "mine").exit_code == 0

    first, second = (Forecaster.load(tmp_path / "mine" / version).card for version in ("1", "2"))

    assert (first.version, second.version) == (1, 2)
    assert first.sha256 != second.sha256
    assert first.data == second.data
    assert first.trained_days == 120
    closes = panel_of().closes[0]
    hidden = [Forecaster.load(tmp_path / "mine" / version).gates()(closes)["hidden"] for version in ("1", "2")]
    assert not np.array_equal(*hidden)


@pytest.mark.slow
def test_early_stopping_and_training_never_look_past_the_validation_days() -> None:
    prices = panel_of()

    assert all(map(np.array_equal, weights(prices), weights(changed(prices, SPAN[1]))))


@pytest.mark.slow
def test_gradients_never_look_past_the_training_days() -> None:
    prices, config = panel_of(), TINY

    windows, others = (Windows(given, SPAN[0], config) for given in (prices, changed(prices, SPAN[0])))

    for _ in range(2000):
        for drawn, other in zip(windows.draw(), others.draw(), strict=True):
            assert np.array_equal(drawn, other)


@pytest.mark.slow
def test_the_kept_weights_are_those_of_the_best_validation() -> None:
    reports: list[Progress] = []
    config = FitConfig(steps=12, batch=2, window_days=120, validate_every=1, patience=3, learning_rate=0.3, paths=64)

    fitted = fit(config, panel_of(), SPAN, reports.append)

    losses = [report.validation for report in reports]
    assert fitted.validation == min(losses) == losses[fitted.step - 1]
    assert len(reports) == 12 or len(reports) == fitted.step + 3


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--data", "nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["--window-days", "800"], "no series has 801 closes before 2001-06-01"),
        (["--train-end", "2005-01-01", "--validation-end", "2006-01-01"], "there is nothing to score"),
        (["--train-end", "1999-01-01"], "no series has 121 closes before 1999-01-01"),
        (["--train-end", "2002-01-01"], "training ends on 2002-01-01, validation on 2002-01-01"),
        (["--name", "../elsewhere"], "a name holds letters"),
        (["--network", "transformer"], "'lstm', 'rnn', 'mlp'"),
        (["--network", "mlp", "--window-days", "120"], "an MLP reads 60 closes"),
    ],
)
def test_what_cannot_be_trained_is_refused_with_the_reason(
    arguments: list[str], reason: str, file: Path, tmp_path: Path
) -> None:
    result = run(file, tmp_path / "store", *arguments)

    assert result.exit_code == 2
    assert reason in result.output
    assert not (tmp_path / "store").exists()


@pytest.mark.slow
def test_ctrl_c_stops_with_a_clean_word_and_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "models.train", "--store", str(tmp_path), "--steps", "100000"]
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "200"}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as training:
        assert training.stderr is not None
        shown, deadline = "", time.monotonic() + 60
        while "validation" not in shown and time.monotonic() < deadline:
            shown += training.stderr.read(1)
        training.send_signal(signal.SIGINT)
        shown += training.stderr.read()

    assert training.returncode == 130
    assert "Stopped. Nothing was written." in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_card_says_how_to_train_it_again(file: Path, tmp_path: Path) -> None:
    config = TrainConfig(fit=TINY, sources=(str(file),), markets=(), split=data.Split(*(day.item() for day in SPAN)))
    told: list[tuple[int, int]] = []

    card = read_bundle(make_bundle(config, tmp_path, "again", lambda _: None, lambda *of: told.append(of))).card

    assert told == [(1, 3), (2, 3), (3, 3)]
    assert {key: card.training[key] for key in ("steps", "batch", "learning_rate", "seed")} == {
        "steps": 6,
        "batch": 4,
        "learning_rate": 0.003,
        "seed": 0,
    }
    assert card.data["train"] == ["2000-01-01", "2001-05-31"]
    assert card.data["validation"] == ["2001-06-01", "2001-12-31"]
    assert card.data["test"] == ["2002-01-01", "2002-06-18"]
    assert card.data["sources"][0]["source"] == "closes.csv"
