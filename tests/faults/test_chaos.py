"""A real installation whose parts are killed at random: no job lost, no row doubled, no answer changed."""

from pathlib import Path

import pytest

from tests.faults.chaos import Outcome, report, run, told


def check(outcome: Outcome) -> None:
    assert not outcome.broken, "\n".join([*report(outcome), *told(outcome)])
    assert outcome.scene.history.of("kill")
    assert any(known.has_ended for known in outcome.scene.jobs.values())


@pytest.mark.slow
def test_jobs_are_whole_after_a_few_kills(tmp_path: Path) -> None:
    check(run(8, 5, tmp_path))


@pytest.mark.drill
@pytest.mark.parametrize("seed", [11, 12])
def test_jobs_are_whole_after_a_minute_of_kills(tmp_path: Path, seed: int) -> None:
    check(run(60, seed, tmp_path))
