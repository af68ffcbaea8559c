"""The bundle's graph behind plain onnxruntime, as every peer runs it: one thread, runs of at most 32 rows."""

import os

import numpy as np
import onnxruntime as ort

ROWS_PER_RUN = 32
"""Rows of a run: 16 to 64 are the cheapest a row."""


class Graph:
    """A session of the graph in `BENCH_MODEL`; closes in, quantiles out."""

    def __init__(self) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = ort.InferenceSession(
            os.environ["BENCH_MODEL"], options, providers=["CPUExecutionProvider"], enable_fallback=0
        )
        self(np.full((1, 60), 100.0, np.float32))

    def __call__(self, closes: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """
        Quantiles of each row's next close.

        Args:
            closes: Padded on the right. Shape ``(B, T)``.
            lengths: Real days of each row, all of them unless given. Shape ``(B,)``.

        Returns:
            Shape ``(B, Q)``.
        """
        closes = np.ascontiguousarray(closes, np.float32)
        B, T = closes.shape
        lengths = np.full(B, T, np.int64) if lengths is None else np.asarray(lengths, np.int64)
        if B <= ROWS_PER_RUN:
            return self.run(closes, lengths)
        starts = range(0, B, ROWS_PER_RUN)
        return np.concatenate([self.run(closes[s : s + ROWS_PER_RUN], lengths[s : s + ROWS_PER_RUN]) for s in starts])

    def run(self, closes: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """The same in one run, however many rows there are."""
        return self._session.run(["quantiles"], {"closes": closes, "lengths": lengths})[0]


def padded(rows: list) -> tuple[np.ndarray, np.ndarray]:
    """Rows of closes side by side, zeros behind the shorter ones, and their lengths."""
    lengths = np.array([len(row) for row in rows], np.int64)
    if (lengths == lengths[0]).all():
        return np.array(rows, np.float32), lengths
    closes = np.zeros((len(rows), lengths.max()), np.float32)
    for place, row in enumerate(rows):
        closes[place, : len(row)] = row
    return closes, lengths
