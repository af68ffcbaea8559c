"""How long bodies are waited for: a look now and then at all that are awaited, since a timer for each costs more."""

import asyncio
import time

LOOK_S = 0.5


class Patience:
    """The tasks of an event loop that wait for a body, each until a time of its own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch from now on."""
        self._loop = loop
        self._until: dict[asyncio.Task[object], float] = {}
        self._look()

    def begin(self, seconds: float) -> "asyncio.Task[object]":
        """Let the current task wait that long; then it is cancelled. Gives what `end` takes."""
        task = asyncio.current_task(self._loop)
        assert task is not None  # noqa: S101 - only tasks wait
        self._until[task] = time.monotonic() + seconds
        return task

    def prolong(self, seconds: float, *, most_s: float) -> None:
        """Let the current task, if it waits, wait longer by some seconds, but from now on no longer than so many."""
        if (task := asyncio.current_task(self._loop)) in self._until:
            self._until[task] = min(self._until[task] + seconds, time.monotonic() + most_s)

    def end(self, task: "asyncio.Task[object]") -> bool:
        """Say that a task waits no longer; gives whether it was cancelled for it."""
        return self._until.pop(task, None) is None

    def _look(self) -> None:
        now = time.monotonic()
        for task in [task for task, until in self._until.items() if until < now]:
            del self._until[task]
            task.cancel()
        self._loop.call_later(LOOK_S, self._look)
