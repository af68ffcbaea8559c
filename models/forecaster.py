"""A bundle behind onnxruntime: ragged closes in, quantiles of the next close out. Knows no torch."""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from models.bounds import MAX_DAYS
from models.bundle import Bundle, Card, read_bundle
from models.errors import BundleError, EmptyRequest, InvalidSeries, ModelError, ProviderUnavailable, SeriesFault
from models.execution import CPU, Device, InTurns, Session, Sessions, in_short, open_session, provider_of
from models.gates import Gates
from models.ragged import Floats, Ints, Ragged, faults
from models.runs import ON_CPU, ON_GPU, batches
from models.walk import Walk

WARM_UP_ROWS, WARM_UP_DAYS = (1, 8, 64), (2, 60, 250)
"""Of the runs that serving makes, from a single short row to a full run of a year."""
GOLDEN_TOLERANCE = 2e-5
"""Greatest relative difference from PyTorch's own answers; processors differ by less than a tenth of it."""

_INPUTS = {"closes": ("tensor(float)", 2), "lengths": ("tensor(int64)", 1)}
_OUTPUTS = {"quantiles": ("tensor(float)", 2)}
_TYPES = {"float32": "tensor(float)", "int64": "tensor(int64)"}
"""What onnxruntime calls the datatypes of cards."""


class Ran(Protocol):
    """Who is told of each run that answers somebody; from any thread, and at once."""

    def __call__(self, model: str, version: int, rows: int, cells: int, real_days: int, seconds: float) -> None:
        """
        A run has ended.

        Args:
            model: The model's name.
            version: Its version.
            rows: Rows of the run.
            cells: Days of the run, its padding included.
            real_days: Days that are no padding.
            seconds: What it took.
        """


