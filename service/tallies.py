"""
Numbers that several processes count at once, in files of prometheus-client's multi-process form.

Each process writes files of its own, mapped into memory, so that one that is killed loses no count; whoever is asked
adds up all files of the folder. prometheus-client's own counters ask for the process id and look up a key each time,
and want the folder in the environment before they are imported. Here a count is one addition in mapped memory and the
folder an argument; what makes, reads and adds up the files is prometheus-client's.
"""

import fcntl
import os
import shutil
import tempfile
import threading
import weakref
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from prometheus_client import Metric
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.utils import floatToGoString

MOST_CHILDREN = 500
"""Label sets that one metric keeps; what comes after them counts as `other`, so that no caller can fill the memory."""
OTHER = "other"
_ALIVE = ".alive"

Labels = tuple[str, ...]
Gathering = Literal["livesum", "livemin", "livemax"]


class Definition(NamedTuple):
    """
    A metric as it is documented.

    Attributes:
        name: With its unit, as Prometheus wants names.
        kind: `counter`, `gauge` or `histogram`.
        labels: Names of its labels.
        help: What it says, in a line.
        buckets: Upper bounds of a histogram, in its unit.
        gathering: How the values of the processes that live become one gauge.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: Labels
    help: str
    buckets: tuple[float, ...] = ()
    gathering: Gathering = "livesum"


class Sheet:
    """A file of numbers, mapped into memory; `cells[slot]` is one of them. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        # Under its own name once it is whole: prometheus-client cannot read a file that was just created.
        new = path if path.exists() else path.with_suffix(".new")
        self._numbers = MmapedDict(str(new))
        new.rename(path)
        self.cells = self._mapped()

    def slot(self, key: str) -> int:
        """The slot of a number, which is made if it is not there."""
        mapped = self._numbers._m
        self._numbers.read_value(key)
        if self._numbers._m is not mapped:  # the file has grown
            self.cells = self._mapped()
        return int(self._numbers._positions[key]) // self.cells.itemsize

    def close(self) -> None:
        """Let go of the file; its numbers stay in it."""
        self.cells.release()
        self._numbers.close()

    def _mapped(self) -> "memoryview[float]":
        return memoryview(self._numbers._m).cast("d")


