"""`nextday forecast`: from a file to a table, the same numbers as the service's."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from models import data
from models.export import walk_of_prices
from models.panel import Panel
from models.ragged import Ragged
from models.repository import Repository
from nextday import main


@pytest.fixture
def prices() -> Panel:
    rng = np.random.default_rng(0)
    rows = [np.round(walk_of_prices(rng, days), 4).astype(float) for days in (300, 70)]
    dates = np.concatenate([np.datetime64("2020-01-01") + np.arange(len(row)) for row in rows])
    return Panel(["A", "a longer name"], Ragged.of(rows), dates)


@pytest.fixture
def file(prices: Panel, tmp_path: Path) -> Path:
    path = tmp_path / "closes.csv"
    with path.open("w") as opened:
        data.write_csv(prices, opened)
    return path


def forecast(file: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["forecast", str(file), *more])


@pytest.mark.parametrize("model", ["lstm", "rnn:2", "mlp"])
def test_the_next_day_is_what_the_service_answers(model: str, file: Path, prices: Panel, models: Repository) -> None:
    answer = json.loads(forecast(file, "--model", model, "--json").stdout)

    name, _, version = model.partition(":")
    number = int(version) if version else None
    served = models.get(name, number).predict(prices.closes)
    for each, quantiles, closes in zip(answer["forecasts"], served, prices.closes, strict=True):
        (day,) = each["days"]
        np.testing.assert_allclose(list(day["quantiles"].values()), quantiles, rtol=2e-6)
        assert (day["median"], each["last_close"]) == (day["quantiles"]["0.5"], closes[-1])
    assert [each["id"] for each in answer["forecasts"]] == prices.ids
    assert answer["forecasts"][1]["as_of"] == "2020-03-10"
    assert answer["model"]["digest"] == models.card(name, number).digest


def test_days_ahead_widen_and_a_seed_repeats_them(file: Path) -> None:
    first, again, other = (forecast(file, "--horizon", "5", "--json", "--seed", seed).stdout for seed in "001")

    days = json.loads(first)["forecasts"][0]["days"]
    assert [day["day"] for day in days] == [1, 2, 3, 4, 5]
    assert days[4]["quantiles"]["0.95"] > days[0]["quantiles"]["0.95"]
    assert first == again != other


def test_the_table_is_aligned_and_has_a_line_a_series_and_day(file: Path) -> None:
    lines = forecast(file, "--horizon", "2").stdout.splitlines()

    assert len(lines) == 1 + 2 * 2
    assert " ".join(lines[0].split()) == "id as of last close day 1 % 5 % 25 % 50 % 75 % 95 % 99 %"
    assert lines[0].index("as of") == lines[1].index("2020-10-26")


def test_a_conformal_forecast_is_another_and_in_order(file: Path) -> None:
    plain, corrected = (
        [list(each["days"][0]["quantiles"].values()) for each in json.loads(answer.stdout)["forecasts"]]
        for answer in (forecast(file, "--json"), forecast(file, "--json", "--conformal"))
    )

    assert plain != corrected
    assert all(row == sorted(row) for row in corrected)


def test_what_the_network_did_is_told_a_day_as_the_mean_or_as_a_unit(
    file: Path, prices: Panel, models: Repository
) -> None:
    told = models.get("lstm").gates()(prices.closes[1])

    mean, unit = (
        json.loads(forecast(file, "--explain", "--json", *more).stdout)["forecasts"][1]["explain"]
        for more in ((), ("--unit", "6"))
    )

    assert list(mean) == ["dates", "closes", "mean"]
    assert mean["dates"] == [str(date) for date in prices.dates_of(1)[1:]]
    assert mean["closes"] == prices.closes[1][1:].tolist()
    assert list(mean["mean"]) == list(unit["unit_6"]) == list(told)
    for name, each in told.items():
        np.testing.assert_allclose(mean["mean"][name], each.mean(1), atol=1e-6)
        np.testing.assert_allclose(unit["unit_6"][name], each[:, 6], rtol=1e-6)


def test_the_table_of_what_the_network_did_stands_behind_the_forecasts_with_a_line_a_day(file: Path) -> None:
    forecasts, told = forecast(file, "--explain").stdout.split("the mean over its units")

    lines = told.strip().splitlines()
    assert len(lines) == 1 + 299 + 69
    assert " ".join(lines[0].split()) == "id day close forget gate input gate candidate output gate cell hidden"
    assert lines[1].startswith("A ")
    assert forecasts.startswith(forecast(file).stdout)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "gru"], "there is no model 'gru'; there are: lstm, mlp, rnn"),
        (["--model", "lstm:9"], "there is no model 'lstm version 9'"),
        (["--horizon", "21"], "21 is not in the range 1<=x<=20"),
        (["--horizon", "2", "--conformal"], "of the next day's quantiles alone"),
        (["--explain", "--model", "mlp"], "version 2 of 'mlp' is an MLP"),
        (["--explain", "--model", "lstm:1"], "was exported without explain.onnx"),
        (["--unit", "6"], "--explain tells of"),
        (["--explain", "--unit", "48"], "there is no unit 48; lstm has those from 0 to 47"),
        (["--explain", "--unit", "-1"], "-1 is not in the range x>=0"),
    ],
)
def test_what_cannot_be_forecast_is_one_line_and_exit_code_2(arguments: list[str], said: str, file: Path) -> None:
    result = forecast(file, *arguments)

    assert result.exit_code == 2
    assert said in result.output


def test_a_series_too_short_for_the_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "short.csv").write_text("date,X\n2020-01-01,10\n2020-01-02,11\n")

    assert json.loads(forecast(tmp_path / "short.csv", "--json").stdout)["forecasts"][0]["id"] == "X"
    result = forecast(tmp_path / "short.csv", "--model", "mlp")
    assert result.exit_code == 2
    assert "X has 2 closes; at least 60 are needed" in result.output


def test_a_pipe_gets_no_plot_unless_it_is_asked_for_and_at_most_five_series_have_one(file: Path) -> None:
    bare, plain, plotted = forecast(file), forecast(file, "--no-plot"), forecast(file, "--plot")
    many = CliRunner().invoke(main, ["forecast", "sp500", "--plot"], env={"COLUMNS": "100"}).stdout

    assert bare.stdout == plain.stdout
    assert plotted.stdout.startswith(bare.stdout)
    assert "┿" not in bare.stdout
    assert plotted.stdout.count("┿") == 2
    assert "\x1b" not in plotted.stdout
    assert many.count("┿") == 5
    assert many.endswith("15 more have no plot.\n")


def test_json_is_alone_on_standard_output(file: Path) -> None:
    assert set(json.loads(forecast(file, "--json").stdout)) == {"model", "forecasts"}


def on_terminal(file: Path, *more: str, **env: str) -> str:
    """What the command writes to a terminal."""
    ours, theirs = pty.openpty()
    keep = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    command = [sys.executable, "-m", "nextday", "forecast", str(file), *more]
    with subprocess.Popen(command, stdout=theirs, env=keep | {"TERM": "xterm"} | env) as process:
        os.close(theirs)
        written = b""
        try:
            while some := os.read(ours, 65536):
                written += some
        except OSError:  # Linux says so that the other end is closed
            pass
        finally:
            os.close(ours)
    assert process.returncode == 0
    return written.decode().replace("\r\n", "\n")


def test_a_terminal_gets_plots_in_its_width_and_in_colour_unless_told_not_to(file: Path) -> None:
    coloured, grey = on_terminal(file, COLUMNS="70"), on_terminal(file, COLUMNS="70", NO_COLOR="1")

    assert coloured.count("┿") == grey.count("┿") == 2
    assert "\x1b[36m" in coloured
    assert "\x1b[36m" not in grey
    lines = [line for line in grey.splitlines() if "\x1b" not in line]
    assert max(map(len, lines)) <= 70
    assert " ".join(lines[0].split()) == "id as of last close day 5 % 50 % 95 %"
    assert "┿" not in on_terminal(file, "--no-plot")