class Forecaster:
    """
    A model that is ready: verified, warmed and checked against its golden samples.

    Thread-safe. Belongs to the process that made it: a session that crosses a fork hangs or crashes.

    Attributes:
        card: Of its bundle.
        provider: The execution provider that runs it.
        bounds: Of a run there.
        ran: Who is told of its runs, if anybody.
        lost: Who is told when its device fails, if anybody.
        walk: The same weights' every-day graph, as ready as the forecaster. It runs on the CPU whatever the forecaster
            runs on: people ask for it a series at a time, which on a GPU takes longer.
    """

    def __init__(
        self, bundle: Bundle, *, device: Device = "cpu", device_id: int = 0, threads: int = 1, in_bulk: bool = False
    ) -> None:
        """
        Make the bundle ready; its own trial runs are told to nobody.

        Args:
            bundle: Read and verified.
            device: As for `models.execution.open_session`, and so the next two.
            device_id: Which of several GPUs.
            threads: Of onnxruntime within one run.
            in_bulk: Whether threads run it all the time, so that each had better keep the memory of its runs.

        Raises:
            BundleError: The graph is not what the card says, or does not answer as it did when exported.
            ProviderUnavailable: The device asked for did not load.
        """
        self.card: Card = bundle.card
        self._path = bundle.path
        self._opening = threading.Lock()
        self._gates: Gates | None = None
        self.ran: Ran | None = None
        self.lost: Callable[[Forecaster, ProviderUnavailable], None] | None = None
        self._pid = os.getpid()
        try:
            session = open_session(bundle.model, device=device, device_id=device_id, threads=threads, arena=in_bulk)
            self.provider = provider_of(session)
            self.bounds = ON_CPU if self.provider == CPU else ON_GPU
            self._check_signature(session, bundle.path)
            self._session: Session | Sessions | InTurns = session
            if self.provider != CPU:
                self._session = InTurns(session)
            elif in_bulk:
                self._session = Sessions(session, bundle.model, threads=threads)
            self._warm_up()
            self._replay_golden_samples(bundle.path)
            self.walk = Walk.of(bundle.path, bundle.card, bundle.walk, threads=threads)
        except ModelError:
            raise
        except Exception as error:  # onnxruntime's errors have no base in common but this
            raise BundleError(path=bundle.path, reason=f"{type(error).__name__}: {error}") from error

    @classmethod
    def load(cls, path: Path, *, device: Device = "cpu", device_id: int = 0, threads: int = 1) -> "Forecaster":
        """The forecaster of the bundle in a folder; errors as for `read_bundle` and the class."""
        return cls(read_bundle(path), device=device, device_id=device_id, threads=threads)

    def predict(self, rows: Ragged) -> Floats:
        """
        Quantiles of each row's next close.

        A row's answer does not depend on its neighbours, its padding or its place.

        Args:
            rows: Closes in quote currency, oldest first; B rows.

        Returns:
            Quantiles at the card's levels, non-decreasing along each row, in quote currency. Shape ``(B, Q)``.

        Raises:
            EmptyRequest: There is no row.
            InvalidSeries: A row is too short or long, or a close is not positive and finite.
        """
        if found := self.faults(rows):
            raise InvalidSeries(faults=found)
        return self.run(rows)

    def faults(self, rows: Ragged) -> list[SeriesFault]:
        """What is wrong with the rows, at most one fault a row; see `models.ragged.faults`."""
        if len(rows) == 0:
            raise EmptyRequest
        return faults(rows, min_days=self.card.min_days, max_days=MAX_DAYS)

    def run(self, rows: Ragged, *, before_each: Callable[[], None] | None = None) -> Floats:
        """
        `predict` for rows that `faults` has passed.

        Args:
            rows: Closes in quote currency, oldest first; B rows. Those of like length run together, wherever they are.
            before_each: Called before each run of the graph, as `models.runs` bounds it; what it raises ends them.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a forecaster was carried across a fork; make one in each process")
        quantiles = np.empty((len(rows), len(self.card.levels)), np.float32)
        for batch in batches(rows.lengths, self.bounds):
            if before_each:
                before_each()
            quantiles[batch] = self._timed(*rows.padded(batch))
        return quantiles

    def gates(self) -> Gates:
        """The same weights' `explain.onnx`, opened for whoever asks first; errors as for `models.gates.Gates`."""
        with self._opening:
            self._gates = self._gates or Gates(self._path, self.card)
            return self._gates

    def _timed(self, closes: Floats, lengths: Ints) -> Floats:
        """One run of the graph, of which those are told who want to know."""
        began = time.perf_counter()
        answer = self._answer(closes, lengths)
        if self.ran:
            took_s = time.perf_counter() - began
            self.ran(self.card.name, self.card.version, len(closes), closes.size, int(lengths.sum()), took_s)
        return answer

    def _answer(self, closes: Floats, lengths: Ints) -> Floats:
        """
        One run of the graph.

        A device that fails is given up, since what comes after an error of CUDA's is not to be relied on; whoever hands
        this forecaster out is told, and nothing runs on the CPU in its stead.
        """
        try:
            answer: Floats = self._session.run(["quantiles"], {"closes": closes, "lengths": lengths})[0]
        except Exception as error:  # onnxruntime's errors have no base in common but this
            if self.provider == CPU:
                raise
            lost = ProviderUnavailable(wanted=self.provider, reason=f"it failed while it ran: {in_short(error)}")
            if self.lost:
                self.lost(self, lost)
            raise lost from error
        return answer

    def _check_signature(self, session: Session, path: Path) -> None:
        """Refuse a graph, or a card, that takes or gives anything else than a forecaster does."""
        card = self.card
        for verb, puts, tensors, wanted in (
            ("takes", session.get_inputs(), card.inputs, _INPUTS),
            ("gives", session.get_outputs(), card.outputs, _OUTPUTS),
        ):
            found = {put.name: (put.type, len(put.shape)) for put in puts}
            if found != wanted:
                raise BundleError(path=path, reason=f"the graph {verb} {found}, a forecaster {verb} {wanted}")
            named = {tensor.name: (_TYPES.get(tensor.dtype), len(tensor.shape)) for tensor in tensors}
            if named != wanted:
                raise BundleError(path=path, reason=f"its card {verb} {named}, a forecaster {verb} {wanted}")
        levels, last = card.levels, session.get_outputs()[0].shape[-1]
        if last != len(levels) or levels != sorted({*levels, 0.5}) or not 0 < levels[0] <= levels[-1] < 1:
            raise BundleError(path=path, reason=f"the graph gives {last} quantiles, its card has the levels {levels}")

    def _warm_up(self) -> None:
        for days in WARM_UP_DAYS:
            days_taken = max(days, self.card.min_days)
            fullest = min(self.bounds.rows, self.bounds.days // days_taken)
            for rows in sorted({*WARM_UP_ROWS, fullest}):
                self.run(Ragged.of([np.linspace(100, 101, days_taken)] * rows))

    def _replay_golden_samples(self, path: Path) -> None:
        golden = self.card.golden
        wanted = np.array(golden.quantiles, np.float32)
        answered = self.predict(Ragged.of(golden.closes))
        if wanted.shape != answered.shape:
            raise BundleError(path=path, reason=f"golden samples have shape {wanted.shape}, not {answered.shape}")
        worst = float(np.max(np.abs(answered - wanted) / np.abs(wanted)))
        if not worst <= GOLDEN_TOLERANCE:
            raise BundleError(path=path, reason=f"its golden samples come out {worst:.2g} off, relatively")
