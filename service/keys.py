"""
API keys: what one looks like, and the file of those that are let in.

A key is ``nd_<id>_<secret>``. Its secret is 32 random bytes, so a fast hash keeps it as well as a slow one would, which
is there for what people think up. The file has a line a key, as `Key.line` writes it, with nothing but its hash.
"""

import hashlib
import hmac
import logging
import math
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from models.errors import InputError, NextdayError

SCOPES = ("forecast", "jobs", "admin")
LOOK_S = 1.0
"""Seconds between two looks at whether the file has changed."""
MAX_RATE_PER_S = 1_000_000.0
SHAPE = "<id> <name> <scopes, with commas between> sha256:<hash> [rate=<requests per second>]"
_ID = re.compile(r"[0-9a-f]{8}")
_NAME = re.compile(r"[\w.@+-]{1,64}")
_HASH = re.compile(r"sha256:([0-9a-f]{64})")
_SECRETS = re.compile(r"(nd_[0-9a-f]{8})_[A-Za-z0-9_-]+")
_WHERE_ID_IS = slice(len("nd_"), len("nd_") + 8)

Signature = tuple[int, int, int] | None

log = logging.getLogger(__name__)


class BadKeyFile(NextdayError):
    """The file of API keys cannot be used; what stands in its lines is never repeated."""

    def __init__(self, *, path: Path, reason: str, line: int | None = None) -> None:
        super().__init__(f"{path}{'' if line is None else f', line {line}'}: {reason}")


