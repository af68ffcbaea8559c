"""
Uploads by reference: files that an operator has allowed to be read, in folders of this machine or in a bucket.

A reference that is not allowed is refused in the same words whether there is such a file or not.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pyarrow.fs as pafs

from models.errors import SettingError
from worker.errors import ReferenceRefused, TableError
from worker.media_types import BY_SUFFIX
from worker.reading.formats import MEDIA_TYPES, by_suffix

S3_OPTIONS = frozenset({"endpoint_override", "scheme", "region"})
"""What a prefix of a bucket may say behind a question mark, as in ``s3://prices/?endpoint_override=minio:9000``."""


@dataclass(frozen=True, slots=True)
class Reference:
    """
    A file in an upload's place.

    Attributes:
        uri: ``file:///data/in/prices.parquet`` or ``s3://bucket/prices.parquet``.
        media_type: One of `worker.reading.formats.MEDIA_TYPES`; by the file's suffix if None.
    """

    uri: str
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """
    A file that a reference names, open at its start.

    Attributes:
        file: One of Python's or of pyarrow's.
        media_type: What it holds.
        encoding: How it is packed.
        fingerprint: Tells it from the same file at another time.
        size_bytes: As it is stored.
    """

    file: Any
    media_type: str
    encoding: str
    fingerprint: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Prefix:
    scheme: str
    bucket: str
    path: str
    options: tuple[tuple[str, str], ...]


def check_prefixes(text: str) -> None:
    """
    Refuse a setting that cannot be.

    Raises:
        SettingError: A prefix is none.
    """
    _prefixes(text)


def open_reference(reference: Reference, prefixes: str) -> Opened:
    """
    The file that a reference names.

    Args:
        reference: The caller's.
        prefixes: What is allowed, with commas between.

    Raises:
        ReferenceRefused: It is not allowed, not there, cannot be read, or is no file.
        TableError: Neither a media type nor the suffix says what it holds.
    """
    parts, allowed = _allowed(reference, prefixes)
    by_name, encoding = by_suffix(parts.path)
    media_type = reference.media_type or by_name
    if media_type not in MEDIA_TYPES:
        known = ", ".join(BY_SUFFIX)
        raise TableError(
            f"the name of {reference.uri[:200]!r} does not say what it holds ({known}); give its media type"
        )
    open_one = _open_local if parts.scheme == "file" else _open_s3
    file, fingerprint, size = open_one(reference, parts.netloc, unquote(parts.path), allowed)
    return Opened(file, media_type, encoding, f"{reference.uri} {fingerprint}", size)


def store_of(uri: str, prefixes: str) -> tuple[pafs.FileSystem, str]:
    """
    Where a file or a folder lies that may be read, and its path there; whether it is there, nobody has looked.

    Raises:
        ReferenceRefused: It is not allowed.
    """
    reference = Reference(uri)
    parts, allowed = _allowed(reference, prefixes)
    path = unquote(parts.path)
    if parts.scheme == "s3":
        return _bucket(_fitting(reference, parts.netloc, path, allowed)), parts.netloc + path
    if parts.netloc not in ("", "localhost") or not _is_under(os.path.realpath(path), allowed):
        raise _not_allowed(reference)
    return pafs.LocalFileSystem(), path


def _allowed(reference: Reference, prefixes: str) -> tuple[SplitResult, list[_Prefix]]:
    """The parts of a URI, and the prefixes of its scheme, of which there are some."""
    parts = urlsplit(reference.uri)
    allowed = [each for each in _prefixes(prefixes) if each.scheme == parts.scheme]
    if not allowed or parts.query or parts.fragment or "\0" in unquote(reference.uri):
        raise _not_allowed(reference)
    return parts, allowed


def _open_local(reference: Reference, host: str, path: str, allowed: list[_Prefix]) -> tuple[Any, str, int]:
    real = os.path.realpath(path)
    if host not in ("", "localhost") or not path.startswith("/") or not _is_under(real, allowed):
        raise _not_allowed(reference)
    try:
        handle = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ReferenceRefused(f"there is no file {reference.uri[:200]!r}") from None
    except OSError as error:
        raise ReferenceRefused(f"{reference.uri[:200]!r} cannot be read: {error.strerror}") from error
    state = os.fstat(handle)
    opened = Path(f"/proc/self/fd/{handle}")
    if opened.exists() and not _is_under(os.path.realpath(opened), allowed):  # a folder above became a link meanwhile
        os.close(handle)
        raise _not_allowed(reference)
    if not stat.S_ISREG(state.st_mode):
        os.close(handle)
        what = "a folder" if stat.S_ISDIR(state.st_mode) else "no file"
        raise ReferenceRefused(f"{reference.uri[:200]!r} is {what}; name one file")
    return os.fdopen(handle, "rb"), f"{state.st_size} {state.st_mtime_ns} {state.st_ino}", state.st_size


def _is_under(real: str, allowed: list[_Prefix]) -> bool:
    return any(Path(real).is_relative_to(os.path.realpath(each.path)) for each in allowed)


def _open_s3(reference: Reference, bucket: str, path: str, allowed: list[_Prefix]) -> tuple[Any, str, int]:
    prefix = _fitting(reference, bucket, path, allowed)
    name = bucket + path
    try:
        store = _bucket(prefix)
        info = store.get_file_info(name)
        if info.type == pafs.FileType.NotFound:
            raise ReferenceRefused(f"there is no file {reference.uri[:200]!r}")
        if info.type == pafs.FileType.Directory:
            raise ReferenceRefused(f"{reference.uri[:200]!r} is a folder; name one file")
        file = store.open_input_file(name)
        etag = (file.metadata() or {}).get(b"ETag", b"").decode()
    except OSError as error:
        raise ReferenceRefused(f"{reference.uri[:200]!r} cannot be read: {_told(error)}") from error
    return file, f"{etag} {info.size} {info.mtime_ns}", int(info.size)


def _fitting(reference: Reference, bucket: str, path: str, allowed: list[_Prefix]) -> _Prefix:
    fitting = [each for each in allowed if each.bucket == bucket and path.startswith(each.path)]
    if not fitting or any(part in (".", "..") for part in path.split("/")):
        raise _not_allowed(reference)
    return fitting[0]


def _bucket(prefix: _Prefix) -> pafs.S3FileSystem:
    return pafs.S3FileSystem(**dict(prefix.options), connect_timeout=5, request_timeout=30)


def _told(error: OSError) -> str:
    """The part of pyarrow's message that says what S3 answered."""
    return str(error).rpartition("AWS Error ")[2][:200]


def _prefixes(text: str) -> list[_Prefix]:
    return [_prefix(each.strip(), text) for each in text.split(",") if each.strip()]


def _prefix(each: str, text: str) -> _Prefix:
    parts = urlsplit(each)
    options = tuple(parse_qsl(parts.query))
    local = parts.scheme == "file" and parts.netloc in ("", "localhost") and not options
    remote = parts.scheme == "s3" and parts.netloc and {name for name, _ in options} <= S3_OPTIONS
    if not (local or remote) or not parts.path.endswith("/"):
        wanted = "prefixes like file:///data/in/ or s3://bucket/prices/, each with a slash at its end"
        raise SettingError(variable="NEXTDAY_INPUT_PREFIXES", value=text, wanted=wanted)
    return _Prefix(parts.scheme, parts.netloc, unquote(parts.path), options)


def _not_allowed(reference: Reference) -> ReferenceRefused:
    return ReferenceRefused(f"{reference.uri[:200]!r} is not below what may be read here (NEXTDAY_INPUT_PREFIXES)")
