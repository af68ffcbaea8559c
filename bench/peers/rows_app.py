"""
One process of the limit for bulk jobs: says that it is warm, waits for a line, scores its rows once, says the seconds.

    rows_app.py CLOSES.npy FIRST STOP SUB_BATCH
"""

import sys
import time

import numpy as np
from graph import Graph


def main(path: str, first: int, stop: int, sub_batch: int) -> None:
    graph = Graph()
    closes = np.load(path, mmap_mode="r")[first:stop].copy()
    lengths = np.full(sub_batch, closes.shape[1], np.int64)
    graph.run(closes[:sub_batch], lengths[: len(closes)])
    for line in sys.stdin:
        if line == "end\n":
            break
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(closes), sub_batch):
            rows = closes[start : start + sub_batch]
            graph.run(rows, lengths[: len(rows)])
        print(time.perf_counter() - began, time.process_time() - cpu, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
