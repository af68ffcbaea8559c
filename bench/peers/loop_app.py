"""
One process of the limit: says that it is warm, waits for a line, runs the graph in a loop, says how many rows a second.

    loop_app.py ROWS DAYS SECONDS
"""

import sys
import time

import numpy as np
from graph import Graph


def main(rows: int, days: int, seconds: float) -> None:
    graph = Graph()
    closes, lengths = np.full((rows, days), 100, np.float32), np.full(rows, days, np.int64)
    graph(closes, lengths)
    print("warm", flush=True)
    sys.stdin.readline()
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        graph(closes, lengths)
        runs += 1
    print(runs * rows / (time.perf_counter() - began), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
