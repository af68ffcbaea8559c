"""Callers that ask for forecasts without end, each on a connection that it keeps."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from urllib.parse import urlsplit

from tests.faults.wire import SERIES
from tests.integration.server_process import DEADLINE_S

HEADERS = {"Content-Type": "application/json"}
PAUSE_S = 0.01
"""Between two requests of a caller: the load is to be there all the time, not to be all that there is time for."""


class Load:
    """What became of the requests of all callers."""

    def __init__(self, url: str, wanted: bytes) -> None:
        self.outcomes: Counter[str] = Counter()
        self._where = urlsplit(url).netloc
        self._wanted = wanted
        self._over = threading.Event()
        self._lock = threading.Lock()

    @property
    def asked(self) -> int:
        with self._lock:
            return self.outcomes.total()

    def end(self) -> None:
        self._over.set()

    def wait_for(self, more: int) -> None:
        """Until so many more requests have been answered."""
        wanted, deadline = self.asked + more, time.monotonic() + DEADLINE_S
        while self.asked < wanted:
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def ask_until_the_end(self) -> None:
        with closing(http.client.HTTPConnection(self._where, timeout=DEADLINE_S)) as connection:
            while not self._over.wait(PAUSE_S):
                outcome = self._ask(connection)
                with self._lock:
                    self.outcomes[outcome] += 1

    def _ask(self, connection: http.client.HTTPConnection) -> str:
        try:
            connection.request("POST", "/v1/forecasts", SERIES, HEADERS)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return repr(error)
        if answer.status != 200:
            return f"{answer.status} {content[:200]!r}"
        return "right" if content == self._wanted else f"wrong: {content[:200]!r}"


@contextmanager
def load(url: str, wanted: bytes, *, callers: int = 8) -> Iterator[Load]:
    """Load on an address for as long as the block runs; `wanted` is the right answer."""
    running = Load(url, wanted)
    threads = [threading.Thread(target=running.ask_until_the_end) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield running
    finally:
        running.end()
        for thread in threads:
            thread.join()
