"""
The models of a folder, ``<root>/<name>/<version>/``: which versions serve, made ready beside those that do.

Of each model the newest version serves that can be made ready, unless an operator has pinned another or unloaded it.
A version is verified, warmed and checked in full before it is handed out; then it takes over in one assignment.
"""

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from models.bounds import DEFAULT_MODEL
from models.bundle import Card, names, read_bundle, read_card, versions
from models.errors import BundleError, ModelError, ModelUnloaded, UnknownModel
from models.execution import Device
from models.forecaster import Forecaster, Ran
from models.refusals import Refusals, files_of
from models.wanted import Wanted

KEPT_VERSIONS = 4
"""Versions of a model that stay in memory: the one that serves, and those made ready last."""
NOT_LOADED = "not loaded yet; it is on first use"

log = logging.getLogger(__name__)


class NotAtHand(Exception):
    """What was asked for is not ready, and the thread that asked must not wait for it; another one may ask again."""


@dataclass(frozen=True, slots=True)
class State:
    """
    A version of a model in this process.

    Attributes:
        version: Its number.
        state: Whether it is ready; what is not yet, is on first use, unless the reason says otherwise.
        reason: Why it is not ready, in words that name no folder of this machine.
    """

    version: int
    state: str
    reason: str


class Repository:
    """
    Forecasters by name and version. Thread-safe: what is ready is found without a lock, and never waits for a load.

    Attributes:
        root: The folder.
    """

    def __init__(
        self,
        root: Path,
        *,
        device: Device = "cpu",
        device_id: int = 0,
        threads: int = 1,
        in_bulk: bool = False,
        ran: Ran | None = None,
    ) -> None:
        self.root = root
        self._ran = ran
        self._device, self._device_id, self._threads, self._in_bulk = device, device_id, threads, in_bulk
        self._ready: dict[tuple[str, int | None], Forecaster] = {}
        """What can be handed out; under a version of None the one that serves."""
        self._wanted = Wanted()
        self._refusals = Refusals()
        self._expected: set[str] = set()
        """Models that the process is not ready without: there when it began, or served since."""
        self._changing = threading.RLock()
        self._hurried: int | None = None

    @property
    def refusals(self) -> Counter[str]:
        """How many versions were refused since the process began, by model."""
        return self._refusals.counts

    @property
    def ready(self) -> set[tuple[str, int]]:
        """Names and versions of the models that are ready in this process."""
        return {(name, version) for name, version in tuple(self._ready) if version is not None}

    def forecasters(self) -> list[Forecaster]:
        """Those that are ready in this process, each version once, by name and version."""
        found = [self.at_hand(name, version) for name, version in sorted(self.ready)]
        return [each for each in found if each]

    def names(self) -> list[str]:
        """Models that have at least one version, on disk or in memory, in alphabetical order."""
        return sorted({*names(self.root), *(name for name, _ in tuple(self._ready))})

    def versions(self, name: str) -> list[int]:
        """
        Versions of a model, on disk or in memory, oldest first.

        Raises:
            UnknownModel: There is none of that name.
        """
        if name not in (known := self.names()):
            raise UnknownModel(name=name, version=None, known=known)
        in_memory = {version for each, version in self.ready if each == name}
        return sorted(in_memory.union(versions(self.root / name)))

    def card(self, name: str, version: int | None = None) -> Card:
        """
        The card of a model: of the version that serves, or the newest one that can be read, unless told otherwise.

        Raises:
            UnknownModel: There is no such model or version.
            BundleError: It cannot be read.
        """
        if ready := self._ready.get((name, version)):
            return ready.card
        if version is not None:
            self._check_known(name, version)
            return read_card(self.root / name / str(version))
        refused = []
        for number in self._candidates(name):
            try:
                return read_card(self.root / name / str(number))
            except BundleError as error:
                refused.append(error)
        raise refused[0] if refused else UnknownModel(name=name, version=None, known=self.names())

    def at_hand(self, name: str = DEFAULT_MODEL, version: int | None = None) -> Forecaster | None:
        """What `get` returns where that is ready, at once; None where `get` would have to look or to load."""
        return self._ready.get((name, version))

    def get(self, name: str = DEFAULT_MODEL, version: int | None = None) -> Forecaster:
        """
        A model that is ready: the version that serves, or the one named, made ready if need be.

        Raises:
            UnknownModel: There is no such model or version.
            ModelUnloaded: An operator has unloaded it.
            BundleError: It is there, and not what its card says.
            ProviderUnavailable: The device asked for did not load.
            NotAtHand: It is not ready, and this thread must not wait.
        """
        if ready := self._ready.get((name, version)):
            return ready
        if threading.get_ident() == self._hurried:
            raise NotAtHand
        with self._changing:
            self._check_known(name, version)
            if self._wanted.of(name).unloaded:
                raise ModelUnloaded(name=name)
            return self._serve(name) if version is None else self._made(name, version)

    def never_wait_here(self) -> None:
        """Let `get` raise `NotAtHand` in this thread where it would wait for a lock, a disk or a load."""
        self._hurried = threading.get_ident()

    def serving(self, name: str) -> int | None:
        """The version of a model that serves."""
        ready = self._ready.get((name, None))
        return ready.card.version if ready else None

    def states(self, name: str) -> list[State]:
        """The versions of a model, oldest first; errors as for `versions`."""
        unloaded = "unloaded" if self._wanted.of(name).unloaded else None
        states = []
        for number in self.versions(name):
            if (name, number) in self._ready:
                states.append(State(number, "READY", ""))
            else:
                reason = unloaded or self._refusals.reason(name, number) or NOT_LOADED
                states.append(State(number, "UNAVAILABLE", reason))
        return states

    def load_newest(self) -> dict[str, str]:
        """
        Make a version of each model ready, as a process does when it starts; what has one is left as it is.

        Returns:
            Why, for each model that has no version that serves though it should. A model that came later and has not
            served yet is none of them.
        """
        self._expected = self._expected or set(self.names())
        if not self._expected:
            return {DEFAULT_MODEL: str(UnknownModel(name=DEFAULT_MODEL, version=None, known=[]))}
        missing = {}
        for name in sorted(self._expected):
            try:
                self.get(name)
            except ModelUnloaded:
                continue
            except ModelError as error:
                missing[name] = f"refused: {error.reason}" if isinstance(error, BundleError) else error.reason
            except UnknownModel:  # its folder is gone, and it never served
                self._expected.discard(name)
        return missing

    def refresh(self) -> None:
        """Look at the folder: take new versions that can be made ready, and leave those that are gone."""
        with self._changing:
            for name in self.names():
                if not self._wanted.of(name).unloaded:
                    self._advance(name)

    def want(self, wanted: Wanted) -> None:
        """Follow what an operator wants, unless something newer has been followed already."""
        with self._changing:
            if wanted.generation <= self._wanted.generation:
                return
            before, self._wanted = self._wanted, wanted
            for name, wish in wanted.models.items():
                if wish.unloaded:
                    self._drop(name)
                elif wish != before.of(name) and name in self.names():
                    self._advance(name)

    @property
    def wanted(self) -> Wanted:
        """What an operator wants, as it is followed here."""
        return self._wanted

    def prepare(self, name: str, version: int | None = None) -> None:
        """
        Look now whether a version can serve, and wait for none of its files.

        Args:
            name: Of the model.
            version: Of the model; None for the best one, which then does serve: the pinned, or else the newest.

        Raises:
            UnknownModel: There is no such model or version.
            ModelError: It is refused.
        """
        with self._changing:
            self._check_known(name, version)
            self._made(name, self._candidates(name)[0] if version is None else version, at_once=True)
            if self._wanted.of(name).unloaded:
                self._drop(name)
            elif version is None:
                self._advance(name)

    def _check_known(self, name: str, version: int | None) -> None:
        known = self.versions(name)
        if version is not None and version not in known:
            raise UnknownModel(name=name, version=version, known=[f"{name} version {each}" for each in known])

    def _candidates(self, name: str) -> list[int]:
        """Versions that may serve, the best one first; of a model whose folder is gone, the one that does."""
        pinned, serving = self._wanted.of(name).pinned, self.serving(name)
        if pinned is not None:
            return [pinned]
        return versions(self.root / name)[::-1] or ([] if serving is None else [serving])

    def _serve(self, name: str) -> Forecaster:
        """The version that serves once the best that can be made ready does; raises why the best one cannot."""
        error = self._advance(name)
        if serving := self._ready.get((name, None)):
            return serving
        raise error or UnknownModel(name=name, version=None, known=self.names())

    def _advance(self, name: str) -> ModelError | None:
        """Let the best version serve that can be made ready; gives why the best of all cannot, where it cannot."""
        first_error = None
        candidates = self._candidates(name)
        self._refusals.keep(name, {*candidates, *self.versions(name)})
        for number in candidates:
            if number == self.serving(name):
                break
            try:
                self._switch(name, self._made(name, number))
                break
            except ModelError as error:
                first_error = first_error or error
        self._leave(name)
        return first_error

    def _leave(self, name: str) -> None:
        """Hand out no version whose folder is gone, but the one that serves."""
        on_disk = versions(self.root / name)
        for each, number in tuple(self._ready):
            if each == name and number is not None and number not in (*on_disk, self.serving(name)):
                del self._ready[each, number]

    def _switch(self, name: str, forecaster: Forecaster) -> None:
        before, card = self.serving(name), forecaster.card
        self._ready[name, None] = forecaster
        self._expected.add(name)
        log.info(
            "model %s: version %d serves on %s%s",
            name,
            card.version,
            forecaster.provider,
            "" if before is None else f", after version {before}",
            extra={"facts": {"digest": card.digest}},
        )

    def _made(self, name: str, version: int, *, at_once: bool = False) -> Forecaster:
        """A version, made ready unless it is; what was refused is tried again when its files have changed."""
        if ready := self._ready.get((name, version)):
            return ready
        files = files_of(self.root / name / str(version))
        if not at_once and (standing := self._refusals.standing(name, version, files)):
            raise standing
        try:
            forecaster = self._load(name, version)
        except ModelError as error:
            self._refusals.note(name, version, files, error, at_once=at_once)
            raise
        self._refusals.forget(name, version)
        self._keep(name, version, forecaster)
        return forecaster

    def _load(self, name: str, version: int) -> Forecaster:
        path = self.root / name / str(version)
        bundle = read_bundle(path)
        if (bundle.card.name, bundle.card.version) != (name, version):
            found = f"{bundle.card.name} version {bundle.card.version}"
            raise BundleError(path=path, reason=f"its card is that of {found}, and it lies where {name} {version} does")
        forecaster = Forecaster(
            bundle, device=self._device, device_id=self._device_id, threads=self._threads, in_bulk=self._in_bulk
        )
        forecaster.ran = self._ran
        forecaster.lost = self._lose
        return forecaster

    def _lose(self, forecaster: Forecaster, error: ModelError) -> None:
        """Hand out no more what has lost its device; it is made ready again once that can be done, from the start."""
        name, version = forecaster.card.name, forecaster.card.version
        with self._changing:
            for key in [key for key, ready in self._ready.items() if ready is forecaster]:
                del self._ready[key]
            self._refusals.note(name, version, files_of(self.root / name / str(version)), error, at_once=True)

    def _keep(self, name: str, version: int, forecaster: Forecaster) -> None:
        """Hand a version out from now on, and no longer those that are too many."""
        self._ready[name, version] = forecaster
        kept = [number for each, number in self._ready if each == name and number is not None]
        spare = [number for number in kept if number not in (version, self.serving(name))]
        for number in spare[: max(0, len(kept) - KEPT_VERSIONS)]:
            del self._ready[name, number]

    def _drop(self, name: str) -> None:
        """Hand out nothing of a model; its memory is free once the last request is done."""
        if self._ready.pop((name, None), None):
            log.info("model %s is unloaded", name)
        for key in [key for key in self._ready if key[0] == name]:
            del self._ready[key]
