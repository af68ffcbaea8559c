"""
The life cycle of models in a service: which versions serve, the same in all of its processes.

A change is written to the file of wishes, followed here at once, and by the other processes when their watchers see it;
whoever asked for it is answered once all follow.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from models.errors import ModelError, UnknownModel
from models.repository import Repository
from models.wanted import Wish
from service.errors import ModelNotFound, VersionRefused
from service.heartbeats import Heartbeat
from service.wishes import Wishes

TICK_S = 0.2
"""Seconds between two looks at the file of wishes."""
BEAT_S = 1.0
"""Seconds between two signs of life where nothing changes."""
FOLLOW_S = 5.0
"""Seconds that the other processes have to follow a change before its caller is answered without them."""
_POLL_S = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Applied:
    """
    How far a change has come.

    Attributes:
        generation: Its number, counted over all changes of the service.
        processes: How many processes of the service follow it.
        behind: How many live and do not as yet.
    """

    generation: int
    processes: int
    behind: int


class Lifecycle:
    """Load, unload and switch models, in every process of a service. Thread-safe."""

    def __init__(
        self, models: Repository, state: Path, *, watch_s: float, seen: Callable[[], None] = lambda: None
    ) -> None:
        """
        Touch nothing yet.

        Args:
            models: Of this process.
            state: Folder that the processes of the service share.
            watch_s: Seconds between two looks for new versions; 0 looks never.
            seen: Called by the watcher with each sign of life, for those who tell what serves.
        """
        self._models = models
        self._seen = seen
        self._wishes = Wishes(state)
        self._heartbeat = Heartbeat(state)
        self._watch_s = watch_s
        self._stale_s = FOLLOW_S + watch_s
        self._beaten = (-1, 0.0)
        self._looked_s = time.monotonic()
        self._troubles: set[str] = set()
        self._stop = threading.Event()

    def join(self) -> None:
        """Come forward as a process of the service and follow its wishes; to be called before models are loaded."""
        self._guarded(self._beat)
        self._guarded(self._heartbeat.sweep)
        self._guarded(self._follow)

    def watch(self) -> None:
        """Look for wishes and new versions from now on, in a thread of its own."""
        threading.Thread(target=self._watch, name="watcher", daemon=True).start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()

    def state(self, name: str) -> dict[str, Any]:
        """
        What is wanted of a model, and its versions in this process.

        Raises:
            ModelNotFound: There is none of that name.
        """
        wish = self._models.wanted.of(name)
        try:
            states = self._models.states(name)
        except UnknownModel as error:
            raise ModelNotFound(str(error)) from error
        return {
            "name": name,
            "pinned": wish.pinned,
            "unloaded": wish.unloaded,
            "serving": self._models.serving(name),
            "states": states,
        }

    def serve(self, name: str, version: int | None) -> Applied:
        """
        Let a version of a model serve, loading the model if need be.

        Args:
            name: Of the model.
            version: That is pinned, and made ready first; None follows the newest one again.

        Raises:
            ModelNotFound: There is no such model.
            UnknownModel: There is no such version.
            VersionRefused: The version is not what its card says; nothing has changed.
            StateUnavailable: The wish cannot be written; nothing has changed.
        """
        self.state(name)
        if version is not None:
            self._prepare(name, version)
        return self._change(name, lambda _: Wish(pinned=version))

    def load(self, name: str) -> Applied:
        """
        Let a model serve again and look for a new version of it now.

        Raises:
            ModelNotFound: There is no such model.
            VersionRefused: The version that was to serve must not; an older one goes on, loaded again if need be.
            StateUnavailable: The wish cannot be written; nothing has changed.
        """
        self.state(name)
        applied = self._change(name, lambda wish: Wish(pinned=wish.pinned))
        self._prepare(name, None)
        return applied

    def unload(self, name: str) -> Applied:
        """
        Let nothing of a model serve.

        Raises:
            ModelNotFound: There is no such model.
            StateUnavailable: The wish cannot be written; nothing has changed.
        """
        self.state(name)
        return self._change(name, lambda wish: Wish(pinned=wish.pinned, unloaded=True))

    def _prepare(self, name: str, version: int | None) -> None:
        try:
            self._models.prepare(name, version)
        except ModelError as error:
            raise VersionRefused(name=name, reason=error.reason, serving=self._models.serving(name)) from error

    def _change(self, name: str, alter: Callable[[Wish], Wish]) -> Applied:
        """Write a wish, follow it here, and wait until the others do."""
        followed = [beat.generation for beat in self._heartbeat.others()]
        wanted = self._wishes.change(name, alter, after=max(followed, default=0))
        self._models.want(wanted)
        deadline = time.monotonic() + FOLLOW_S
        while True:
            others = self._heartbeat.others()
            behind = [beat for beat in others if beat.generation < wanted.generation]
            if time.monotonic() > deadline or not any(beat.is_fresh(self._stale_s) for beat in behind):
                return Applied(wanted.generation, 1 + len(others) - len(behind), len(behind))
            time.sleep(_POLL_S)

    def _watch(self) -> None:
        while not self._stop.wait(TICK_S):
            self._guarded(self._follow)
            if self._watch_s and time.monotonic() - self._looked_s >= self._watch_s:
                self._guarded(self._models.refresh)
                self._looked_s = time.monotonic()
            self._guarded(self._beat)
        self._heartbeat.end()

    def _follow(self) -> None:
        self._models.want(self._wishes.read())

    def _beat(self) -> None:
        generation, now_s = self._models.wanted.generation, time.monotonic()
        if generation != self._beaten[0] or now_s - self._beaten[1] >= BEAT_S:
            self._heartbeat.beat(generation)
            self._beaten = (generation, now_s)
            self._seen()

    def _guarded(self, step: Callable[[], None]) -> None:
        """Take a step that must not end the watcher; what goes wrong is logged once."""
        try:
            step()
        except Exception as error:
            trouble = f"{type(error).__name__}: {error}"
            if trouble not in self._troubles:
                self._troubles.add(trouble)
                log.exception("the watcher of the models goes on, but: %s", trouble)
