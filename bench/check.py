"""Every server's answers held against onnxruntime itself, before it is timed: one alone, many at once, every length."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import onnxruntime as ort

from bench import questions
from bench.lineup import Peer
from bench.questions import Rows, Wire

TOLERANCE = 2e-6
"""Greatest relative difference: float32 through JSON is exact, and the graph's rows do not depend on each other."""
AT_ONCE, MANY, BINARY = 32, 64, 256
LENGTHS = (60, 250, 1000, 2500)


class WrongAnswer(Exception):
    """An answer that is not the graph's, or none."""


class Truth:
    """The graph, run by onnxruntime in this process, a row at a time."""

    def __init__(self, model: Path) -> None:
        self._session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])

    def __call__(self, rows: Rows) -> np.ndarray:
        """Quantiles of rows of equal length. Shape ``(B, Q)``."""
        return np.concatenate([self._one(row) for row in rows])

    def _one(self, row: list[float]) -> np.ndarray:
        closes, lengths = np.array([row], np.float32), np.array([len(row)], np.int64)
        return self._session.run(["quantiles"], {"closes": closes, "lengths": lengths})[0]


def check(peer: Peer, url: str, truth: Truth) -> None:
    """
    Ask a server all that it will be asked, and more, and compare.

    Series of different lengths are asked at once, each in a request of its own, since a server that runs requests
    together may mix them up or pad them wrongly.

    Raises:
        WrongAnswer: An answer differs, or a request fails.
    """
    if not peer.forecasts:
        return
    # A pool that keeps fewer connections than are used at once closes some that a thread has just been given.
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    with httpx.Client(base_url=url, timeout=30, limits=limits) as client, ThreadPoolExecutor(AT_ONCE) as pool:
        for wire, rows in _questions(peer):
            _compare(client, wire, rows, truth)
        together = [(client, peer.one, [row], truth) for row in questions.ragged(4 * AT_ONCE)]
        list(pool.map(lambda each: _compare(*each), together))


def _questions(peer: Peer) -> Iterator[tuple[Wire, Rows]]:
    for days in LENGTHS:
        yield peer.one, questions.closes(1, days)
    if peer.many:
        yield peer.many, questions.closes(MANY, 60)
    if peer.binary:
        yield peer.binary, questions.closes(BINARY, 60)


def _compare(client: httpx.Client, wire: Wire, rows: Rows, truth: Truth) -> None:
    """Ask once, and compare."""
    about = f"{len(rows)} x {len(rows[0])} closes"
    try:
        answer = client.post(wire.path, content=wire.body(rows), headers=wire.headers(rows))
    except httpx.TransportError as error:
        raise WrongAnswer(f"{about}: no answer ({type(error).__name__})") from error
    if answer.status_code != 200:
        raise WrongAnswer(f"{about}: {answer.status_code} {answer.text[:200]}")
    wanted = truth(rows)
    try:
        found = wire.quantiles(answer.content)
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise WrongAnswer(f"{about}: unreadable ({error}): {answer.text[:200]}") from error
    if found.shape != wanted.shape:
        raise WrongAnswer(f"{about}: shape {found.shape}, wanted {wanted.shape}")
    worst = float(np.max(np.abs(found - wanted) / wanted))
    if not worst <= TOLERANCE:
        raise WrongAnswer(f"{about}: off by {worst:.2g}, relatively")
