"""Signatures of webhooks, as Standard Webhooks 1.0 has them: HMAC-SHA256 over id, time and body."""

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field

from models.errors import SettingError

PREFIX = "whsec_"
FEWEST_BYTES, MOST_BYTES = 24, 64


@dataclass(frozen=True)
class Secrets:
    """
    The secrets of ``NEXTDAY_WEBHOOK_SECRET``; several, with blanks between, while one takes another's place.

    Never shows what they are.

    Raises:
        SettingError: One of them is no secret; the message does not repeat it.
    """

    text: str = field(repr=False)
    keys: tuple[bytes, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "keys", tuple(_key(part) for part in self.text.split()))

    def __str__(self) -> str:
        return ""

    def sign(self, message_id: str, timestamp_s: int, body: bytes) -> str:
        """
        The header ``webhook-signature``: a signature by each secret, so that a receiver may hold any of them.

        Args:
            message_id: The header ``webhook-id``, without a dot.
            timestamp_s: The header ``webhook-timestamp``: seconds since 1970.
            body: The request's body, byte for byte.
        """
        signed = f"{message_id}.{timestamp_s}.".encode() + body
        return " ".join(f"v1,{_base64(hmac.digest(key, signed, hashlib.sha256))}" for key in self.keys)


def _key(text: str) -> bytes:
    try:
        key = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not text.startswith(PREFIX) or not FEWEST_BYTES <= len(key) <= MOST_BYTES:
        raise SettingError(
            variable="NEXTDAY_WEBHOOK_SECRET",
            value="(not shown)",
            wanted=f"{PREFIX} and {FEWEST_BYTES} to {MOST_BYTES} random bytes in base64, as "
            f'`echo "{PREFIX}$(openssl rand -base64 32)"` makes them; several with blanks between',
        )
    return key


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()
