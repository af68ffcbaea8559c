"""
The execution provider of a session: what was asked for, what it really runs on, and never a silent fall-back.

onnxruntime asked for CUDA on a machine without it warns and runs on the CPU; here that is an error, or said.
"""

import ctypes
import logging
import os
from typing import Any, Literal

# On import onnxruntime gives the machine an id and opens a database of telemetry, unless it is told not to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime as ort

from models.errors import ProviderUnavailable

Device = Literal["auto", "cpu", "cuda"]
CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

log = logging.getLogger(__name__)


def open_session(model: bytes, *, device: Device, device_id: int = 0, threads: int = 1) -> ort.InferenceSession:
    """
    A session on the execution provider that was asked for.

    Args:
        model: The verified bytes of a graph.
        device: ``cpu``; ``cuda``, which never falls back; or ``auto``, which takes CUDA where it works.
        device_id: Which of several GPUs.
        threads: onnxruntime threads within one run; it would size them by the host's cores, not by the limits set.

    Raises:
        ProviderUnavailable: ``cuda`` was asked for and did not load.
    """
    if device == "cpu":
        return _session(model, [CPU], threads)
    try:
        return _cuda_session(model, device_id, threads)
    except ProviderUnavailable as error:
        if device == "cuda":
            raise
        log.info("execution provider auto takes %s: %s", CPU, error)
        return _session(model, [CPU], threads)


def provider_of(session: ort.InferenceSession) -> str:
    """The execution provider that comes first in a session, as answers name it."""
    return str(session.get_providers()[0])


def _cuda_session(model: bytes, device_id: int, threads: int) -> ort.InferenceSession:
    if CUDA not in ort.get_available_providers():
        raise ProviderUnavailable(
            wanted=CUDA, reason="this onnxruntime is the CPU package; install the gpu extra in its place"
        )
    ort.preload_dlls()
    settings = {"device_id": str(device_id), "arena_extend_strategy": "kSameAsRequested"}
    try:
        session = _session(model, [(CUDA, settings), CPU], threads)
    except Exception as error:  # onnxruntime raises several kinds where a device or a library is missing
        raise ProviderUnavailable(wanted=CUDA, reason=str(error)) from error
    if provider_of(session) != CUDA:
        raise ProviderUnavailable(wanted=CUDA, reason=_missing_library() or "no CUDA device answered")
    return session


def _session(model: bytes, providers: list[Any], threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Spinning burns the core that the next process needs; the arena keeps the largest batch's memory for ever.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False
    session = ort.InferenceSession(model, options, providers=providers, enable_fallback=0)
    session.disable_fallback()
    return session


def _missing_library() -> str | None:
    """The first of CUDA's libraries that this machine cannot load, in the loader's own words."""
    for library in ("libcuda.so.1", "libcudart.so.13", "libcublas.so.13", "libcudnn.so.9"):
        try:
            ctypes.CDLL(library)
        except OSError as error:
            return str(error)
    return None
