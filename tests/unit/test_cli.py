import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from models.listing import listing
from models.settings import ModelSettings
from nextday import main
from service.banner import banner, base_url
from service.settings import ServiceSettings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scor"], "Did you mean 'score'?"),
        (["score", "missing.csv", "-o", "out.csv"], "'missing.csv' does not exist"),
        (["score", "prices.xls", "-o", "out.csv"], "'prices.xls' ends in none of .csv, .ndjson, .jsonl, .json"),
        (["score", "prices.csv", "-o", "out.xls"], "'out.xls' ends in none of .csv, .ndjson, .jsonl"),
        (["score", "prices.csv", "-o", "nowhere/out.csv"], "there is no folder 'nowhere'"),
        (["score", "prices.csv", "-o", "-", "--json"], "--json and `-o -` both want standard output"),
        (["score", "prices.csv", "-o", "out.csv", "--version", "0"], "0 is not in the range x>=1"),
        (["score", "prices.csv", "-o", "out.csv", "--url", "http://[:8000"], "is no URL like http://127.0.0.1:8000"),
        (["score", "prices.csv", "-o", "out.csv", "--url", "ftp://127.0.0.1"], "is no URL like http://127.0.0.1:8000"),
        (["score", "prices.csv", "-o", "out.csv", "--url", "localhost:8000"], "is no URL like http://127.0.0.1:8000"),
        (["prices", "sp501"], "there is no file 'sp501'"),
        (["prices", "sp500", "--days", "0"], "0 is not in the range x>=1"),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("prices.csv", "prices.xls"):
        Path(name).write_text("id,date,close\n")

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 2, result.output
    assert said in result.output
    assert "Traceback" not in result.output


@pytest.mark.parametrize("variable", ["NEXTDAY_PORT", "NEXTDAY_DEVICE", "NEXTDAY_LEASE_S"])
@pytest.mark.parametrize("command", ["up", "serve"])
def test_a_setting_that_cannot_be_is_named_with_its_value(
    command: str, variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(main, [command], env={variable: "many"})

    assert result.exit_code == 2
    assert f"nextday: {variable}='many': " in result.output


def test_a_service_that_is_down_is_named_with_what_starts_one(tmp_path: Path) -> None:
    (tmp_path / "prices.csv").write_text("id,date,close\n")
    arguments = ["score", str(tmp_path / "prices.csv"), "-o", str(tmp_path / "out.csv"), "--url", "http://127.0.0.1:9"]

    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 1
    assert "no service answers at http://127.0.0.1:9" in result.output
    assert "make up" in result.output


def test_prices_are_long_csv_up_to_a_day(tmp_path: Path) -> None:
    target = tmp_path / "prices.csv"

    result = CliRunner().invoke(main, ["prices", "sp500", "--days", "2", "--until", "2020-02-29", "-o", str(target)])

    assert result.exit_code == 0, result.output
    lines = target.read_text().splitlines()
    assert lines[0] == "id,date,close"
    assert len(lines) == 1 + 20 * 2
    assert [line.split(",")[:2] for line in lines[1:3]] == [["AAPL", "2020-02-27"], ["AAPL", "2020-02-28"]]


def test_the_list_of_models_has_a_line_a_version_and_says_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "old" / "7").mkdir(parents=True)

    assert [line.split()[:3] for line in listing(ModelSettings().store).splitlines()[1:]] == [
        [name, version, name] for name in ("lstm", "mlp", "rnn") for version in ("1", "2")
    ]  # fmt: skip
    assert f"bundle {tmp_path}/old/7 is refused" in listing(tmp_path)
    assert "there are no models" in listing(tmp_path / "nowhere")


def test_help_of_training_is_the_training_commands_own() -> None:
    result = CliRunner().invoke(main, ["train", "--help"])

    assert result.exit_code == 0
    assert "--network" in result.output


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:9000"),
        ("0.0.0.0", "http://127.0.0.1:9000"),
        ("::", "http://[::1]:9000"),
        ("example.org", "http://example.org:9000"),
    ],
)
def test_an_address_to_listen_on_becomes_one_to_ask(host: str, url: str) -> None:
    assert base_url(ServiceSettings(host=host, port=9000)) == url


def test_the_curl_of_the_banner_sends_a_key_where_one_is_needed(tmp_path: Path) -> None:
    key = '-H "Authorization: Bearer $NEXTDAY_API_KEY"'

    assert key in banner(ServiceSettings(api_keys_file=tmp_path / "api-keys"), tmp_path)
    assert key not in banner(ServiceSettings(), tmp_path)


def test_without_the_extra_training_names_it() -> None:
    code = "import sys; sys.modules['torch'] = None; import nextday; nextday.main(['train', '--help'])"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "pip install -e '.[train]'" in done.stderr
