"""The models of a folder, ``<root>/<name>/<version>/``: list them, load them once, hand them out."""

import logging
import threading
from pathlib import Path

from models.bundle import Card, names, read_card, versions
from models.errors import ModelError, UnknownModel
from models.execution import Device
from models.forecaster import Forecaster, Ran
from models.walk import Walk

DEFAULT_MODEL = "lstm"

log = logging.getLogger(__name__)


class Repository:
    """
    Forecasters by name and version, each made on first use and kept. Thread-safe.

    The newest version of a model serves unless another is asked for.
    """

    def __init__(
        self, root: Path, *, device: Device = "cpu", device_id: int = 0, threads: int = 1, ran: Ran | None = None
    ) -> None:
        self.root = root
        self._ran = ran
        self._device, self._device_id, self._threads = device, device_id, threads
        self._ready: dict[tuple[str, int | None], Forecaster] = {}
        self._walks: dict[tuple[str, int], Walk] = {}
        self._loading = threading.Lock()

    def names(self) -> list[str]:
        """Models that have at least one version, in alphabetical order."""
        return names(self.root)

    @property
    def ready(self) -> set[tuple[str, int]]:
        """Names and versions of the models that are ready in this process."""
        return {(name, version) for name, version in tuple(self._ready) if version is not None}

    def versions(self, name: str) -> list[int]:
        """
        Versions of a model, oldest first.

        Raises:
            UnknownModel: There is none of that name.
        """
        if name not in self.names():
            raise UnknownModel(name=name, version=None, known=self.names())
        return versions(self.root / name)

    def card(self, name: str, version: int | None = None) -> Card:
        """The card of a model, the version that serves unless told otherwise; errors as for `get`."""
        if serving := self._ready.get((name, version)):
            return serving.card
        return read_card(self.root / name / str(self._resolve(name, version)))

    def get(self, name: str = DEFAULT_MODEL, version: int | None = None) -> Forecaster:
        """
        A model that is ready, the newest version unless told otherwise.

        Raises:
            UnknownModel: There is no such model or version.
            BundleError: It is there, and not what its card says.
            ProviderUnavailable: The device asked for did not load.
        """
        if ready := self._ready.get((name, version)):
            return ready
        with self._loading:
            number = self._resolve(name, version)
            if (name, number) not in self._ready:
                self._ready[name, number] = self._load(name, number)
            # What "the newest" means is settled on first use, so that no answer changes under a running process.
            return self._ready.setdefault((name, version), self._ready[name, number])

    def walk(self, name: str, version: int) -> Walk:
        """
        The every-day graph of a model that is ready, opened on first use, on the same device; errors as for `get`.

        Args:
            name: Of the model.
            version: That `get` gave.
        """
        key = (name, version)
        if key not in self._walks:
            with self._loading:
                if key not in self._walks:
                    path = self.root / name / str(version)
                    self._walks[key] = Walk.open(
                        path, device=self._device, device_id=self._device_id, threads=self._threads
                    )
        return self._walks[key]

    def load_newest(self) -> dict[str, str]:
        """
        Make the newest version of every model ready, as a process does when it starts.

        Returns:
            Why, for each model that is not ready.
        """
        missing = {}
        for name in self.names() or [DEFAULT_MODEL]:
            try:
                self.get(name)
            except (ModelError, UnknownModel) as error:
                log.error("model %s is not ready: %s", name, error)
                missing[name] = str(error)
        return missing

    def _resolve(self, name: str, version: int | None) -> int:
        known = self.versions(name)
        if version is None:
            return known[-1]
        if version not in known:
            raise UnknownModel(name=name, version=version, known=[f"{name} version {each}" for each in known])
        return version

    def _load(self, name: str, version: int) -> Forecaster:
        path = self.root / name / str(version)
        forecaster = Forecaster.load(path, device=self._device, device_id=self._device_id, threads=self._threads)
        forecaster.ran = self._ran
        return forecaster