class Counter:
    """A number that only grows, or a gauge; one for each set of labels. The caller holds `Tallies.lock`."""

    def __init__(self, sheet: Sheet, definition: Definition) -> None:
        self._sheet = sheet
        self._definition = definition
        self._slots: dict[Labels, int] = {}

    def add(self, labels: Labels = (), amount: float = 1.0) -> None:
        """Add to the number with these labels."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._open(labels)
        self._sheet.cells[slot] += amount

    def set(self, labels: Labels, value: float) -> None:
        """Let the number with these labels be this one; for gauges."""
        slot = self._slots.get(labels)
        if slot is None:
            slot = self._open(labels)
        self._sheet.cells[slot] = value

    @property
    def known(self) -> Iterable[Labels]:
        """The labels that there are."""
        return tuple(self._slots)

    def _open(self, labels: Labels) -> int:
        kept = _bounded(labels, self._slots)
        if kept not in self._slots:
            name = self._definition.name
            self._slots[kept] = self._sheet.slot(_key(self._definition, name, self._definition.labels, kept))
        return self._slots[kept]


class Histogram:
    """Numbers by size; one histogram for each set of labels. The caller holds `Tallies.lock`."""

    def __init__(self, sheet: Sheet, definition: Definition) -> None:
        self._sheet = sheet
        self._definition = definition
        self._bounds = (*definition.buckets, float("inf"))
        self._slots: dict[Labels, tuple[int, Sequence[int]]] = {}

    def add(self, labels: Labels, value: float) -> None:
        """Count a value under these labels."""
        total, buckets = self._slots.get(labels) or self._open(labels)
        cells = self._sheet.cells
        cells[total] += value
        cells[buckets[bisect_left(self._bounds, value)]] += 1.0

    def _open(self, labels: Labels) -> tuple[int, Sequence[int]]:
        kept = _bounded(labels, self._slots)
        if kept not in self._slots:
            each, names = self._definition, self._definition.labels
            total = self._sheet.slot(_key(each, f"{each.name}_sum", names, kept))
            buckets = [
                self._sheet.slot(_key(each, f"{each.name}_bucket", (*names, "le"), (*kept, floatToGoString(bound))))
                for bound in self._bounds
            ]
            self._slots[kept] = (total, buckets)
        return self._slots[kept]


class Tallies:
    """
    The numbers of one process, in a folder that it shares with others. At most one in a process for each folder.

    Attributes:
        folder: Where the files are.
        lock: Held by whoever counts.
    """

    def __init__(self, folder: Path | None = None) -> None:
        """
        Take a place in a folder; in one of its own, gone with it, unless told otherwise.

        It belongs to the process that made it: make one in each, after it was started.
        """
        self.folder = folder or Path(tempfile.mkdtemp(prefix="nextday-metrics-"))
        self.lock = threading.Lock()
        mark_process_dead(os.getpid(), str(self.folder))  # a process of this number may have been here before
        self._sheets: dict[str, Sheet] = {}
        alive = _hold(self.folder / f"{os.getpid()}{_ALIVE}")
        leave = weakref.finalize(self, _leave, self._sheets, alive, None if folder else self.folder)
        leave.atexit = folder is None  # a process that ends lets go by itself, and may count to its last moment

    def counter(self, definition: Definition) -> Counter:
        """A counter, at zero where it has no labels."""
        return self._begun(Counter(self._sheet("counter"), definition), definition)

    def gauge(self, definition: Definition) -> Counter:
        """A gauge, which goes with the process."""
        return self._begun(Counter(self._sheet(f"gauge_{definition.gathering}"), definition), definition)

    def histogram(self, definition: Definition) -> Histogram:
        """A histogram, empty where it has no labels."""
        histogram = Histogram(self._sheet("histogram"), definition)
        if not definition.labels:
            histogram._open(())
        return histogram

    def collect(self) -> Iterator[Metric]:
        """The numbers of all processes that are or were: of those that died, all but their gauges."""
        self._bury()
        yield from MultiProcessCollector(None, str(self.folder)).collect()

    def _bury(self) -> None:
        """Drop the gauges of processes that are gone, however they went: the lock on its file ends with a process."""
        for path in self.folder.glob(f"*{_ALIVE}"):
            if path.stem == str(os.getpid()):
                continue
            try:
                with path.open() as file:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    mark_process_dead(int(path.stem), str(self.folder))
                    path.unlink(missing_ok=True)
            except (BlockingIOError, FileNotFoundError):
                continue  # it lives, or someone else has buried it

    def _sheet(self, kind: str) -> Sheet:
        if kind not in self._sheets:
            self._sheets[kind] = Sheet(self.folder / f"{kind}_{os.getpid()}.db")
        return self._sheets[kind]

    @staticmethod
    def _begun(counter: Counter, definition: Definition) -> Counter:
        if not definition.labels:
            counter.add((), 0.0)
        return counter


def _key(definition: Definition, sample: str, names: Labels, values: Labels) -> str:
    name = definition.name.removesuffix("_total") if definition.kind == "counter" else definition.name
    return str(mmap_key(name, sample, list(names), list(values), definition.help))


def _bounded(labels: Labels, known: Sequence[Labels] | dict[Labels, Any]) -> Labels:
    return labels if len(known) < MOST_CHILDREN else tuple(OTHER for _ in labels)


def _hold(path: Path) -> int:
    """A descriptor that keeps a file locked for as long as this process lives; the file is there once it is locked."""
    new = path.with_suffix(".new")
    descriptor = os.open(new, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    new.rename(path)
    return descriptor


def _leave(sheets: dict[str, Sheet], alive: int, folder: Path | None) -> None:
    for sheet in sheets.values():
        sheet.close()
    os.close(alive)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)
