"""Ray Serve: two replicas, with its batching where BENCH_BATCHING says so. Called with a port."""

import asyncio
import os
import sys
import time

import ray
from graph import Graph, padded
from ray import serve
from starlette.requests import Request

QUIET = {"enable_access_log": False}


@serve.deployment(num_replicas=2, max_ongoing_requests=64, ray_actor_options={"num_cpus": 1}, logging_config=QUIET)
class Forecasts:
    def __init__(self) -> None:
        self._graph = Graph()

    async def __call__(self, request: Request) -> dict:
        asked = (await request.json())["closes"]
        return {"quantiles": (await self._rows(asked) if os.environ.get("BENCH_BATCHING") else self._run(asked))}

    def _run(self, closes):
        return self._graph(*padded(closes)).tolist()

    async def _rows(self, closes):
        return await asyncio.gather(*map(self._batched, closes))

    @serve.batch(max_batch_size=32, batch_wait_timeout_s=0.002)
    async def _batched(self, rows):
        return self._run(rows)


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Forecasts.bind(), route_prefix="/forecast")
    while True:
        time.sleep(3600)
