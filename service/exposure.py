"""Whom a service would let in, looked at before it starts; imports little, since whoever starts one waits for it."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address

from models.errors import SettingError
from service.cors import parse_origins
from service.keys import Key, read
from service.rates import Rates
from service.settings import ServiceSettings


def check_exposure(settings: ServiceSettings, address: str) -> None:
    """
    Refuse to start a service that would let in whom nobody has chosen, or could not keep a limit.

    Args:
        settings: Its settings.
        address: The IP address that it is about to listen on.

    Raises:
        SettingError: Others could reach it, and it has no keys; or a setting of this kind cannot be used.
        BadKeyFile: The file of keys cannot be used.
    """
    keys = read(settings.api_keys_file) if settings.api_keys_file else {}
    if not keys and not is_local(address):
        raise SettingError(variable="NEXTDAY_HOST", value=settings.host, wanted=_how_to_let_others_in(settings))
    parse_origins(settings.cors_origins)
    if settings.rate_per_s or _limited(keys.values()):
        rates = Rates(settings.state)
        rates.open()
        rates.close()


def _limited(keys: Iterable[Key]) -> bool:
    return any(key.rate_per_s for key in keys)


def _how_to_let_others_in(settings: ServiceSettings) -> str:
    file = settings.api_keys_file
    why = f"{file} holds no API key" if file else "there are no API keys"
    more = f"--file {file or 'api-keys'}`" + ("" if file else " and set NEXTDAY_API_KEYS_FILE=api-keys")
    return (
        f"others can reach this address, and {why}; make one with `nextday keys new NAME --scope forecast --scope jobs "
        f"{more}, or listen on 127.0.0.1"
    )


@lru_cache(maxsize=1024)
def is_local(address: str) -> bool:
    """
    Whether an IP address is this machine's own, for itself.

    >>> is_local("127.0.0.1"), is_local("::1"), is_local("::ffff:127.0.0.1"), is_local("10.0.0.1"), is_local("")
    (True, True, True, False, False)
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback
