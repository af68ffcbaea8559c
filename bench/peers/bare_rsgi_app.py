"""
The best that a bare handler does: granian's RSGI, no framework, and a batcher in the event loop.

Requests of one turn of the loop run together; there is no thread and no timer. Nothing is checked, logged or counted.
"""

import asyncio

import msgspec
import orjson
from graph import ROWS_PER_RUN, Graph, padded

HEADERS = [("content-type", "application/json")]


class One(msgspec.Struct):
    closes: list[float]


class Many(msgspec.Struct):
    closes: list[list[float]]


class Bare:
    """An RSGI application: `/one` takes one series a request, `/many` several of equal length."""

    def __init__(self) -> None:
        self._graph = Graph()
        self._one = msgspec.json.Decoder(One)
        self._many = msgspec.json.Decoder(Many)
        self._waiting: list[tuple[list[float], asyncio.Future]] = []

    async def __rsgi__(self, scope, proto) -> None:
        body = await proto()
        if scope.path == "/one":
            quantiles = await self._together(self._one.decode(body).closes)
        else:
            quantiles = self._graph(*padded(self._many.decode(body).closes))
        proto.response_bytes(200, HEADERS, orjson.dumps({"quantiles": quantiles}, option=orjson.OPT_SERIALIZE_NUMPY))

    def _together(self, closes: list[float]) -> asyncio.Future:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._waiting.append((closes, future))
        if len(self._waiting) == 1:
            loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), ROWS_PER_RUN):
            batch = waiting[start : start + ROWS_PER_RUN]
            for quantiles, (_, future) in zip(self._graph(*padded([row for row, _ in batch])), batch, strict=True):
                if not future.done():
                    future.set_result(quantiles)


app = Bare()
