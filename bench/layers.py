"""
What each layer of a forecast request costs, in one process and without a socket: CPU microseconds a request.

    python -m bench.layers

One series of 60 closes a request. Medians of rounds that go over all layers.
"""

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any

import click
import numpy as np
import uvloop
from flask import Flask

from models.ragged import Ragged
from models.together import run_together
from service.app import create_app
from service.bridge import call, environment
from service.busy import BusyRoutes
from service.door import Door
from service.drain import Drain
from service.gather import Gathering
from service.settings import ServiceSettings

TOGETHER = 32
REQUESTS = 640
CLOSES = [round(100 + (day * 37 % 50) / 10, 2) for day in range(60)]
BODY = json.dumps({"series": [{"id": "AAPL", "closes": CLOSES}]}).encode()
Answer = Callable[[int, int], None]
HEADERS = {"host": "bench", "content-type": "application/json", "content-length": str(len(BODY))}


class Scope:
    """A request, as RSGI has it."""

    method, path, query_string, scheme, http_version = "POST", "/v1/forecasts", "", "http", "1.1"
    server, client, headers = "127.0.0.1:8000", "127.0.0.1:50000", HEADERS


class Proto:
    """Its body, there in the next turn of the loop, and its answer, which must be right."""

    def __call__(self) -> Awaitable[bytes]:
        loop = asyncio.get_running_loop()
        coming = loop.create_future()
        loop.call_soon(coming.set_result, BODY)
        return coming

    def response_bytes(self, status: int, _headers: Any, _body: bytes) -> None:
        assert status == 200


def app_of(folder: Path, **settings: Any) -> tuple[Flask, ServiceSettings]:
    wanted = ServiceSettings(device="cpu", jobs_url=str(folder), state=folder / "state", **settings)
    app = create_app(wanted)
    app.extensions["busy"]._models.load_newest()
    return app, wanted


def layers(folder: Path) -> Iterator[tuple[str, Answer]]:
    """Each layer's name, and what answers so many requests that came together, so many times."""
    app, settings = app_of(folder)
    busy: BusyRoutes = app.extensions["busy"]
    forecaster = busy._models.get("lstm")
    rows = Ragged.of([CLOSES])

    def graph(count: int) -> None:
        closes, lengths = Ragged.of([CLOSES] * count).padded(np.arange(count))
        forecaster._session.run(["quantiles"], {"closes": closes, "lengths": lengths})

    def decode_and_encode(count: int) -> None:
        works = [busy.forecasts.prepare(HEADERS, BODY) for _ in range(count)]
        for work, quantiles in zip(works, run_together(forecaster.run, [work.rows for work in works]), strict=True):
            work.finish(quantiles)

    def in_flask(count: int) -> None:
        for _ in range(count):
            assert call(app.wsgi_app, environment(Scope, BytesIO(BODY))).status == 200

    loop = uvloop.new_event_loop()
    gather = Gathering(loop, ThreadPoolExecutor(1), seen=busy.seen)

    async def share(count: int) -> None:
        for answer in [gather(forecaster, rows) for _ in range(count)]:
            await answer

    yield "the graph, all rows in one run", again(graph)
    yield "a run for each request", again(lambda count: [forecaster.run(rows) for _ in range(count)].clear())
    yield "a run that the requests of a turn of the loop share", on(loop, share)
    yield "the same without a loop, body decoded and checked, answer encoded", again(decode_and_encode)
    yield "front door, access log off", through(*app_of(folder, access_log="off"))
    yield "front door, as it ships", through(app, settings)
    yield "Flask's route in place of the front door, one by one", again(in_flask)


def again(answer: Callable[[int], None]) -> Answer:
    def many(count: int, times: int) -> None:
        for _ in range(times):
            answer(count)

    return many


def on(loop: asyncio.AbstractEventLoop, answer: Callable[[int], Awaitable[None]]) -> Answer:
    async def many(count: int, times: int) -> None:
        for _ in range(times):
            await answer(count)

    return lambda count, times: loop.run_until_complete(many(count, times))


def through(app: Flask, settings: ServiceSettings) -> Answer:
    door = Door(app, settings, Drain())
    loop = uvloop.new_event_loop()
    door.__rsgi_init__(loop)

    async def ask(count: int) -> None:
        if count == 1:
            await door.__rsgi__(Scope, Proto())
        else:
            await asyncio.gather(*(door.__rsgi__(Scope, Proto()) for _ in range(count)))

    return on(loop, ask)


@click.command()
@click.option("--rounds", default=7, show_default=True, help="Over all layers; the median is shown.")
def main(rounds: int) -> None:
    """Measure what each layer costs."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # where the access log goes
    costs: dict[tuple[str, int], list[float]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder:
        known = dict(layers(Path(folder)))
        for _ in range(rounds):
            for name, answer in known.items():
                for count in (1, TOGETHER):
                    costs[name, count].append(cost_us(answer, count))
    click.echo(f"| CPU µs a request | 1 at a time | {TOGETHER} at a time |\n|---|---|---|")
    for name in known:
        click.echo(
            f"| {name} | " + " | ".join(f"{statistics.median(costs[name, n]):.0f}" for n in (1, TOGETHER)) + " |"
        )


def cost_us(answer: Answer, count: int) -> float:
    times = REQUESTS // count
    began = time.process_time()
    answer(count, times)
    return (time.process_time() - began) / (times * count) * 1e6


if __name__ == "__main__":
    main()
