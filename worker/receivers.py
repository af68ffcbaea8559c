"""
Whom webhooks may be sent to: the operator's list of hosts, and a URL held against it.

A URL is read by one strict pattern and taken apart once. What is sent later is made of those parts, so no second reader
can understand it otherwise. A name is looked up once, at delivery, and all its addresses are looked at: each must be
public, or the operator must have named it or its network.
"""

import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from models.errors import SettingError
from worker.errors import WebhookRefused

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
Resolve = Callable[[str, int], Sequence[str]]
"""Looks up a host's name, for a port: its addresses; raises OSError."""

MAX_URL_LENGTH = 2000
DEFAULT_PORTS = {"https": 443, "http": 80}
WANTED = (
    "hosts with commas between, as in hooks.example.com, hooks.example.com:8443, *.example.com, "
    "http://hooks.internal:8080, 192.168.1.5, 10.1.0.0/16"
)

_URL = re.compile(r"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
_HOST_AND_PORT = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?")
_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes resolvers take a whole host for an address: 2130706433, 0177.1 and 0x7f.1 are 127.0.0.1."""

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NOT_PUBLIC: tuple[Network, ...] = (
    IPv4Network("192.0.0.0/24"),  # for protocols
    IPv4Network("192.88.99.0/24"),  # 6to4's relays
    IPv6Network("2002::/16"),  # 6to4: an IPv4 address inside, whichever
    IPv6Network("3fff::/20"),  # for documentation
)


@dataclass(frozen=True, slots=True)
class Receiver:
    """
    A webhook's URL, taken apart.

    Attributes:
        scheme: https or http.
        host: A name in lower case, or an address without brackets.
        address: The host, where it is an address.
        port: The URL's, or its scheme's.
        target: Path and query, as they go into the request.
    """

    scheme: str
    host: str
    address: Address | None
    port: int
    target: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One of the hosts that an operator has named; `name` or `network`, and no port means the scheme's own."""

    scheme: str
    name: str
    network: Network | None
    port: int | None

    def takes(self, receiver: Receiver) -> bool:
        """Whether a URL is of this host."""
        if receiver.scheme != self.scheme or receiver.port != (self.port or DEFAULT_PORTS[self.scheme]):
            return False
        if receiver.address is not None:
            return self.network is not None and receiver.address in self.network
        if self.name.startswith("*."):
            return receiver.host.endswith(self.name[1:])
        return receiver.host == self.name

    def holds(self, address: Address, port: int) -> bool:
        """Whether an address is, or is in, what was named; without a port, on all its ports."""
        return self.network is not None and address in self.network and self.port in (None, port)


@dataclass(frozen=True)
class AllowedHosts:
    """
    The hosts that an operator has named in ``NEXTDAY_WEBHOOK_HOSTS``; none where the text is empty.

    Raises:
        SettingError: A part of the text is no host.
    """

    text: str
    entries: tuple[Entry, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        named = [part.strip() for part in self.text.split(",") if part.strip()]
        object.__setattr__(self, "entries", tuple(_entry(part) for part in named))

    def __str__(self) -> str:
        return self.text

    def receiver(self, url: str) -> Receiver:
        """
        A URL taken apart.

        Raises:
            WebhookRefused: It is none, or not one of these hosts; the message names none of them.
        """
        receiver = parse(url)
        if not any(entry.takes(receiver) for entry in self.entries):
            raise WebhookRefused(reason="its scheme, host and port are none that this service calls; ask its operator")
        return receiver

    def addresses(self, receiver: Receiver, resolve: Resolve) -> list[str]:
        """
        Where a receiver is, looked up once; every address has been looked at.

        Raises:
            WebhookRefused: One of them is neither public nor named.
            OSError: The name is not known.
        """
        if receiver.address is not None:
            found = [str(receiver.address)]
        else:
            found = list(dict.fromkeys(resolve(receiver.host, receiver.port)))
        if not found:
            raise OSError("the name has no address")
        if not all(self._may_be(unmapped(ip_address(each)), receiver.port) for each in found):
            raise WebhookRefused(reason="its host is at an address that is not public")
        return found

    def _may_be(self, address: Address, port: int) -> bool:
        return is_public(address) or any(entry.holds(address, port) for entry in self.entries)


def parse(url: str) -> Receiver:
    """
    A URL taken apart, whoever is allowed.

    Raises:
        WebhookRefused: It is no absolute http or https URL of plain form.
    """
    if len(url) > MAX_URL_LENGTH:
        raise WebhookRefused(reason=f"it has {len(url)} characters; at most {MAX_URL_LENGTH} are taken")
    if not re.fullmatch(r"[!-\[\]-~]+", url):  # printable ASCII, no blank, no backslash
        raise WebhookRefused(reason="it has characters other than ASCII's printable ones, or a blank or backslash")
    if "#" in url:
        raise WebhookRefused(reason="it has a fragment (#...)")
    matched = _URL.fullmatch(url)
    if matched is None:
        raise WebhookRefused(reason="it does not begin with https://")
    scheme, authority, rest = matched[1].lower(), matched[2], matched[3]
    if "@" in authority:
        raise WebhookRefused(reason="it has a user or a password; receivers check the signature instead")
    host, address, port = _authority(authority)
    return Receiver(scheme, host, address, port or DEFAULT_PORTS[scheme], rest if rest[:1] == "/" else f"/{rest}")


def is_public(address: Address) -> bool:
    """Whether an address is one of the internet at large, and holds no other address inside."""
    if any(address in network for network in _NOT_PUBLIC):
        return False
    if isinstance(address, IPv6Address):
        return address in _GLOBAL_UNICAST and address.is_global
    return address.is_global and not address.is_multicast


def unmapped(address: Address) -> Address:
    """The IPv4 address that an IPv6 one stands for (::ffff:10.0.0.1), else the address."""
    return getattr(address, "ipv4_mapped", None) or address


def look_up(host: str, port: int) -> list[str]:
    """The addresses of a name, by the system's resolver."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]


def _authority(text: str) -> tuple[str, Address | None, int | None]:
    """Host, address and port of a URL's authority; of a name the address is None."""
    matched = _HOST_AND_PORT.fullmatch(text)
    host = matched and _host(matched[1])
    if matched is None or host is None:
        raise WebhookRefused(
            reason="its host is neither a name, in ASCII and without a dot at the end, nor an address as 192.0.2.1 or "
            "[2001:db8::1]"
        )
    port = int(matched[2]) if matched[2] else None
    if port is not None and not 0 < port < 65536:
        raise WebhookRefused(reason=f"its port is {port}; ports go from 1 to 65535")
    return (host, None, port) if isinstance(host, str) else (str(host), host, port)


def _host(text: str) -> str | Address | None:
    """A name in lower case, an address, or None where it is neither."""
    try:
        return unmapped(IPv6Address(text[1:-1])) if text[0] == "[" else IPv4Address(text)
    except ValueError:
        name = text.lower()
    # An address that is none of the plain form is none at all, however a resolver would read it.
    plain = len(name) <= 253 and _NAME.fullmatch(name) and not _NUMBER.fullmatch(name.rpartition(".")[2])
    return name if plain else None


def _entry(text: str) -> Entry:
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "https", text
    if scheme.lower() not in DEFAULT_PORTS:
        raise _bad(text)
    try:
        return Entry(scheme.lower(), "", ip_network(rest), None)
    except ValueError:
        wildcard = rest.startswith("*.")
    try:
        host, address, port = _authority(rest.removeprefix("*."))
    except WebhookRefused:
        raise _bad(text) from None
    if wildcard and address is not None:
        raise _bad(text)
    network = None if address is None else ip_network(address)
    return Entry(scheme.lower(), f"*.{host}" if wildcard else host, network, port)


def _bad(text: str) -> SettingError:
    return SettingError(variable="NEXTDAY_WEBHOOK_HOSTS", value=text, wanted=WANTED)
