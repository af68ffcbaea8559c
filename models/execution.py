"""
The execution provider of a session: what was asked for, what it really runs on, and never a silent fall-back.

onnxruntime asked for CUDA on a machine without it warns and runs on the CPU; here that is an error, or said.
"""

import contextlib
import ctypes
import functools
import io
import logging
import os
import re
import threading
from pathlib import Path
from typing import Any, Literal, TypeAlias

# On import onnxruntime gives the machine an id and opens a database of telemetry, unless it is told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from models.errors import ProviderUnavailable

Device = Literal["auto", "cpu", "cuda"]
Session: TypeAlias = ort.InferenceSession
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
CPU_PACKAGE = "this onnxruntime is the package for the CPU; put onnxruntime-gpu in its place, as the extra gpu does"
NO_ONNX = "its graph is made for the GPU with the package onnx, which is not here; the extra gpu brings it"
HEAVY = frozenset({"LSTM", "RNN", "GRU", "Gemm", "MatMul"})
"""Operators that do a network's work; what is beside them is shapes and elementwise."""
DRIVER, PROVIDER, CUDNN = "libcuda.so.1", "libonnxruntime_providers_cuda.so", "libcudnn.so.9"
"""The driver; what onnxruntime loads for CUDA, and with it the libraries it was linked to; what that loads by name."""
_FAILURE = re.compile(r"\bCU\w+ failure \d+: [^;\n]+|Failed to allocate memory for requested buffer of size \d+")
"""As `CUDA failure 2: out of memory`."""

log = logging.getLogger(__name__)


class Sessions:
    """
    A graph on the CPU for threads that run it all the time: each session keeps the memory of its runs, for one of them.

    There are as many as threads have ever run it at once. One for all would give a run the memory that another thread
    has just let go, which is in the other core's cache: that costs more than to ask the system each time.
    """

    def __init__(self, first: Session, model: bytes, *, threads: int = 1) -> None:
        """
        Begin with one.

        Args:
            first: On the CPU, opened with an arena.
            model: The verified bytes of its graph, whose runs are of bounded size.
            threads: As for `open_session`.
        """
        self._model, self._threads = model, threads
        self._free = [first]

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        """As a session's."""
        try:
            session = self._free.pop()
        except IndexError:
            session = _session(self._model, [CPU], self._threads, arena=True)
        try:
            return session.run(outputs, inputs)
        finally:
            self._free.append(session)


class InTurns:
    """A graph on a GPU, a few runs at a time: each takes memory, and more than a few are together no faster."""

    AT_ONCE = 4

    def __init__(self, session: Session) -> None:
        self._session = session
        self._turns = threading.BoundedSemaphore(self.AT_ONCE)

    def run(self, outputs: list[str], inputs: dict[str, Any]) -> Any:
        """As a session's."""
        with self._turns:
            return self._session.run(outputs, inputs)


def open_session(model: bytes, *, device: Device, device_id: int = 0, threads: int = 1, arena: bool = False) -> Session:
    """
    A session on the execution provider that was asked for.

    Args:
        model: The verified bytes of a graph.
        device: ``cpu``; ``cuda``, which never falls back; or ``auto``, which takes CUDA where it works.
        device_id: Which of several GPUs.
        threads: onnxruntime threads within one run; it would size them by the host's cores, not by the limits set.
        arena: Whether it keeps the memory of its runs where it is on the CPU; then it is for one thread at a time.

    Raises:
        ProviderUnavailable: ``cuda`` was asked for and did not load.
    """
    if device == "cpu":
        return _session(model, [CPU], threads, arena=arena)
    try:
        return _cuda_session(model, device_id, threads)
    except ProviderUnavailable as error:
        if device == "cuda":
            raise
        _say_once(str(error))
        return _session(model, [CPU], threads, arena=arena)


def provider_of(session: Session) -> str:
    """The execution provider that comes first in a session, as answers name it."""
    return str(session.get_providers()[0])


