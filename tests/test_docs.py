"""The README against the code: its tables, its files, its examples and their answers."""

import csv
import json
import re
from dataclasses import fields
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

import nextday
from models.data import last_days, load, write_csv
from models.packaged import MARKETS
from models.record import markdown, of_cards
from models.repository import Repository
from service.app import create_app
from service.metrics import DEFINITIONS
from service.openapi import OPERATIONS
from service.scrape import LOOKED_UP
from service.settings import ServiceSettings
from worker.schedule_file import Schedule
from worker.schedule_file import read as read_schedule

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> list[list[str]]:
    section = README.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]


def test_every_setting_stands_in_the_table_with_its_default() -> None:
    wanted = {f"`NEXTDAY_{field.name.upper()}`": field.metadata["doc"] for field in fields(ServiceSettings)}

    assert {row[0]: row[2] for row in rows("Settings")[2:] if row[0] in wanted} == wanted
    for field in fields(ServiceSettings):
        (default,) = [row[1] for row in rows("Settings") if row[0] == f"`NEXTDAY_{field.name.upper()}`"]
        assert default == {
            "store": "`models/store`",
            "worker_threads": "the cores",
            "api_keys_file": "none",
            "cors_origins": "none",
            "traces": "none",
            "worker_name": "none",
            "redis_password_file": "none",
            "input_prefixes": "none",
            "webhook_hosts": "none",
            "webhook_secret": "none",
        }.get(field.name, f"`{field.default}`")


def test_every_route_stands_in_the_table() -> None:
    assert {row[0] for row in rows("API")[2:]} == {f"`{each.method.upper()} {each.path}`" for each in OPERATIONS} | {
        "`GET /docs`"
    }


def test_every_command_stands_in_the_readme() -> None:
    assert isinstance(nextday.main, click.Group)
    for command in nextday.main.commands:
        assert f"nextday {command}" in README, command


def test_every_file_of_the_tree_is_there_and_none_is_missing() -> None:
    (tree,) = [block for block in blocks("text") if "models/" in block and "forecaster.py" in block]
    named = set(re.findall(r"\b[a-z_]+\.py\b", tree))

    there = {path.name for package in ("models", "worker", "service") for path in (ROOT / package).glob("*.py")}
    assert named == (there - {"__init__.py"}) | {"nextday.py"}


def test_the_curl_of_the_readme_gets_the_answer_of_the_readme(models: Repository) -> None:
    (curl,) = [block for block in blocks("sh") if "/v1/forecasts" in block and '"KO"' in block]
    request = re.search(r"-d '(\{.*\})'", curl, re.DOTALL)[1]
    wanted = next(json.loads(block) for block in blocks("json") if '"forecasts"' in block)

    client = create_app(ServiceSettings(device="cpu"), models=models).test_client()
    answer = client.post("/v1/forecasts", data=request, content_type="application/json").json

    assert len(json.loads(request)["series"][0]["closes"]) == 60
    assert answer["model"] == wanted["model"]
    (forecast,), (shown,) = answer["forecasts"], wanted["forecasts"]
    assert (forecast["id"], forecast["last_close"]) == (shown["id"], shown["last_close"])
    values = [list(each["quantiles"].values()) for each in (forecast, shown)]
    np.testing.assert_allclose(*values, rtol=2e-5)  # processors may differ in the last digits
    assert values[1] == sorted(values[1])
    assert len(values[1]) == 9


def test_the_bulk_example_of_the_readme_shows_what_comes_out(models: Repository) -> None:
    (shown,) = [block for block in blocks("text") if block.startswith("id,as_of")]
    stocks = last_days(load("sp500").panel, 250)

    answered = models.get("lstm").predict(stocks.closes)[:2]

    lines = list(csv.reader(shown.splitlines()))[1:]
    assert [line[0] for line in lines] == stocks.ids[:2]
    np.testing.assert_allclose(np.array([line[4:] for line in lines], np.float32), answered, rtol=2e-5)


@pytest.mark.parametrize("market", MARKETS)
def test_the_scores_of_the_readme_are_those_of_the_cards(market: str, models: Repository) -> None:
    assert markdown(of_cards([models.card(name) for name in models.names()], market)) in README


OBSERVABILITY = (ROOT / "docs" / "observability.md").read_text()
ALERTS = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
METRICS = (*DEFINITIONS, *LOOKED_UP)


def test_every_metric_stands_in_the_page_as_the_code_defines_it() -> None:
    table = [line for line in OBSERVABILITY.splitlines() if line.startswith("| `nextday_")]

    labels = {each.name: ", ".join(f"`{label}`" for label in each.labels) for each in METRICS}
    assert table == [f"| `{each.name}` | {each.kind} | {labels[each.name]} | {each.help} |" for each in METRICS]


def test_alerts_ask_for_metrics_that_there_are_with_labels_that_they_have() -> None:
    known = {each.name: each for each in METRICS}
    asked = re.findall(r"(nextday_\w+)(?:\{(\w+))?", ALERTS)

    assert len(asked) >= 8
    for name, label in asked:
        metric = known[re.sub("_bucket$", "", name)]
        assert not label or label in metric.labels


SCHEDULE = (ROOT / "docs" / "schedule.md").read_text()


def test_the_schedule_of_the_page_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(re.search(r"```toml\n(.*?)```", SCHEDULE, re.DOTALL)[1])

    assert [each.calendar for each in read_schedule(tmp_path / "plan.toml").schedule] == ["XNYS", "XLON"]


def test_every_field_of_a_schedule_stands_in_the_page() -> None:
    assert re.findall(r"^\| `(\w+)` \|", SCHEDULE, re.MULTILINE) == list(Schedule.__struct_fields__)


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "models/LOG.md",
        "docs/servers.md",
        "docs/family.md",
        "docs/gradients.md",
        "docs/jobs.md",
        "docs/models.md",
        "docs/pages.md",
        "docs/protocol.md",
        "docs/security.md",
        "docs/observability.md",
        "docs/schedule.md",
        "docs/speed.md",
        "docs/webhooks.md",
    ],
)
def test_every_link_to_a_file_leads_to_one(name: str) -> None:
    text = (ROOT / name).read_text()

    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (ROOT / name).parent.joinpath(target).exists(), target


def test_the_sketch_of_the_page_is_what_is_drawn(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    with (tmp_path / "prices.csv").open("w") as opened:
        write_csv(last_days(load("sp500").panel, 250), opened)
    command = ["forecast", str(tmp_path / "prices.csv"), "--horizon", "5", "--plot"]

    drawn = CliRunner().invoke(nextday.main, command, env={"COLUMNS": "100"}).stdout

    (shown,) = [block for block in re.findall(r"```text\n(.*?)```", page, re.DOTALL) if block.startswith("AAPL")]
    without_digits = [re.sub(r"\d", "0", text) for text in (shown, drawn)]  # processors may differ in the last ones
    assert without_digits[0] in without_digits[1]
