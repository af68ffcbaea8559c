"""Whether bands held over time: of the closes of each quarter of a year, how many fell inside each band."""

from collections.abc import Iterable

import numpy as np

from models.bundle import ByQuarter
from models.cells import Days
from models.evaluate import Assessed
from models.measures import BANDS, PER_CENT
from models.ragged import Ints

FEWEST_FORECASTS = 50
"""Of a quarter that is told; one series alone has 61 to 64 in a whole one."""
_DIGITS = 2


def by_quarter(assessed: list[Assessed], names: Iterable[str]) -> ByQuarter:
    """
    The coverage of each quarter, over all series together.

    Args:
        assessed: Of the same forecasters on each series.
        names: Of the forecasters that are wanted.

    Returns:
        A forecast belongs to the quarter of the day that it is of. Quarters with fewer than 50 forecasts are left out.
    """
    days = np.concatenate([each.days for each in assessed])
    quarters, place, counts = np.unique(_quarters(days), return_inverse=True, return_counts=True)
    told = counts >= FEWEST_FORECASTS

    def inside(name: str, band: str) -> list[float]:
        hits = np.bincount(place, np.concatenate([each.by[name].inside[band] for each in assessed]))
        shares = PER_CENT * hits / counts
        return [round(share, _DIGITS) for share in shares[told].tolist()]

    return ByQuarter(
        quarters=[_named(quarter) for quarter in quarters[told].tolist()],
        forecasts=counts[told].tolist(),
        inside_percent={name: {band: inside(name, band) for band in BANDS} for name in names},
    )


def _quarters(days: Days) -> Ints:
    """Quarters since 1970. Shape ``(N,)`` to ``(N,)``."""
    return days.astype("datetime64[M]").astype(np.int64) // 3


def _named(quarter: int) -> str:
    return f"{1970 + quarter // 4}-Q{quarter % 4 + 1}"
