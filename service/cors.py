"""
Which pages of other origins a browser may let read the answers: none, unless they are named.

Plain functions of an origin and of those that are allowed, as https://fetch.spec.whatwg.org has the protocol.
"""

from collections.abc import Set
from urllib.parse import urlsplit

from models.errors import SettingError

Headers = list[tuple[str, str]]

_EXPOSED = "X-Request-Id, Retry-After, Location, Inference-Header-Content-Length"
_PREFLIGHT = [
    ("Access-Control-Allow-Methods", "GET, POST, PUT"),
    (
        "Access-Control-Allow-Headers",
        "Authorization, Content-Type, Idempotency-Key, Inference-Header-Content-Length, X-Request-Id",
    ),
    ("Access-Control-Max-Age", "600"),
]


def parse_origins(text: str) -> frozenset[str]:
    """
    The origins of `NEXTDAY_CORS_ORIGINS`.

    Raises:
        SettingError: One of them is none; `*` is none, since a key opens more than a page should.
    """
    origins = frozenset(each.strip() for each in text.split(",") if each.strip())
    for each in origins:
        if not _is_origin(each):
            wanted = "exact origins with commas between, as in https://app.example.org,http://localhost:3000"
            raise SettingError(variable="NEXTDAY_CORS_ORIGINS", value=text, wanted=wanted)
    return origins


def cors_headers(origin: str | None, allowed: Set[str]) -> Headers:
    """What an answer to a request from an origin carries besides: nothing, unless the origin is allowed."""
    if origin is None or origin not in allowed:
        return []
    return [
        ("Access-Control-Allow-Origin", origin),
        ("Access-Control-Expose-Headers", _EXPOSED),
        ("Vary", "Origin"),
    ]


def preflight_headers(method: str, origin: str | None, wanted_method: str | None, allowed: Set[str]) -> Headers:
    """
    What the 204 to a browser's question beforehand carries besides `cors_headers`; empty where it is none of ours.

    Args:
        method: Of the request.
        origin: Its Origin.
        wanted_method: Its Access-Control-Request-Method.
        allowed: The origins that are allowed.
    """
    if method != "OPTIONS" or wanted_method is None or origin is None or origin not in allowed:
        return []
    return list(_PREFLIGHT)


def _is_origin(text: str) -> bool:
    """
    Whether a text is an origin as browsers send it.

    >>> _is_origin("https://a.example:8443"), _is_origin("https://a.example/"), _is_origin("*")
    (True, False, False)
    """
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        return False
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    origin = f"{parts.scheme}://{host}" + ("" if port is None else f":{port}")
    return parts.scheme in ("http", "https") and bool(parts.hostname) and text == origin and "*" not in text
