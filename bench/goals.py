"""What the service wants to be beside its peers, and whether it is."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LOOP = "onnxruntime loop"


@dataclass(frozen=True)
class Goal:
    """
    A ratio of ours to a peer's that is to be reached.

    Attributes:
        part: What is measured: ``one`` at each number of connections, ``many`` or ``binary``.
        product: Whose; its best set-up counts.
        least: The ratio.
    """

    part: str
    product: str
    least: float


GOALS = (
    Goal("one", "MLServer", 5),
    Goal("one", "LitServe", 5),
    Goal("one", "BentoML", 5),
    Goal("one", "pytriton", 2),
    Goal("one", "FastAPI", 1.6),
    Goal("one", "bare RSGI", 0.6),
    Goal("many", "MLServer", 2),
    Goal("many", "FastAPI", 1.4),
    Goal("binary", LOOP, 0.85),
)


@dataclass(frozen=True)
class Verdict:
    """A goal, what was measured for it (``one@16``), and the ratio that was found."""

    goal: Goal
    measured: str
    ratio: float

    @property
    def met(self) -> bool:
        return self.ratio >= self.goal.least

    def __str__(self) -> str:
        distance = abs(self.ratio / self.goal.least - 1)
        return f"met, {distance:.0%} above" if self.met else f"missed by {distance:.0%}"


def judge(ours: Mapping[str, float], best: Mapping[tuple[str, str], float]) -> Iterator[Verdict]:
    """
    Each goal at each place where both sides were measured.

    Args:
        ours: Our rates by what was measured: ``one@16``, ``many``, ``binary``.
        best: The best rate of each product, by product and what was measured.
    """
    for goal in GOALS:
        for (product, measured), rate in best.items():
            if product == goal.product and measured.partition("@")[0] == goal.part and measured in ours:
                yield Verdict(goal, measured, ours[measured] / rate)
