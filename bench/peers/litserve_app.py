"""LitServe: two inference workers, with its batching where BENCH_BATCHING says so. Called with a port."""

import os
import sys

import litserve
import numpy as np
from graph import Graph, padded

BATCHING = {"max_batch_size": 32, "batch_timeout": 0.001} if os.environ.get("BENCH_BATCHING") else {}


class Forecasts(litserve.LitAPI):
    def setup(self, device) -> None:  # noqa: ARG002 - LitServe names it
        self._graph = Graph()

    def decode_request(self, request):
        return request["closes"]

    def batch(self, inputs):
        return inputs

    def predict(self, asked):
        if not BATCHING:
            return self._graph(*padded(asked))
        quantiles = self._graph(*padded([row for rows in asked for row in rows]))
        return np.split(quantiles, np.cumsum([len(rows) for rows in asked])[:-1])

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"quantiles": output.tolist()}


if __name__ == "__main__":
    api = Forecasts(api_path="/forecast", **BATCHING)
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=2, timeout=60, fast_queue=bool(os.environ.get("BENCH_FAST_QUEUE"))
    )
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="error", access_log=False)
