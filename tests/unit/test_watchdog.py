"""When a worker is taken for wedged, and when it is not."""

import pytest

from worker.ledger import Swept
from worker.watchdog import Watchdog

WAITS, IDLE, NO_MESSAGE = Swept(0, 3, 3, []), Swept(0, 0, 0, []), Swept(3, 3, 0, [])


class Time:
    """A clock that tests put forward."""

    def __init__(self) -> None:
        self.now = self.moved_at = 0.0
        self.ended_at: float | None = None

    def watchdog(self) -> Watchdog:
        return Watchdog(lambda: self.moved_at, after_s=30, end=self._end, clock=lambda: self.now)

    def _end(self) -> None:
        self.ended_at = self.now


@pytest.mark.parametrize(
    ("sweeps", "ended_at"),
    [
        ([(at, WAITS, 0) for at in range(2, 60, 2)], 30),
        ([(at, WAITS, at - 29) for at in range(2, 100, 2)], None),
        ([(at, WAITS, 20) for at in range(2, 100, 2)], 50),
        ([(at, IDLE, 0) for at in range(2, 100, 2)], None),
        ([(at, NO_MESSAGE, 0) for at in range(2, 100, 2)], None),
        ([(at, IDLE if at < 50 else WAITS, 0) for at in range(2, 100, 2)], 78),
        ([(2, WAITS, 0), (20, WAITS, 0), (38, WAITS, 0), (56, WAITS, 0)], None),
        ([(at, WAITS, 0) for at in (*range(2, 20, 2), *range(300, 400, 2))], 330),
    ],
    ids=[
        "messages wait and nothing moves",
        "each chunk takes 29 s",
        "it moved once",
        "there is no work",
        "there is no message",
        "work came late",
        "Redis answers now and then",
        "Redis was away and came back",
    ],
)
def test_a_worker_is_wedged_if_messages_wait_and_nothing_moves_for_as_long(
    sweeps: list[tuple[float, Swept, float]], ended_at: float | None
) -> None:
    time = Time()
    watchdog = time.watchdog()

    for now, swept, moved_at in sweeps:
        time.now, time.moved_at = now, moved_at
        watchdog.look(swept)
        if time.ended_at is not None:
            break

    assert time.ended_at == ended_at
