"""
BentoML: two workers, with adaptive batching where BENCH_BATCHING says so.

Rows are an array, which is quicker than lists; a batch of different lengths is no array, and needs lists.
"""

import os

import bentoml
import numpy as np
from graph import Graph, padded

BATCHING = {"batchable": True, "max_batch_size": 64, "max_latency_ms": 1000} if os.environ.get("BENCH_BATCHING") else {}
ROWS = list[list[float]] if BATCHING else np.ndarray


@bentoml.service(workers=2, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Forecasts:
    def __init__(self) -> None:
        self._graph = Graph()

    @bentoml.api(**BATCHING)
    def forecast(self, closes: ROWS) -> ROWS:
        return self._graph(*padded(closes)).tolist() if BATCHING else self._graph(closes)
