"""Content-Digest (RFC 9530): whether a body is the one that was sent, over its bytes as they came."""

import base64
import binascii
import hashlib
import re
from typing import Any

from worker.errors import DigestMismatch

ALGORITHMS = {"sha-256": "sha256", "sha-512": "sha512"}
_MEMBER = re.compile(r"\s*([a-z0-9*_.-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*")


class ContentDigest:
    """
    The digests of a header, and of the bytes so far.

    >>> digest = ContentDigest("sha-256=:LPJNul+wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=:")
    >>> digest.update(b"hello")
    >>> digest.check()
    """

    def __init__(self, header: str) -> None:
        """
        Of no bytes yet; an empty header asks for nothing.

        Raises:
            DigestMismatch: The header is malformed or has no algorithm that is known here.
        """
        self._wanted: dict[str, bytes] = {}
        self._found: dict[str, Any] = {}
        for member in header.split(",") if header else []:
            self._take(member)
        if header and not self._wanted:
            raise DigestMismatch(f"Content-Digest has none of {', '.join(ALGORITHMS)}; send one of them")

    def _take(self, member: str) -> None:
        match = _MEMBER.fullmatch(member)
        if not match:
            raise DigestMismatch(f"Content-Digest is {member[:100]!r}; it looks like sha-256=:<base64>:")
        name, text = match.groups()
        if name not in ALGORITHMS:
            return
        try:
            self._wanted[name] = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise DigestMismatch(f"Content-Digest has {name} that is not base64: {error}") from error
        self._found[name] = hashlib.new(ALGORITHMS[name])

    def update(self, part: bytes) -> None:
        """Take some more bytes."""
        for digest in self._found.values():
            digest.update(part)

    def check(self) -> None:
        """
        Say so where the bytes are not those that the header is about.

        Raises:
            DigestMismatch: They are not.
        """
        for name, wanted in self._wanted.items():
            if (found := self._found[name].digest()) != wanted:
                shown = base64.b64encode(found).decode()
                raise DigestMismatch(f"the body's {name} is {shown}, not what its Content-Digest says; send it again")


class BodyDigests:
    """What the bytes of a body come to: a sha256 to know it by, and whether its Content-Digest is right."""

    def __init__(self, kind: bytes, header: str) -> None:
        """
        Of no bytes yet.

        Args:
            kind: What the same bytes may mean something else by; the sha256 is of it, too.
            header: Content-Digest; an empty one asks for nothing.

        Raises:
            DigestMismatch: The header is malformed or has no algorithm that is known here.
        """
        self._sha256 = hashlib.sha256(kind)
        self._content = ContentDigest(header)

    def update(self, part: bytes) -> None:
        """Take some more bytes."""
        self._sha256.update(part)
        self._content.update(part)

    def check(self) -> None:
        """As `ContentDigest.check`."""
        self._content.check()

    def sha256(self) -> str:
        """Of the kind and all bytes."""
        return self._sha256.hexdigest()
