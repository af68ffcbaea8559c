"""What a card says of its forecaster's scores can be measured anew, and nothing else of the card changes by it."""

import json
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from models import scores
from models.baselines import GARCH
from models.bundle import CARD_FILE, Card, read_bundle, read_card, replace_card, versions
from models.forecaster import Forecaster
from models.measures import BANDS
from models.scores import Found, score_anew
from models.settings import ModelSettings

STORE = ModelSettings().store
NAMES = ("lstm", "rnn", "mlp")


def newest(name: str) -> Path:
    return STORE / name / str(versions(STORE / name)[-1])


@pytest.fixture
def without(tmp_path: Path) -> Path:
    """A store with the newest LSTM, whose card says nothing of coverage by quarter."""
    path = tmp_path / "lstm" / newest("lstm").name
    shutil.copytree(newest("lstm"), path)
    text, cut, _ = (path / CARD_FILE).read_text().partition(',\n "coverage_by_quarter"')
    assert cut
    (path / CARD_FILE).write_text(f"{text}\n}}\n")
    return path


@pytest.fixture
def measured_at_once(monkeypatch: pytest.MonkeyPatch) -> Found:
    """What the card that ships has, in the place of a walk over markets."""
    card = json.loads((newest("lstm") / CARD_FILE).read_text())
    found = Found(card["scores"], read_card(newest("lstm")).coverage_by_quarter)
    monkeypatch.setattr(scores, "measure_as", lambda _card, _walk: found)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_the_card_that_ships_has_the_coverage_of_each_quarter_and_its_mean_is_the_score(name: str) -> None:
    card = read_card(newest(name))

    assert set(card.coverage_by_quarter) == set(card.scores)
    for market, told in card.coverage_by_quarter.items():
        assert set(told.inside_percent) == {name, GARCH}
        assert "2020-Q1" in told.quarters
        for forecaster, inside in told.inside_percent.items():
            left_out = card.scores[market][forecaster]["forecasts"] - sum(told.forecasts)
            assert 0 <= left_out < 50
            for band in BANDS:
                whole = np.average(inside[band], weights=told.forecasts)
                assert whole == pytest.approx(card.scores[market][forecaster][f"coverage_{band}"], abs=0.05)


@pytest.mark.parametrize("name", NAMES)
def test_a_card_from_before_coverage_was_measured_loads_and_has_none(name: str) -> None:
    card = Forecaster.load(STORE / name / "1").card

    assert card.coverage_by_quarter == {}
    assert "coverage_by_quarter" not in msgspec.to_builtins(card)


def test_nothing_but_the_new_field_changes(without: Path, measured_at_once: Found) -> None:
    before = (without / CARD_FILE).read_text()

    assert score_anew(without.parents[1], "lstm") == without

    after = (without / CARD_FILE).read_text()
    assert after.startswith(before.removesuffix("\n}\n"))
    assert json.loads(after) == json.loads(before) | {
        "coverage_by_quarter": msgspec.to_builtins(measured_at_once.coverage_by_quarter)
    }
    assert read_bundle(without).card.digest == read_card(newest("lstm")).digest
    assert sorted(each.name for each in without.parent.iterdir()) == [without.name]


def test_scores_that_come_out_otherwise_leave_the_card_as_it_is(without: Path, measured_at_once: Found) -> None:
    measured_at_once.scores["others"]["lstm"]["pinball_bp"] += 0.0001
    before = (without / CARD_FILE).read_bytes()

    result = CliRunner().invoke(scores.main, ["lstm", "--store", str(without.parents[1])])

    assert result.exit_code == 1
    assert "the scores of lstm come out otherwise than its card has them" in result.output
    assert (without / CARD_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"sha256": "0" * 64}, "sha256"), ({"version": 77}, "version"), ({"name": "other"}, "name")],
)
def test_the_card_of_another_forecaster_takes_no_cards_place(changes: dict, said: str, without: Path) -> None:
    card: Card = msgspec.structs.replace(read_card(without), **changes)

    with pytest.raises(ValueError, match=f"differ in {said}$"):
        replace_card(without, card)
