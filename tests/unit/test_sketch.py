"""A forecast in characters: what is drawn, with what, and in how much room."""

from typing import Any

import numpy as np
import pytest

from models.sketch import BLOCKS, CLOSES, PLAIN, bars, fan, ink_of, sketch

NARROW = {"0.05": 98.0, "0.25": 99.0, "0.5": 100.5, "0.75": 101.0, "0.95": 103.0}
WIDE = {level: 100 + 3 * (value - 100) for level, value in NARROW.items()}
CLOSED = np.linspace(90.0, 100.0, 200)


def forecast(*days: dict[str, float]) -> dict[str, Any]:
    told = [{"day": number, "median": day["0.5"], "quantiles": day} for number, day in enumerate(days, 1)]
    return {"id": "A", "as_of": "2020-01-01", "last_close": 100.0, "days": told}


def test_bars_go_from_the_lowest_close_to_the_highest() -> None:
    assert bars([1, 3, 8, 1]) == "▁▃█▁"
    assert bars([5, 5, 5]) == "▅▅▅"
    assert bars([1, 3, 8, 1], PLAIN) == "_-#_"


def test_a_fan_is_thick_between_the_quartiles_and_marks_the_median() -> None:
    assert fan(NARROW, 98.0, 103.0, 11) == "├─━━━┿━───┤"
    assert fan(NARROW, 98.0, 103.0, 11, PLAIN) == "[-===|=---]"
    assert fan(dict.fromkeys(NARROW, 7.0), 7.0, 7.0, 3) == "┿  "


def test_a_sketch_shows_the_last_closes_and_the_first_and_last_day_on_one_scale() -> None:
    title, line, first, last = sketch(forecast(NARROW, NARROW, WIDE), CLOSED, 100)

    assert title == "A: last 60 closes, 97.0352 to 100"
    assert (len(line), line[0], line[-1]) == (CLOSES, "▁", "█")
    assert first.startswith("day 1  98 ")
    assert first.endswith("  103  median 100.5 (+0.50 %)")
    assert last.startswith("day 3  94  ├")
    assert first.index("├") > last.index("├")
    assert first.index("┤") < last.index("┤")
    assert first.index("median") == last.index("median")


def test_one_day_has_one_fan() -> None:
    assert [line[:5] for line in sketch(forecast(NARROW), CLOSED, 100)][2:] == ["day 1"]


@pytest.mark.parametrize("width", [1, 5, 10, 24, 30, 40, 55, 80, 300])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    lines = list(sketch(forecast(NARROW, WIDE), CLOSED, width))

    assert max(map(len, lines)) <= width
    assert any("┿" in line for line in lines) == (width >= 30)
    assert any("median" in line for line in lines) == (width >= 55)


@pytest.mark.parametrize(
    ("encoding", "ink"), [("utf-8", BLOCKS), ("ascii", PLAIN), ("latin-1", PLAIN), ("none such", PLAIN), (None, PLAIN)]
)
def test_what_an_encoding_cannot_write_is_drawn_in_ascii(encoding: str | None, ink: object) -> None:
    assert ink_of(encoding) is ink