class BadKey(InputError):
    """A key that cannot be made so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """
    A key that is let in.

    Attributes:
        id: Eight hexadecimal digits.
        name: Whose it is, for people.
        scopes: Some of `SCOPES`.
        digest: The SHA-256 of the whole key.
        rate_per_s: Requests a second that it may make, 0 for any number; None where the service's own limit holds.
    """

    id: str
    name: str
    scopes: frozenset[str]
    digest: bytes = field(repr=False)
    rate_per_s: float | None = None

    @classmethod
    def parse(cls, line: str) -> "Key":
        """
        A key out of its line in a file.

        Raises:
            ValueError: It is none; the text says what right looks like and repeats nothing of it.
        """
        parts = line.split()
        if len(parts) not in (4, 5):
            raise ValueError(f"has {len(parts)} parts; a key is {SHAPE}")
        key_id, name, scopes, digest, *rate = parts
        if not _ID.fullmatch(key_id):
            raise ValueError("the id is not 8 digits of 0-9a-f")
        if not (found := _HASH.fullmatch(digest)):
            raise ValueError("the hash is not `sha256:` and 64 digits of 0-9a-f")
        return cls(
            id=key_id,
            name=_name(name),
            scopes=_scopes(scopes.split(",")),
            digest=bytes.fromhex(found[1]),
            rate_per_s=_rate(rate[0]) if rate else None,
        )

    @property
    def line(self) -> str:
        """As it stands in a file."""
        scopes = ",".join(scope for scope in SCOPES if scope in self.scopes)
        rate = "" if self.rate_per_s is None else f" rate={self.rate_per_s:.12g}"
        return f"{self.id} {self.name} {scopes} sha256:{self.digest.hex()}{rate}"


def make(name: str, scopes: Iterable[str], rate_per_s: float | None = None) -> tuple[str, Key]:
    """
    A new key: what its owner sends, which is kept nowhere, and what the file gets.

    Raises:
        BadKey: The name, a scope or the rate cannot be.
    """
    key_id = secrets.token_hex(4)
    secret = f"nd_{key_id}_{secrets.token_urlsafe(32)}"
    try:
        key = Key(
            id=key_id,
            name=_name(name),
            scopes=_scopes(scopes),
            digest=_hash(secret),
            rate_per_s=None if rate_per_s is None else _rate(f"rate={rate_per_s}"),
        )
    except ValueError as error:
        raise BadKey(f"a key for {name[:64]!r}: {error}") from None
    return secret, key


def read(path: Path) -> dict[str, Key]:
    """
    The keys of a file, by their ids.

    Raises:
        BadKeyFile: It cannot be read, or a line of it is no key.
    """
    try:
        text = path.read_text("utf-8-sig")
    except FileNotFoundError:
        how = f"nextday keys new NAME --scope forecast --scope jobs --file {path}"
        raise BadKeyFile(path=path, reason=f"there is no such file of API keys; make one with `{how}`") from None
    except OSError as error:
        raise BadKeyFile(path=path, reason=f"cannot be read ({error.strerror})") from error
    except UnicodeDecodeError:
        raise BadKeyFile(path=path, reason="is not UTF-8") from None
    return parse(text, path)


def parse(text: str, path: Path) -> dict[str, Key]:
    """The keys of a text; `path` is where it is from. Raises as `read` does."""
    keys: dict[str, Key] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            key = Key.parse(line)
        except ValueError as error:
            raise BadKeyFile(path=path, line=number, reason=str(error)) from None
        if key.id in keys:
            raise BadKeyFile(path=path, line=number, reason=f"the id {key.id} is there already")
        keys[key.id] = key
    return keys


class Keys:
    """
    The keys of a file, read anew when it changes.

    Where the new file cannot be used, the log says so and the keys of the old one stay.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        """
        Read the file.

        Raises:
            BadKeyFile: As `read` does.
        """
        self._path = path
        self._clock = clock
        self._looking = threading.Lock()
        self._looked = clock()
        self._seen = _signature(path)  # before the content: what changes in between is seen at the next look
        self._known = read(path)

    def find(self, given: str) -> Key | None:
        """The key that was given, if it is let in. Takes as long for an id that exists as for one that does not."""
        self._look()
        key = self._known.get(given[_WHERE_ID_IS], NOBODY)
        right = hmac.compare_digest(_hash(given), key.digest)
        return key if right and key is not NOBODY else None

    def _look(self) -> None:
        if self._clock() - self._looked < LOOK_S or not self._looking.acquire(blocking=False):
            return
        try:
            self._looked = self._clock()
            self._read_anew()
        finally:
            self._looking.release()

    def _read_anew(self) -> None:
        seen = _signature(self._path)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._known = read(self._path)
        except BadKeyFile as error:
            log.error("%s; the keys that were there before stay", error)
        else:
            log.info("%s has changed: %d API keys", self._path, len(self._known))


def without_secrets(text: str) -> str:
    """
    A text with the secrets of API keys left out.

    >>> without_secrets("GET /nd_01234567_AbC-d")
    'GET /nd_01234567_...'
    """
    return _SECRETS.sub(r"\1_...", text) if "nd_" in text else text


def _hash(key: str) -> bytes:
    return hashlib.sha256(key.encode(errors="replace")).digest()


NOBODY = Key(id="", name="", scopes=frozenset(), digest=_hash(secrets.token_hex()))
"""Whom a key without a known id is compared with."""


def _signature(path: Path) -> Signature:
    """What differs once a file has been written or replaced; None where there is none."""
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError("the name is not 1 to 64 letters, digits and any of . _ @ + -")
    return text


def _scopes(given: Iterable[str]) -> frozenset[str]:
    scopes = frozenset(given)
    if not scopes or not scopes <= set(SCOPES):
        raise ValueError(f"the scopes are not some of {', '.join(SCOPES)}, with commas between")
    return scopes


def _rate(part: str) -> float:
    name, _, number = part.partition("=")
    try:
        rate_per_s = float(number)
    except ValueError:
        rate_per_s = math.nan
    if name != "rate" or not 0 <= rate_per_s <= MAX_RATE_PER_S:
        raise ValueError(f"what comes last is not rate=<requests per second>, 0 to {MAX_RATE_PER_S:.0f}")
    return rate_per_s