def in_short(error: Exception) -> str:
    """What onnxruntime says of a device, without the places in its source and the types around it."""
    said = _FAILURE.search(str(error))
    return said[0].strip() if said else str(error)


def elsewhere(session: Session, provider: str) -> list[str]:
    """The operators that do a network's work and that a session runs on another provider than this one."""
    parts = session.get_provider_graph_assignment_info()
    found = {node.op_type for part in parts if part.ep_name != provider for node in part.get_nodes()}
    return sorted(found & HEAVY)


def _cuda_session(model: bytes, device_id: int, threads: int) -> Session:
    if CUDA not in ort.get_available_providers():
        raise ProviderUnavailable(wanted=CUDA, reason=CPU_PACKAGE)
    _preload()
    # All of it before onnxruntime tries, and says so in many lines and colours.
    if missing := _missing([DRIVER]) + _missing_libraries():
        raise ProviderUnavailable(wanted=CUDA, reason="; ".join(missing))
    if device_id >= (count := _gpus()):
        reason = f"there is no GPU {device_id}; the driver finds {count}, numbered from 0"
        raise ProviderUnavailable(wanted=CUDA, reason=reason)
    # onnxruntime's default rounds what is multiplied to TF32's ten bits; float32 is as near to the CPU as CPUs are.
    settings = {"device_id": str(device_id), "arena_extend_strategy": "kSameAsRequested", "use_tf32": "0"}
    graph = _for_cuda(model)
    try:
        session = _session(graph, [(CUDA, settings), CPU], threads)
    except Exception as error:  # onnxruntime raises several kinds where a device or a library is missing
        raise ProviderUnavailable(wanted=CUDA, reason=in_short(error)) from error
    if provider_of(session) != CUDA:
        raise ProviderUnavailable(wanted=CUDA, reason="no CUDA device answered")
    # The CPU stays for what handles shapes; what the network computes must not end up there, node by node and silently.
    if fallen := elsewhere(session, CUDA):
        raise ProviderUnavailable(wanted=CUDA, reason=f"it leaves {', '.join(fallen)} to the CPU")
    return session


def _for_cuda(model: bytes) -> bytes:
    try:
        from models.cuda_graph import for_cuda  # noqa: PLC0415  # what serves on the CPU has no onnx
    except ImportError as error:
        raise ProviderUnavailable(wanted=CUDA, reason=NO_ONNX) from error
    return for_cuda(model)


def _session(model: bytes, providers: list[Any], threads: int, *, arena: bool = False) -> Session:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Spinning burns the core that the next process needs; the arena keeps the largest batch's memory for ever.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    options.enable_cpu_mem_arena = arena
    session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    session.disable_fallback()
    return session


@functools.cache
def _say_once(reason: str) -> None:
    """Tell what `auto` took: once a process, though each graph has a session of its own."""
    log.info("execution provider auto takes %s: %s", CPU, reason)


@functools.cache
def _preload() -> None:
    """Load CUDA's libraries from their packages, if they are installed so; what it prints of others, we log."""
    ort.set_default_logger_severity(3)  # else each session warns in colours of a plugin that nobody asked for
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ort.preload_dlls()
    for line in said.getvalue().splitlines():
        log.info("CUDA: %s", line)


def _gpus() -> int:
    """How many the driver finds."""
    driver, count = ctypes.CDLL(DRIVER), ctypes.c_int()
    return 0 if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)) else count.value


def _missing_libraries() -> list[str]:
    """What CUDA's provider needs and this machine cannot load, beside the driver, in the loader's own words."""
    return _missing([str(Path(ort.__file__).parent / "capi" / PROVIDER), CUDNN])


def _missing(libraries: list[str]) -> list[str]:
    """The loader's complaints about libraries that are not there, or whose own libraries are not."""
    complaints = []
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError as error:
            if "cannot open shared object file" in str(error):  # else it is there
                complaints.append(str(error))
    return complaints
