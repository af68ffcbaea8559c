"""The ways a bulk job's data can travel, what is wanted of each, and whether it is reached."""

from dataclasses import dataclass

from bench.bulk_data import Series

SERIES = (Series(100_000, 60), Series(20_000, 250))
MILLION = Series(1_000_000, 60)
TWO_WORKERS = 1.9
SMALL_ROWS, SMALL_S = 10, 1.0
WORKER_MIB, SERVICE_MIB, REDIS_KIB = 600.0, 300.0, 100.0
FLAT_SHARE, FLAT_MIB = 0.05, 8.0
"""What memory may grow by from the middle third of a job to its last."""


@dataclass(frozen=True)
class Lane:
    """
    A way in and a way out.

    Attributes:
        given: The series' format, of `bench.bulk_data.WRITERS`.
        taken: The results' format.
        by_reference: Whether the service reads the file itself.
        least: Share of the limit that is to be reached.
    """

    given: str
    taken: str
    by_reference: bool
    least: float

    @property
    def name(self) -> str:
        """For people, and for the command line."""
        return f"{'by reference, ' if self.by_reference else ''}{self.given} in, {self.taken} out"


LANES = (
    Lane("parquet", "parquet", by_reference=True, least=0.9),
    Lane("arrow", "parquet", by_reference=True, least=0.9),
    Lane("parquet", "parquet", by_reference=False, least=0.85),
    Lane("arrows", "parquet", by_reference=False, least=0.85),
    Lane("csv", "csv", by_reference=False, least=0.6),
    Lane("long.csv", "csv", by_reference=False, least=0.6),
    Lane("ndjson", "ndjson", by_reference=False, least=0.6),
)


@dataclass(frozen=True)
class Verdict:
    """A goal and what was found; `least` tells whether more is better."""

    what: str
    found: float
    goal: float
    least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        return self.found >= self.goal if self.least else self.found <= self.goal

    def cells(self) -> list[str]:
        """As a row of the table."""
        sign = "at least" if self.least else "at most"
        return [
            self.what,
            f"{self.found:.4g}{self.unit}",
            f"{sign} {self.goal:g}{self.unit}",
            "met" if self.met else "**missed**",
        ]
