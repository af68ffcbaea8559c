"""A forecast sketched in characters, for a terminal: the last closes as a line of bars, the days ahead as fans."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from models.ragged import Doubles

CLOSES = 60
"""Closes that a sketch shows, fewer where the terminal is narrow."""
SERIES = 5
"""Series that get a sketch; more would scroll the table away."""
LEAST_WIDTH = 10
"""Characters below which a line of bars or a fan shows nothing."""


@dataclass(frozen=True)
class Ink:
    """
    The characters of a sketch.

    Attributes:
        bars: From the lowest close to the highest.
        ends: Of a fan, at 5 % and 95 %.
        thin: Between these and the quartiles.
        thick: Between the quartiles.
        median: Where the median is.
    """

    bars: str
    ends: str
    thin: str
    thick: str
    median: str


BLOCKS = Ink("▁▂▃▄▅▆▇█", "├┤", "─", "━", "┿")
PLAIN = Ink("_.-~=+*#", "[]", "-", "=", "|")
"""For a terminal whose encoding has no blocks."""


def ink_of(encoding: str | None) -> Ink:
    """
    What an encoding can write.

    >>> ink_of("utf-8") is BLOCKS, ink_of("ascii") is PLAIN
    (True, True)
    """
    try:
        "".join((BLOCKS.bars, BLOCKS.ends, BLOCKS.thin, BLOCKS.thick, BLOCKS.median)).encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return PLAIN
    return BLOCKS


def bars(closes: Doubles | Sequence[float], ink: Ink = BLOCKS) -> str:
    """
    A character a close, its height linear from the lowest close to the highest; all alike are at half height.

    >>> bars([1.0, 2.0, 8.0])
    '▁▂█'
    """
    values = np.asarray(closes, dtype=float)
    low, high = values.min(), values.max()
    if low == high:
        return ink.bars[len(ink.bars) // 2] * len(values)
    heights = np.rint((values - low) / (high - low) * (len(ink.bars) - 1)).astype(int)
    return "".join(ink.bars[height] for height in heights)


def fan(quantiles: dict[str, float], low: float, high: float, width: int, ink: Ink = BLOCKS) -> str:
    """
    Quantiles of one close on a line: ends at 5 % and 95 %, thick between the quartiles, a mark at the median.

    Args:
        quantiles: By level, with 0.05, 0.25, 0.5, 0.75 and 0.95 among them.
        low: What the line's left end stands for.
        high: What its right end stands for.
        width: Characters of the line.
        ink: What to draw with.

    >>> fan({"0.05": 0.0, "0.25": 3.0, "0.5": 5.0, "0.75": 7.0, "0.95": 10.0}, 0.0, 10.0, 11)
    '├──━━┿━━──┤'
    """
    scale = (width - 1) / (high - low) if high > low else 0.0
    first, lower, middle, upper, last = (
        round((quantiles[level] - low) * scale) for level in ("0.05", "0.25", "0.5", "0.75", "0.95")
    )
    cells = [" "] * width
    cells[first : last + 1] = ink.thin * (last + 1 - first)
    cells[lower : upper + 1] = ink.thick * (upper + 1 - lower)
    cells[first], cells[last] = ink.ends[0], ink.ends[1]
    cells[middle] = ink.median
    return "".join(cells)


def sketch(forecast: dict[str, Any], closes: Doubles, width: int, ink: Ink = BLOCKS) -> Iterator[str]:
    """
    The lines of one series: its name, its last closes, and a fan for the first and the last day ahead.

    Args:
        forecast: Of the series, as `models.outlook.forecasts` has it.
        closes: Of the series, oldest first, in quote currency. Shape ``(T,)``.
        width: Characters that a line may have; below about 35 there is room for the numbers alone.
        ink: What to draw with.
    """
    shown = closes[-min(CLOSES, max(LEAST_WIDTH, width)) :]
    yield _cut(f"{forecast['id']}: last {len(shown)} closes, {shown.min():.6g} to {shown.max():.6g}", width)
    if width >= LEAST_WIDTH:
        yield bars(shown, ink)
    ends = forecast["days"][:1] + forecast["days"][1:][-1:]
    yield from _fans(ends, forecast["last_close"], width, ink)


def _fans(days: list[dict[str, Any]], last_close: float, width: int, ink: Ink) -> Iterator[str]:
    """A line a day, aligned and of one scale; without the median, or the fan, where there is no room."""
    told = [[f"{day['quantiles'][level]:.6g}" for level in ("0.05", "0.5", "0.95")] for day in days]
    names = _padded([f"day {day['day']}" for day in days])
    lows, medians, highs = (_padded(column) for column in zip(*told, strict=True))
    low = min(day["quantiles"]["0.05"] for day in days)
    high = max(day["quantiles"]["0.95"] for day in days)
    changes = _padded([f"{100 * (day['median'] / last_close - 1):+.2f} %" for day in days])
    befores = [f"{name}  {each}  " for name, each in zip(names, lows, strict=True)]
    afters = [f"  {each}" for each in highs]
    full = [f"{each}  median {m} ({c})" for each, m, c in zip(afters, medians, changes, strict=True)]
    for ending in (full, afters):
        room = min(CLOSES, width - len(befores[0]) - len(ending[0]))
        if room >= LEAST_WIDTH:
            for day, before, after in zip(days, befores, ending, strict=True):
                yield before + fan(day["quantiles"], low, high, room, ink) + after
            return
    yield from (_cut(f"{name}: {' '.join(each)}", width) for name, each in zip(names, told, strict=True))


def _padded(texts: Sequence[str]) -> list[str]:
    """Texts, each as wide as the widest."""
    return [text.ljust(max(map(len, texts))) for text in texts]


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else line[: max(0, width)]
