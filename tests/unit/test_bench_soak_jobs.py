"""The soak of bulk jobs: which bars can be missed."""

from dataclasses import replace

import pytest

from bench.processes import Weight
from bench.soak_jobs import SHAPES, Minute, Shape, missed


def light(pss_mib: float = 100.0, files: int = 9) -> Weight:
    return Weight(pss_mib=pss_mib, rss_mib=pss_mib, files=files)


WELL = Minute(ended={"completed": 9}, weights={7: light(), 8: light(200.0)})
BUSY = replace(WELL, weights={7: light(150.0, 20), 8: light(200.0)})
SIX = [Minute(weights={7: light(60.0), 8: light(60.0)}), WELL, BUSY, WELL, WELL, BUSY]


def test_a_soak_that_takes_more_and_less_is_well() -> None:
    assert missed(SIX) == []


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"wrong": ["a job"]}, "a job"),
        ({"zombies": 1}, "2 zombies were seen"),
        ({"weights": {7: light()}}, "a process died, or another came"),
        ({"weights": {7: light(170.0), 8: light(200.0)}}, "process 7 took up to 150.0 MiB, then 170.0"),
        ({"weights": {7: light(files=40), 8: light(200.0)}}, "process 7 had 9 files open at least, then 40"),
    ],
)
def test_what_is_amiss_in_the_last_minutes_is_said(last: dict, said: str) -> None:
    late = replace(BUSY, **last)

    assert said in missed([*SIX[:-2], late, late])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_is_submitted_the_same_each_time(shape: Shape) -> None:
    small = replace(shape, rows=min(shape.rows, 50))

    assert small.body() == small.body()
