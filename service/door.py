"""
The front door: every request comes in here, on the event loop of its process, as granian's RSGI hands it over.

The busiest routes are answered on the loop: decoded, checked, run with whatever waits beside them, encoded, by the
functions that Flask's routes use. Everything else goes to Flask in a thread, once its body is there and whole, so that
no caller who is slow holds a thread. What is too much is turned away before it is read.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from io import BytesIO
from typing import IO, ParamSpec, TypeVar

from flask import Flask
from granian._granian import RSGIHeaders as Headers
from granian._granian import RSGIHTTPProtocol as HTTPProtocol
from granian.rsgi import Scope

from models.repository import NotAtHand
from service.admission import Admission, Caller
from service.bodies import announced_bytes
from service.bridge import Called, File, call, environment
from service.busy import LARGE_AT_ONCE, BusyRoute, BusyRoutes
from service.cors import cors_headers, parse_origins
from service.dispatch import EXCHANGE
from service.drain import LOOK_S, Drain
from service.errors import PROTOCOL, Forbidden, Overloaded, RateLimited
from service.exchange import Answer, Exchange
from service.gate import CALLER
from service.gather import Gathering, Ran
from service.health import HEALTH
from service.incoming import LARGE_BYTES, Incoming
from service.observers import Observers
from service.patience import Patience
from service.problems import answer_to
from service.room import NarrowingRoom, Room
from service.settings import ServiceSettings
from service.spool import Spool
from service.turns import Turns
from service.work import Work
from worker.blobs import Blobs

JOBS = "/v1/jobs"
HEALTH_THREADS = 2
WAITING_A_THREAD = 4
"""Requests that wait for each thread of Flask's, or that draws paths, before more are turned away."""
LARGEST_AT_ONCE = 4
"""Bodies of the largest size that a process keeps on disk at a time; of smaller ones as many more."""
RUNS_AT_ONCE = 1
"""Long runs that a process does beside its loop; it has a core to itself, and runs that share one are slow."""
OPENED_BY_S = 10.0
"""Seconds in which the server has opened a file that it was told to send."""

P = ParamSpec("P")
T = TypeVar("T")


