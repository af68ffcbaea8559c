"""A chunk's results: each row the forecaster's own answer to it, or what is wrong with it, in the chunk's order."""

import numpy as np
import pyarrow as pa
import pytest

from models.ragged import Ragged
from models.repository import Repository
from models.runs import ON_CPU
from worker.scoring import RESULT_SCHEMA, Unwanted, count_failed, score, set_aside
from worker.tables import CHUNK_SCHEMA

Rows = list[list[float]]


def walks(lengths: list[int]) -> Rows:
    rng = np.random.default_rng(0)
    return [(100 * np.exp(np.cumsum(rng.normal(0, 0.01, days)))).tolist() for days in lengths]


def chunk(rows: Rows, faults: list[str | None] | None = None) -> pa.RecordBatch:
    columns = [
        range(7, 7 + len(rows)),
        [f"s{row}" for row in range(len(rows))],
        ["2024-01-02"] * len(rows),
        rows,
        faults or [None] * len(rows),
    ]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, CHUNK_SCHEMA, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=CHUNK_SCHEMA)


def test_rows_of_any_length_and_order_get_what_each_gets_alone(models: Repository) -> None:
    forecaster = models.get("lstm")
    rows = walks(np.random.default_rng(1).integers(2, 300, 150).tolist())

    results = score(forecaster, chunk(rows), still_wanted=lambda: True)

    assert results.schema == RESULT_SCHEMA
    assert results["row"].to_pylist() == [*range(7, 157)]
    assert results["last_close"].to_pylist() == [np.float32(row[-1]) for row in rows]
    alone = np.concatenate([forecaster.predict(Ragged.of([row])) for row in rows])
    assert np.array_equal(np.array(results["quantiles"].to_pylist(), np.float32), alone)
    assert count_failed(results) == 0


def test_a_row_with_a_fault_has_its_error_and_leaves_the_others_as_they_are(models: Repository) -> None:
    forecaster = models.get("lstm")
    rows: Rows = [*walks([60, 60]), [], [1.0], [1.0, -1.0], *walks([40])]

    results = score(
        forecaster, chunk(rows, [None, "line 2: no JSON", "line 3", *[None] * 3]), still_wanted=lambda: True
    )

    errors = results["error"].to_pylist()
    assert errors[:3] == [None, "line 2: no JSON", "line 3"]
    assert errors[3] == "has 1 close; this model needs at least 2"
    assert errors[4].startswith("close 1 is -1.0")
    assert count_failed(results) == 4
    good = [0, 5]
    answered = results.take(good)["quantiles"].to_pylist()
    assert np.array_equal(np.array(answered, np.float32), forecaster.predict(Ragged.of([rows[row] for row in good])))
    assert results.take([1, 2, 3, 4])["quantiles"].null_count == results["last_close"].null_count == 4


def test_a_chunk_of_faults_alone_is_all_errors(models: Repository) -> None:
    results = score(models.get("lstm"), chunk([[], [1.0]], ["line 1", None]), still_wanted=lambda: True)

    assert count_failed(results) == results["quantiles"].null_count == 2


def test_a_slice_of_a_chunk_is_scored_as_its_own_rows(models: Repository) -> None:
    rows = walks([60, 70, 60])

    results = score(models.get("lstm"), chunk(rows).slice(1), still_wanted=lambda: True)

    alone = models.get("lstm").predict(Ragged.of(rows[1:]))
    assert np.array_equal(np.array(results["quantiles"].to_pylist(), np.float32), alone)


def test_a_chunk_that_is_no_longer_wanted_is_left_at_the_next_run(models: Repository) -> None:
    asked = iter([True, False])

    with pytest.raises(Unwanted):
        score(models.get("lstm"), chunk(walks([60] * 3 * ON_CPU.rows)), still_wanted=lambda: next(asked))


def test_a_chunk_set_aside_keeps_the_errors_that_it_had() -> None:
    results = set_aside(chunk(walks([60, 60]), [None, "line 2"]), "tried too often")

    assert results["error"].to_pylist() == ["tried too often", "line 2"]
    assert (results["quantiles"].null_count, results["last_close"].null_count) == (2, 2)
