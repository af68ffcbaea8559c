"""Which rows run together, on a CPU and on a GPU."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.runs import ON_CPU, ON_GPU, Bounds, batches


def taken(lengths: list[int], bounds: Bounds) -> list[list[int]]:
    rows = np.arange(len(lengths))
    return [rows[each].tolist() for each in batches(np.array(lengths), bounds)]


@pytest.mark.parametrize("bounds", [ON_CPU, ON_GPU, Bounds(3, 100, 10, 0.1)], ids=["cpu", "gpu", "small"])
@settings(max_examples=40)
@given(lengths=st.lists(st.integers(2, 3000), min_size=1, max_size=300))
def test_every_row_runs_once_and_no_run_is_larger_than_it_may_be(bounds: Bounds, lengths: list[int]) -> None:
    runs = taken(lengths, bounds)

    assert sorted(row for run in runs for row in run) == list(range(len(lengths)))
    for run in runs:
        longest = max(lengths[row] for row in run)
        padding = sum(longest - lengths[row] for row in run)
        assert len(run) <= bounds.rows
        assert len(run) == 1 or len(run) * longest <= bounds.days
        assert padding <= max(bounds.free_padding_days, bounds.padding_share * len(run) * longest)


def test_rows_of_unlike_length_run_apart_on_a_cpu_and_together_on_a_gpu() -> None:
    lengths = [20, 60, 250, 500] * 50

    assert len(taken(lengths, ON_GPU)) == 1
    assert len(taken(lengths, ON_CPU)) > 8


def test_rows_of_one_length_are_taken_as_they_lie() -> None:
    assert list(batches(np.full(300, 60), ON_CPU)) == [
        slice(start, min(start + 68, 300)) for start in range(0, 300, 68)
    ]