class Door:
    """An RSGI application, for one process and one event loop."""

    def __init__(self, app: Flask, settings: ServiceSettings, drain: Drain) -> None:
        """In front of an app, whose settings these are; `drain` says when the server is about to end."""
        self._observers: Observers = app.extensions["observers"]
        self._app = app.wsgi_app
        self._busy: BusyRoutes = app.extensions["busy"]
        self._admission: Admission = app.extensions["admission"]
        self._origins = parse_origins(settings.cors_origins)
        self._settings = settings
        self._drain = drain
        self._draining = False
        self._turns = Turns()
        self._flask = ThreadPoolExecutor(settings.threads, "flask")
        self._health = ThreadPoolExecutor(HEALTH_THREADS, "health")
        self._large = ThreadPoolExecutor(LARGE_AT_ONCE, "large")
        self._heavy = ThreadPoolExecutor(LARGE_AT_ONCE, "heavy")
        self._runs = ThreadPoolExecutor(RUNS_AT_ONCE, "runs")
        self._room = Room(settings.max_in_flight)
        # Within it, and left again before what takes long, so that it may narrow and still the quick find places.
        self._quick_room = NarrowingRoom(settings.max_in_flight)
        self._no_room = [_no_room(path) for path in ("/v1/forecasts", PROTOCOL)]
        # Each within the room for all, so that those which take seconds leave some for those which take none.
        self._large_room = Room((settings.max_in_flight + 1) // 2)
        self._heavy_room = Room(LARGE_AT_ONCE * (1 + WAITING_A_THREAD))
        self._flask_room = Room(settings.threads * (1 + WAITING_A_THREAD))
        largest_bytes = max(settings.max_job_bytes, settings.max_body_bytes)
        self._spool = Spool(Blobs.of(settings.jobs_url).scratch_folder, most_bytes=LARGEST_AT_ONCE * largest_bytes)
        self._loop: asyncio.AbstractEventLoop
        self._gather: Gathering
        self._patience: Patience

    def __rsgi_init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take the loop that requests will come in on."""
        self._loop = loop
        self._gather = Gathering(loop, self._runs, seen=self._busy.seen)
        self._patience = Patience(loop)
        loop.call_soon(self._busy.never_wait_here)
        self._look()

    def _look(self) -> None:
        self._draining = self._drain.begun
        self._turns.heed(self._gather.requests, self._gather.runs)
        self._quick_room.look()
        self._loop.call_later(LOOK_S, self._look)

    async def __rsgi__(self, scope: Scope, proto: HTTPProtocol) -> None:
        """Answer a request, or say why not."""
        headers = scope.headers  # granian makes them anew for whoever asks
        exchange = Exchange(headers.get("x-request-id", ""), scope.method, scope.path)
        incoming = Incoming(headers, proto, self._patience, self._spool, self._settings)
        route = self._busy.find(exchange.method, exchange.path)
        if route and (self._room.turns_away() or self._quick_room.turns_away()):
            await self._turn_away(route, incoming, exchange, proto)
            return
        self._observers.began()
        try:
            answer = await self._answer(route, scope, incoming, exchange)
        except Exception as error:
            if route and isinstance(error, Overloaded):  # the room has filled while its body came
                await self._turn_away(route, incoming, exchange, proto)
                return
            answer = answer_to(error, exchange)
            if isinstance(error, (Forbidden, RateLimited)):  # of strangers no body is waited for
                await incoming.skip()
        finally:
            self._observers.over()
        if isinstance(answer, Answer):  # Flask's have these already
            answer.headers.extend(exchange.headers())
            answer.headers.extend(cors_headers(headers.get("origin"), self._origins))
        if incoming.unread or self._draining:  # its connection ends: the next request would lie behind the unread body
            answer.headers.append(("connection", "close"))
        sent = self._send(answer, proto)
        if self._observers.traces:
            exchange.trace = headers.get("traceparent", ""), headers.get("tracestate", "")
        told = exchange.answered(answer.status, received=incoming.announced, sent=sent)
        self._observers.answered(exchange.stages, told)

    async def _turn_away(self, route: BusyRoute, incoming: Incoming, exchange: Exchange, proto: HTTPProtocol) -> None:
        """
        Say that there is no room, for as little as can be: what it takes is taken from those who are let in.

        So it is counted and not logged, and comes before keys and limits, which hold for those who are let in.
        """
        await incoming.skip()
        status, fixed, content = self._no_room[exchange.path.startswith(PROTOCOL)]
        headers = [*fixed, *exchange.headers(), *cors_headers(incoming.headers.get("origin"), self._origins)]
        if incoming.unread or self._draining:
            headers.append(("connection", "close"))
        proto.response_bytes(status, headers, content)
        self._observers.turned_away(exchange.stages, route.pattern, exchange.method, status)

    async def _answer(
        self, route: BusyRoute | None, scope: Scope, incoming: Incoming, exchange: Exchange
    ) -> Answer | Called:
        if exchange.method == "OPTIONS":  # perhaps a browser's question beforehand, which has no key: the gate knows
            return await self._answer_behind(scope, BytesIO(), None, exchange)
        client = scope.client.rpartition(":")[0].strip("[]")
        authorization = incoming.headers.get("authorization")
        caller = self._admission.admit(exchange.method, exchange.path, authorization, client)
        exchange.key = caller.key_id
        if route:
            exchange.route = route.pattern
            return await self._answer_busy(route, incoming, exchange)
        return await self._answer_behind(scope, await self._body(scope, incoming), caller, exchange)

    async def _answer_busy(self, route: BusyRoute, incoming: Incoming, exchange: Exchange) -> Answer:
        headers = incoming.headers
        announced = route.admit(headers)
        # A packed body may be a thousand times its size, and its numbers take the loop's time from everyone.
        if announced > LARGE_BYTES or "content-encoding" in headers:
            with await incoming.file(announced) as file, self._room, self._large_room:
                work, ran = await self._in_thread(self._large, self._run_apart, route, headers, file, exchange)
                return await self._finish(self._large, work, ran, exchange)
        body = await incoming.whole(announced)
        with self._room:
            try:
                with self._quick_room:
                    work = self._busy.prepare(route, headers, body, exchange)
                    ran = await self._gather(work.forecaster, work.rows)
            except NotAtHand:  # the others do not wait while a model is looked for and made ready
                with self._flask_room:
                    return await self._in_thread(self._flask, self._busy.answer_alone, route, headers, body, exchange)
            return await self._finish(None, work, ran, exchange)

    async def _finish(self, threads: ThreadPoolExecutor | None, work: Work, ran: Ran, exchange: Exchange) -> Answer:
        """The answer to rows that have run: made on the loop where no threads are given, heavy work in its own."""
        if work.heavy:
            with self._heavy_room:
                return await self._in_thread(self._heavy, self._busy.finish, work, ran, exchange)
        if threads is None:
            return self._busy.finish(work, ran, exchange)
        return await self._in_thread(threads, self._busy.finish, work, ran, exchange)

    def _run_apart(self, route: BusyRoute, headers: Headers, file: IO[bytes], exchange: Exchange) -> tuple[Work, Ran]:
        return self._busy.run_alone(route, headers, file.read(), exchange)

    async def _answer_behind(self, scope: Scope, body: IO[bytes], caller: Caller | None, exchange: Exchange) -> Called:
        """What Flask answers, in a thread."""
        with body:
            environ = environment(scope, body) | {EXCHANGE: exchange, CALLER: caller}
            if scope.path in HEALTH:
                return await self._in_thread(self._health, call, self._app, environ)
            with self._flask_room:
                return await self._in_thread(self._flask, call, self._app, environ)

    async def _in_thread(self, threads: ThreadPoolExecutor, work: Callable[P, T], *given: P.args, **_: P.kwargs) -> T:
        """What work comes to, done in a thread that knows the request's id."""
        return await self._loop.run_in_executor(threads, partial(copy_context().run, work, *given))

    async def _body(self, scope: Scope, incoming: Incoming) -> IO[bytes]:
        """A body as Flask's routes read it; one that they refuse by its headers is left where it is."""
        length = incoming.headers.get("content-length", "")
        if not length or "transfer-encoding" in incoming.headers:
            return BytesIO()
        most = self._settings.max_job_bytes if scope.path == JOBS else self._settings.max_body_bytes
        return await incoming.file(announced_bytes(length, chunked=False, most=most))

    def _send(self, answer: Answer | Called, proto: HTTPProtocol) -> int | None:
        """Hand an answer to the server; gives the length of its body, where that is known."""
        status, headers, body = answer
        if isinstance(body, File):
            path = f"/dev/fd/{body.file.fileno()}"
            if body.size_bytes is None:
                proto.response_file(status, headers, path)
            else:
                proto.response_file_range(status, headers, path, body.begin, body.begin + body.size_bytes)
            self._loop.call_later(OPENED_BY_S, body.close)
            return body.size_bytes
        proto.response_bytes(status, headers, body)
        return len(body)


def _no_room(path: str) -> Answer:
    """What those are answered for whom there is no room, made beforehand."""
    return copy_context().run(lambda: answer_to(Overloaded(), Exchange("", "POST", path)))
