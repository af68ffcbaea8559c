"""
Rows that wait together run together: one run for the rows of several callers, as onnxruntime likes it best.

A row's answer is the one that it gets alone, since `models.forecaster.Forecaster.run` keeps rows apart, and a caller
whose rows fail leaves those that it ran with untouched.
"""

from collections.abc import Callable, Sequence

import numpy as np

from models.ragged import Floats, Ragged

Run = Callable[[Ragged], Floats]


def run_together(run: Run, callers: Sequence[Ragged]) -> list[Floats | Exception]:
    """
    What a run answers to each of several callers.

    Args:
        run: Answers rows, B of them, with shape ``(B, Q)``, each row for itself.
        callers: The rows of each.

    Returns:
        For each caller its rows' answers, or what the run raises for its rows alone.
    """
    if len(callers) == 1:
        return [_alone(run, callers[0])]
    try:
        answers = run(Ragged.joined(callers))
    except Exception:  # whoever is at fault, the others are not
        return [_alone(run, rows) for rows in callers]
    ends = np.cumsum([len(rows) for rows in callers]).tolist()
    return [answers[end - len(rows) : end] for rows, end in zip(callers, ends, strict=True)]


def _alone(run: Run, rows: Ragged) -> Floats | Exception:
    try:
        return run(rows)
    except Exception as error:
        return error
