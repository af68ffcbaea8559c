"""
Settings from the environment: ``NEXTDAY_*``, read once, at the start.

A process has one frozen dataclass of settings; each field's metadata holds its docstring, and its name in capitals
behind ``NEXTDAY_`` is its variable. A bad value stops the start with the variable's name and the value.
"""

import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

from models.errors import SettingError
from models.execution import Device

PREFIX = "NEXTDAY_"
Settings = TypeVar("Settings")


def setting(default: Any, doc: str, *, least: float | None = None, secret: bool = False) -> Any:
    """
    A field of a settings dataclass.

    Args:
        default: A value that is safe on a laptop.
        doc: What it does, with its unit; goes into the README's table.
        least: Smallest number that makes sense.
        secret: Keep it out of every repr.
    """
    return field(default=default, metadata={"doc": doc, "least": least}, repr=not secret)


@dataclass(frozen=True, kw_only=True)
class ModelSettings:
    """Where the models are and what they run on."""

    store: Path = setting(Path(__file__).parent / "store", "folder of the models, `<name>/<version>/`")
    device: Device = setting("auto", "`auto`, `cpu` or `cuda`; `cuda` never falls back to the CPU")
    device_id: int = setting(0, "which GPU, where there are several", least=0)
    run_threads: int = setting(1, "onnxruntime threads within one run", least=1)


def from_env(kind: type[Settings], env: Mapping[str, str] = os.environ) -> Settings:
    """
    Settings of a kind, from an environment; what it does not set has its default.

    Raises:
        SettingError: A value cannot be used; the message names variable and value.
    """
    hints = typing.get_type_hints(kind)
    values = {}
    for each in fields(kind):  # type: ignore[arg-type]
        variable = PREFIX + each.name.upper()
        if variable in env:
            values[each.name] = _parse(variable, env[variable], hints[each.name], each.metadata["least"])
    return kind(**values)


def _parse(variable: str, text: str, kind: Any, least: float | None) -> Any:
    if type(None) in get_args(kind):
        kind = next(each for each in get_args(kind) if each is not type(None))
    if get_origin(kind) is typing.Literal:
        if text not in get_args(kind):
            raise SettingError(variable=variable, value=text, wanted=f"one of {', '.join(get_args(kind))}")
        return text
    if kind in (int, float):
        return _number(variable, text, kind, least)
    return kind(text)


def _number(variable: str, text: str, kind: Any, least: float | None) -> int | float:
    wanted = "a whole number" if kind is int else "a number"
    if least is not None:
        wanted += f", {least} or more"
    try:
        number: int | float = kind(text)
    except ValueError:
        raise SettingError(variable=variable, value=text, wanted=wanted) from None
    if least is not None and not number >= least:
        raise SettingError(variable=variable, value=text, wanted=wanted)
    return number
