"""The file of API keys as `nextday keys` changes it: a key more, a key less, each time the whole file or nothing."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from models.errors import InputError
from models.settings import from_env
from service.keys import SCOPES, BadKeyFile, Key, parse, read
from service.settings import ServiceSettings


class NoKeyFile(InputError):
    """Nobody has said where the keys are."""

    def __init__(self) -> None:
        super().__init__("no file of keys is named; name one with --file or in NEXTDAY_API_KEYS_FILE")


class UnknownKey(InputError):
    """No such key in the file."""

    def __init__(self, *, path: Path, key_id: str) -> None:
        super().__init__(f"{path} has no key with the id {key_id[:60]!r}; `nextday keys list` has the ids")


def chosen() -> Path | None:
    """The file that the environment names."""
    return from_env(ServiceSettings).api_keys_file


def needed(path: Path | None) -> Path:
    """
    A file that was named, here or in the environment.

    Raises:
        NoKeyFile: None was.
    """
    if found := path or chosen():
        return found
    raise NoKeyFile


def add(path: Path, key: Key) -> None:
    """
    Put a key into a file, which is made, for its owner's eyes alone, where there is none.

    Raises:
        BadKeyFile: The file cannot be used as it is, or cannot be written.
    """
    with _changing(path) as file:
        text = _text(file)
        if text and not text.endswith("\n"):
            text += "\n"
        _replace(file, f"{text}{key.line}\n")


def remove(path: Path, key_id: str) -> Key:
    """
    Take a key out of a file.

    Raises:
        BadKeyFile: The file cannot be used as it is, or cannot be written.
        UnknownKey: It holds no such key.
    """
    with _changing(path) as file:
        text = _text(file)
        key = parse(text, path).get(key_id)
        if key is None:
            raise UnknownKey(path=path, key_id=key_id)
        _replace(file, "".join(line for line in text.splitlines(keepends=True) if line.split()[:1] != [key_id]))
    return key


def described(path: Path) -> list[dict[str, Any]]:
    """What may be told of a file's keys, in its order; raises as `service.keys.read` does."""
    return [
        {
            "id": key.id,
            "name": key.name,
            "scopes": [scope for scope in SCOPES if scope in key.scopes],
            "rate_per_s": key.rate_per_s,
        }
        for key in read(path).values()
    ]


def table(path: Path) -> str:
    """The same for people."""
    lines = [("id", "name", "scopes", "requests a second")]
    for each in described(path):
        rate = each["rate_per_s"]
        limit = "as NEXTDAY_RATE_PER_S says" if rate is None else f"{rate:g}" if rate else "any number"
        lines.append((each["id"], each["name"], ",".join(each["scopes"]), limit))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@contextmanager
def _changing(path: Path) -> Iterator[Path]:
    """The file itself, where `path` is a link to it, while nobody else changes it."""
    file = path.resolve()
    try:
        folder = os.open(file.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield file
        finally:
            os.close(folder)
    except OSError as error:
        raise BadKeyFile(path=path, reason=f"cannot be changed ({error.strerror})") from error


def _text(file: Path) -> str:
    """What a file holds, once it is known to be right."""
    if not file.exists():
        return ""
    read(file)
    return file.read_bytes().decode("utf-8-sig")


def _replace(file: Path, text: str) -> None:
    """Put a text in a file's place; a reader sees the old or the new one, whole."""
    descriptor, scratch = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)  # mode 0600
    try:
        with os.fdopen(descriptor, "wb") as new:
            new.write(text.encode())
            new.flush()
            os.fsync(new.fileno())
        if file.exists():
            shutil.copymode(file, scratch)
            with suppress(PermissionError):
                os.chown(scratch, file.stat().st_uid, file.stat().st_gid)
        Path(scratch).replace(file)
    finally:
        Path(scratch).unlink(missing_ok=True)
