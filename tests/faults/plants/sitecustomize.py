"""
Faults that are planted into a process from outside: Python imports this at its start, by PYTHONPATH.

    PLANT_CLOCK_S   seconds by which the process's clock is wrong
    PLANT_LOSS      file to be made; the process that makes it dies between taking a message and noting that it did
    PLANT_POISON    a close at whose sight a model kills its process
    PLANT_RUN_S     seconds that each run of a model takes longer
    PLANT_RUNS      file that gets a line for each run of a model: process, monotonic time, rows, first close
"""

import importlib.abc
import importlib.machinery
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import wraps
from types import ModuleType
from typing import Any

DRILLS_BELOW = 90.0
"""Drills' series begin below; those that a model is checked and warmed up with when it is loaded, above."""


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
    signal.pause()  # until it is there


def shift_the_clock(seconds: float) -> None:
    right_s, right_ns = time.time, time.time_ns
    time.time = lambda: right_s() + seconds
    time.time_ns = lambda: right_ns() + int(seconds * 1e9)


def lose_a_message(module: ModuleType) -> None:
    noted = module.QoS.append

    @wraps(noted)
    def append(self: Any, *arguments: Any) -> Any:
        try:
            os.close(os.open(os.environ["PLANT_LOSS"], os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return noted(self, *arguments)
        return die()

    module.QoS.append = append


def hurt_the_model(module: ModuleType) -> None:
    right = module.Forecaster.run
    poison, longer_s = float(os.environ.get("PLANT_POISON", "nan")), float(os.environ.get("PLANT_RUN_S", "0"))

    @wraps(right)
    def run(self: Any, rows: Any, **options: Any) -> Any:
        first = float(rows.values[0])
        if first < DRILLS_BELOW:
            note(f"{os.getpid()} {time.monotonic():.3f} {len(rows)} {first!r}\n")
            if (rows.values == poison).any():
                die()
            time.sleep(longer_s)
        return right(self, rows, **options)

    module.Forecaster.run = run


def note(line: str) -> None:
    if file := os.environ.get("PLANT_RUNS"):
        handle = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        os.write(handle, line.encode())
        os.close(handle)


class Planter(importlib.abc.MetaPathFinder):
    """Changes modules as they are imported."""

    def __init__(self, changes: dict[str, Callable[[ModuleType], None]]) -> None:
        self._changes = changes

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        change = self._changes.get(name)
        spec = importlib.machinery.PathFinder.find_spec(name, path, target) if change else None
        if spec is None or spec.loader is None or change is None:
            return None
        run = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            change(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


changes: dict[str, Callable[[ModuleType], None]] = {}
if "PLANT_LOSS" in os.environ:
    changes["kombu.transport.redis"] = lose_a_message
if os.environ.keys() & {"PLANT_POISON", "PLANT_RUN_S", "PLANT_RUNS"}:
    changes["models.forecaster"] = hurt_the_model
if changes:
    sys.meta_path.insert(0, Planter(changes))
if "PLANT_CLOCK_S" in os.environ:
    shift_the_clock(float(os.environ["PLANT_CLOCK_S"]))
