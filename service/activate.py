"""`nextday activate`: choose which version of a model serves, in a running service."""

from models.errors import InputError
from models.settings import from_env
from service.banner import base_url
from service.client import Client, Document
from service.settings import CallerSettings, ServiceSettings


class NoVersion(InputError):
    """What names a model and its version does not."""

    def __init__(self, *, given: str) -> None:
        super().__init__(f"{given!r} is no NAME or NAME:VERSION, as in lstm:1")


def activate(model: str, *, url: str | None = None) -> Document:
    """
    Let a version serve.

    Args:
        model: ``name:version``; ``name`` alone follows the newest version again.
        url: Of the service, where it is not that of the settings.

    Returns:
        What serves now, as ``PUT /v1/models/{name}/serving`` answers it.

    Raises:
        NoVersion: The model is not named so.
        Refused: There is no such version, or it must not serve.
        ServiceAway: Nothing answers.
        ServiceFailed: The service could not do it.
    """
    name, version = _parsed(model)
    with Client(url or base_url(from_env(ServiceSettings)), api_key=from_env(CallerSettings).api_key) as client:
        return client.serve(name, version)


def line(serving: Document) -> str:
    """The same for people."""
    applied = serving["applied"]
    how = "the newest that can" if serving["pinned"] is None else "pinned"
    behind = f"; {applied['behind']} do not follow yet" if applied["behind"] else ""
    return f"{serving['name']}: version {serving['serving']} serves, {how}, in {applied['processes']} processes{behind}"


def _parsed(model: str) -> tuple[str, int | None]:
    name, colon, version = model.partition(":")
    if not name or (colon and not (version.isascii() and version.isdecimal() and len(version) < 10)):
        raise NoVersion(given=model)
    return name, int(version) if colon else None
