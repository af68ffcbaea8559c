import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.shell_completion import BashComplete, ShellComplete, ZshComplete
from click.testing import CliRunner

from models.listing import listing
from models.settings import ModelSettings
from nextday import EXIT_CODES, main
from service import score
from service.banner import banner, base_url
from service.settings import ServiceSettings


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["scor"], "Did you mean 'score'?"),
        (["forecst", "sp500"], "Did you mean 'forecast'?"),
        (["keys", "lst"], "Did you mean 'list'?"),
        (["models", "--jsn"], "Did you mean '--json'?"),
        (["train", "--netwrk", "rnn"], "'--network'"),
        (["train", "--data", "nowhere.csv"], "nowhere.csv"),
        (["forecast", "prices.csv", "--json", "--plot"], "--json and --plot exclude each other"),
        (["schedule", "prices.csv", "--json"], "--json prints what --dry-run finds"),
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


PAGE = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


def test_exit_codes_stand_in_the_page_and_in_the_help() -> None:
    said = " ".join(CliRunner().invoke(main, ["--help"]).output.split())

    assert re.findall(r"^\| (\d+) \| (.*) \|$", PAGE, re.MULTILINE) == [(str(k), v) for k, v in EXIT_CODES.items()]
    assert "; ".join(f"{code} {meaning}" for code, meaning in EXIT_CODES.items()) in said


def test_exit_codes_of_scoring_are_those_of_the_page() -> None:
    assert (score.DONE, score.ROWS_FAILED) == (0, 3)
    assert "rows have an error" in EXIT_CODES[score.ROWS_FAILED]


def test_ctrl_c_ends_a_command_with_its_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(_store: Path) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr("models.listing.listing", stop)

    assert CliRunner().invoke(main, ["models"]).exit_code == 130


def commands(group: click.Group, *before: str) -> dict[str, click.Command]:
    found = {}
    for name, command in group.commands.items():
        path = (*before, name)
        found |= commands(command, *path) if isinstance(command, click.Group) else {" ".join(path): command}
    return found


def test_every_command_with_json_stands_in_the_page_and_no_other() -> None:
    assert isinstance(main, click.Group)

    with_json = {name for name, each in commands(main).items() if any("--json" in param.opts for param in each.params)}

    assert set(re.findall(r"^\| `nextday ([a-z ]+)` \|", PAGE, re.MULTILINE)) == with_json


def test_models_as_json_have_every_version_with_digest_and_scores_and_say_what_is_refused(tmp_path: Path) -> None:
    shutil.copytree(ModelSettings().store / "mlp", tmp_path / "mlp")
    (tmp_path / "old" / "7").mkdir(parents=True)

    answer = json.loads(CliRunner().invoke(main, ["models", "--json"], env={"NEXTDAY_STORE": str(tmp_path)}).stdout)

    assert [(each["name"], each["version"]) for each in answer["models"]] == [("mlp", 1), ("mlp", 2)]
    assert all(each["digest"].startswith("sha256:") and each["scores"] for each in answer["models"])
    assert [f"{tmp_path}/old/7" in each for each in answer["refused"]] == [True]


def test_keys_as_json_are_alone_on_standard_output(tmp_path: Path) -> None:
    file = ["--file", str(tmp_path / "keys")]
    CliRunner().invoke(main, ["keys", "new", "me", "--scope", "jobs", *file])

    (key,) = json.loads(CliRunner().invoke(main, ["keys", "list", "--json", *file]).stdout)["keys"]

    assert (key["name"], key["scopes"], key["rate_per_s"]) == ("me", ["jobs"], None)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for folder in ("lstm/1", "lstm/12", "lab/3", "mlp/1", "empty"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.setenv("NEXTDAY_STORE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "start", "wanted"),
    [
        (["forecast", "--model"], "l", ["lab", "lstm", "lab:3", "lstm:1", "lstm:12"]),
        (["forecast", "--model"], "lstm:", ["lstm:1", "lstm:12"]),
        (["evaluate", "--model", "mlp", "--model"], "lstm:12", ["lstm:12"]),
        (["activate"], "mlp", ["mlp", "mlp:1"]),
        (["activate"], "x", []),
        (["score", "--model"], "l", ["lab", "lstm"]),
        (["score", "--version"], "", ["1", "12"]),
        (["score", "--model", "lab", "--version"], "", ["3"]),
        (["keys"], "l", ["list"]),
        (["models"], "--j", ["--json"]),
    ],
)
def test_models_and_versions_complete(arguments: list[str], start: str, wanted: list[str], store: Path) -> None:
    completion = ShellComplete(main, {}, "nextday", "_NEXTDAY_COMPLETE")

    assert [each.value for each in completion.get_completions(arguments, start)] == wanted


@pytest.mark.parametrize("shell", [BashComplete, ZshComplete])
def test_a_shell_gets_names_with_their_versions_as_they_are(
    shell: type[ShellComplete], store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMP_WORDS", "nextday forecast --model lstm:1")
    monkeypatch.setenv("COMP_CWORD", "3")

    answer = shell(main, {}, "nextday", "_NEXTDAY_COMPLETE").complete()

    assert [each.split(",")[-1] for each in answer.splitlines() if "lstm" in each] == ["lstm:1", "lstm:12"]


def test_a_store_that_cannot_be_read_completes_nothing_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    completion = ShellComplete(main, {}, "nextday", "_NEXTDAY_COMPLETE")

    monkeypatch.setenv("NEXTDAY_STORE", "/nowhere")
    nowhere = completion.get_completions(["forecast", "--model"], "")
    monkeypatch.setenv("NEXTDAY_RUN_THREADS", "many")
    wrong = completion.get_completions(["forecast", "--model"], "")

    assert nowhere == wrong == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_what_a_shell_is_to_evaluate_is_as_the_page_says(shell: str) -> None:
    runner = CliRunner()

    printed = runner.invoke(main, [], prog_name="nextday", env={"_NEXTDAY_COMPLETE": f"{shell}_source"}).stdout

    assert f"_NEXTDAY_COMPLETE={shell}_source nextday" in PAGE
    assert f"_NEXTDAY_COMPLETE={shell}_complete" in printed
