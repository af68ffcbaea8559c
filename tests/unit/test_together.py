"""Callers that wait together: one run for all, each with its own answer, none with another's fault."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from models.forecaster import Forecaster
from models.ragged import Floats, Ragged
from models.repository import Repository
from models.together import MOST_ROWS, Together


def rows_of(*values: float) -> Ragged:
    return Ragged.of([[value] * 3 for value in values])


class Doubling:
    """Twice each row's first close; holds its first run until told, refuses rows of 13, and remembers its runs."""

    def __init__(self) -> None:
        self.runs: list[list[float]] = []
        self.entered, self.go_on = threading.Event(), threading.Event()

    def __call__(self, rows: Ragged) -> Floats:
        firsts = rows.values[rows.offsets[:-1]]
        self.runs.append(firsts.tolist())
        self.entered.set()
        assert self.go_on.wait(30)
        if 13 in firsts:
            raise ValueError("13 brings bad luck")
        return (2 * firsts[:, None]).astype(np.float32)


def queued(together: Together, run: Doubling, brought: list[Ragged]) -> list[object]:
    """What each gets that comes, in order, while the first one runs; an error is what it raised."""

    def ask(rows: Ragged) -> object:
        try:
            return together(rows).ravel().tolist()
        except ValueError as error:
            return str(error)

    with ThreadPoolExecutor(len(brought) + 1) as pool:
        first = pool.submit(ask, rows_of(0))
        assert run.entered.wait(30)
        asked = []
        for place, rows in enumerate(brought, 1):
            asked.append(pool.submit(ask, rows))
            while len(together._queue) < place and len(rows) <= MOST_ROWS:
                pass
        run.go_on.set()
        assert first.result(30) == [0]
        return [each.result(30) for each in asked]


def test_callers_that_wait_share_one_run_and_each_gets_its_own_rows() -> None:
    run = Doubling()

    answers = queued(Together(run), run, [rows_of(1), rows_of(2, 3), rows_of(4)])

    assert answers == [[2], [4, 6], [8]]
    assert run.runs == [[0], [1, 2, 3, 4]]


def test_one_that_fails_leaves_its_neighbours_untouched_and_gets_its_own_error() -> None:
    run = Doubling()

    answers = queued(Together(run), run, [rows_of(1), rows_of(13), rows_of(3)])

    assert answers == [[2], "13 brings bad luck", [6]]
    assert run.runs == [[0], [1, 13, 3], [1], [13], [3]]


def test_a_run_takes_no_more_rows_than_pay() -> None:
    run = Doubling()

    answers = queued(Together(run), run, [rows_of(*[7.0] * 40), rows_of(*[8.0] * 20), rows_of(*range(20, 50))])

    assert [len(each) for each in run.runs] == [1, 60, 30]
    assert answers[2] == [2.0 * value for value in range(20, 50)]


def test_after_a_failure_the_next_caller_is_served() -> None:
    run = Doubling()
    run.go_on.set()
    together = Together(run)

    with pytest.raises(ValueError, match="bad luck"):
        together(rows_of(13))

    assert together(rows_of(5)).tolist() == [[10]]


@pytest.mark.parametrize(("model", "tolerance"), [("lstm", 0), ("mlp", 0), ("rnn", 2e-6)])
def test_shared_runs_answer_as_runs_alone_do_for_all_lengths(model: str, tolerance: float, models: Repository) -> None:
    forecaster: Forecaster = models.get(model)
    rng = np.random.default_rng(0)
    lengths = rng.integers(forecaster.card.min_days, 400, 120)
    asked = [Ragged.of([100 * np.exp(np.cumsum(rng.normal(0, 0.02, days)))]) for days in lengths]
    alone = [forecaster.run(rows) for rows in asked]

    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(forecaster.together, asked))

    for got, wanted in zip(together, alone, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=tolerance)
