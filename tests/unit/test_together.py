"""Callers that wait together: one run for all, each with its own answer, none with another's fault."""

import numpy as np
import pytest

from models.ragged import Floats, Ragged
from models.repository import Repository
from models.together import run_together


def rows_of(*values: float) -> Ragged:
    return Ragged.of([[value] * 3 for value in values])


class Doubling:
    """Twice each row's first close; refuses rows of 13, and remembers its runs."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []

    def __call__(self, rows: Ragged) -> Floats:
        firsts = rows.values[rows.offsets[:-1]]
        self.runs.append(firsts.tolist())
        if 13 in firsts:
            raise ValueError("13 brings bad luck")
        return (2 * firsts[:, None]).astype(np.float32)


def test_callers_share_one_run_and_each_gets_its_own_rows() -> None:
    run = Doubling()

    answers = run_together(run, [rows_of(1, 2), rows_of(3), rows_of(4, 5, 6)])

    assert [np.ravel(answer).tolist() for answer in answers] == [[2, 4], [6], [8, 10, 12]]
    assert run.runs == [[1, 2, 3, 4, 5, 6]]


def test_a_caller_whose_rows_fail_fails_alone() -> None:
    run = Doubling()

    first, second, third = run_together(run, [rows_of(1), rows_of(13), rows_of(2, 3)])

    assert isinstance(second, ValueError)
    assert [np.ravel(answer).tolist() for answer in (first, third)] == [[2], [4, 6]]
    assert run.runs == [[1, 13, 2, 3], [1], [13], [2, 3]]


def test_one_that_fails_alone_is_not_run_twice() -> None:
    run = Doubling()

    (answer,) = run_together(run, [rows_of(13)])

    assert isinstance(answer, ValueError)
    assert run.runs == [[13]]


@pytest.mark.parametrize(("model", "tolerance"), [("lstm", 0), ("mlp", 0), ("rnn", 1e-6)])
def test_answers_are_those_that_each_gets_alone(models: Repository, model: str, tolerance: float) -> None:
    rng = np.random.default_rng(5)
    callers = [
        Ragged.of(
            [100 * np.exp(np.cumsum(rng.normal(0, 0.01, days))) for days in rng.choice([60, 61, 250, 900], count)]
        )
        for count in (1, 3, 1, 20, 7, 1)
    ]
    forecaster = models.get(model)

    together = run_together(forecaster.run, callers)

    for got, rows in zip(together, callers, strict=True):
        np.testing.assert_allclose(got, forecaster.run(rows), rtol=tolerance, atol=0)
        for row in range(len(rows)):
            np.testing.assert_allclose(got[row], forecaster.run(Ragged.of([rows[row]]))[0], rtol=tolerance, atol=0)
