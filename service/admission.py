"""
Who may ask for what: a path needs a scope, a key has some, and a caller may ask so often.

Plain functions of a request's method, path and one header. Every door of the service calls them before anything else.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import Forbidden, RateLimited, Unauthorized
from service.exposure import is_local
from service.keys import SCOPES, Keys
from service.rates import Rates
from service.settings import ServiceSettings

OPEN, ANY_KEY = "nothing", "any key"
FORECAST, JOBS, ADMIN = SCOPES
LOOKS = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing."""


class Needs(NamedTuple):
    """What one needs to look at a path and to do something there: a scope, `ANY_KEY` or `OPEN`."""

    to_look: str
    to_act: str


NEEDED = {
    "/": Needs(OPEN, OPEN),
    "/healthz": Needs(OPEN, OPEN),
    "/readyz": Needs(OPEN, OPEN),
    "/metrics": Needs(OPEN, OPEN),
    "/problems": Needs(OPEN, OPEN),
    "/openapi.json": Needs(OPEN, OPEN),
    "/docs": Needs(OPEN, OPEN),
    "/docs/*": Needs(OPEN, OPEN),
    "/pages/*": Needs(OPEN, OPEN),
    "/v1/forecasts": Needs(FORECAST, FORECAST),
    "/v1/models": Needs(FORECAST, ADMIN),
    "/v1/models/*": Needs(FORECAST, ADMIN),
    "/v1/jobs": Needs(JOBS, JOBS),
    "/v1/jobs/*": Needs(JOBS, JOBS),
    "/v2": Needs(OPEN, OPEN),
    "/v2/": Needs(OPEN, OPEN),
    "/v2/health/*": Needs(OPEN, OPEN),
    "/v2/models/*": Needs(FORECAST, FORECAST),
    "/v2/repository/index": Needs(FORECAST, FORECAST),
    "/v2/repository/models/*": Needs(ADMIN, ADMIN),
}
"""By path; a star stands for all that lies below. No two of them fit one path."""
_BELOW = [(path[:-1], needs) for path, needs in NEEDED.items() if path.endswith("*")]
_ELSEWHERE = Needs(ANY_KEY, ANY_KEY)  # so that nobody without a key learns which paths there are


def needed(method: str, path: str) -> str:
    """
    What a request needs: a scope, `ANY_KEY` or `OPEN`.

    >>> needed("GET", "/v1/models/lstm"), needed("DELETE", "/v1/models/lstm"), needed("GET", "/healthz")
    ('forecast', 'admin', 'nothing')
    """
    needs = NEEDED.get(path) or next((needs for start, needs in _BELOW if path.startswith(start)), _ELSEWHERE)
    return needs.to_look if method in LOOKS else needs.to_act


@dataclass(frozen=True, slots=True)
class Caller:
    """
    Who asks.

    Attributes:
        key_id: The id of their key; eight letters that are no id where they have none.
        name: The name of the key.
        scopes: What they may do.
    """

    key_id: str
    name: str
    scopes: frozenset[str]


STRANGER = Caller("stranger", "anyone", frozenset())
"""Whoever asks for what is open to all."""
LOCAL = Caller("loopback", "anyone on this machine", frozenset({FORECAST, JOBS}))
"""Whoever asks from this machine, where the service has no keys."""


class Admission:
    """Lets requests in, or says why not; for all threads of a process."""

    def __init__(self, keys: Keys | None, rates: Rates, rate_per_s: float) -> None:
        """
        Touch nothing.

        Args:
            keys: Those that are let in; None where the service has no keys, and whoever is on this machine may ask.
            rates: How often each has asked.
            rate_per_s: Requests a second for whoever has no limit of their own; 0 for any number.
        """
        self._keys = keys
        self._rates = rates
        self._rate_per_s = rate_per_s

    @classmethod
    def of(cls, settings: ServiceSettings) -> "Admission":
        """
        As the settings have it.

        Raises:
            BadKeyFile: The file of keys cannot be used.
        """
        keys = Keys(settings.api_keys_file) if settings.api_keys_file else None
        return cls(keys, Rates(settings.state), settings.rate_per_s)

    def admit(self, method: str, path: str, authorization: str | None, client: str | None = None) -> Caller:
        """
        Who asks, once it is known that they may.

        Args:
            method: In upper case.
            path: Decoded, as it will be routed, without the query.
            authorization: That header, if there is one.
            client: The caller's IP address; None where nobody but this machine can reach the door.

        Raises:
            Unauthorized: Without a key that is let in.
            Forbidden: The key lacks the scope.
            RateLimited: The caller has asked too often.
        """
        scope = needed(method, path)
        if scope == OPEN:
            return STRANGER
        caller, rate_per_s = self._who(authorization, client)
        if scope != ANY_KEY and scope not in caller.scopes:
            raise Forbidden(needed=scope, has=None if caller is LOCAL else _sorted(caller.scopes))
        if rate_per_s and (wait_s := self._rates.take(caller.key_id, rate_per_s)):
            raise RateLimited(rate_per_s=rate_per_s, wait_s=wait_s)
        return caller

    def _who(self, authorization: str | None, client: str | None) -> tuple[Caller, float]:
        """Who asks, and how many requests a second they may make."""
        if self._keys is None:
            if client is None or is_local(client):
                return LOCAL, self._rate_per_s
            raise Unauthorized(given=False)
        given = _bearer(authorization)
        key = self._keys.find(given)
        if key is None:
            raise Unauthorized(given=bool(given))
        rate_per_s = self._rate_per_s if key.rate_per_s is None else key.rate_per_s
        return Caller(key.id, key.name, key.scopes), rate_per_s


def _bearer(authorization: str | None) -> str:
    """The key in a header; empty where there is none."""
    scheme, _, key = (authorization or "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else ""


def _sorted(scopes: Iterable[str]) -> list[str]:
    return [scope for scope in SCOPES if scope in scopes]
