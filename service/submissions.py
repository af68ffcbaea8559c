"""``POST /v1/jobs`` read: what is submitted, what is wished for it, and under which key."""

import io
from typing import BinaryIO, NamedTuple

from flask import Request

from models.bounds import DEFAULT_MODEL
from models.errors import UnknownLevel, UnknownModel
from models.repository import Repository
from service import query
from service.bodies import open_body
from service.errors import InvalidParameter
from service.settings import ServiceSettings
from service.spool import Spooled
from worker.answers import level_columns
from worker.digests import ContentDigest
from worker.intake import Upload
from worker.job_requests import read_reference
from worker.jobs import Wishes
from worker.media_types import JSON
from worker.reading.formats import MEDIA_TYPES
from worker.reading.sources import ENCODINGS
from worker.references import Reference
from worker.requests import Options

MAX_KEY_LENGTH = 200
MAX_REFERENCE_BYTES = 64 * 1024
"""Longest body that may name a file; a longer one is looked at for series alone."""
PARAMETERS = ("model", "version", "levels", "join", "webhook", "expires_in_h")
PACKINGS = ENCODINGS[1:]
"""What the Content-Encoding of an upload may be."""


class Submitted(NamedTuple):
    """A submission as `worker.jobs.Jobs.submit` takes it."""

    source: Upload | Reference
    wishes: Wishes
    idempotency_key: str | None


def read(asked: Request, models: Repository, settings: ServiceSettings) -> Submitted:
    """
    What a request submits; a large upload is not read yet.

    Raises:
        InvalidParameter: Something in the query or a header cannot be.
        UnsupportedMediaType: Content-Type or Content-Encoding is not taken.
        LengthRequired: The body's length is not told.
        BodyTooLarge: It announces more than is taken.
        InputError: It names a file, and is not as documented.
    """
    query.allow(asked.args, *PARAMETERS)
    if asked.mimetype == JSON and asked.args:
        name = next(iter(asked.args))
        raise InvalidParameter(name=name, reason="belongs in the JSON body, beside `series` or `input`")
    wishes = _wishes(asked)
    if asked.mimetype != JSON:
        _check_options(models, wishes.options)
    key = _idempotency_key(asked)
    body = open_body(asked, most=settings.max_job_bytes, media_types=MEDIA_TYPES, encodings=PACKINGS)
    encoding = asked.headers.get("Content-Encoding", "").lower()
    digest = asked.headers.get("Content-Digest", "")
    if asked.mimetype == JSON and not encoding and (asked.content_length or 0) <= MAX_REFERENCE_BYTES:
        return _of_json(body, digest, wishes, key)
    return Submitted(Upload(body, asked.mimetype, encoding, digest, on_disk=isinstance(body, Spooled)), wishes, key)


def _of_json(body: BinaryIO, content_digest: str, wishes: Wishes, key: str | None) -> Submitted:
    """Of a short document, which may name a file instead of having series."""
    content = body.read()
    named = read_reference(content)
    if named is None:
        return Submitted(Upload(io.BytesIO(content), JSON, "", content_digest), wishes, key)
    digest = ContentDigest(content_digest)
    digest.update(content)
    digest.check()
    given, options = named
    return Submitted(Reference(given.uri, given.media_type), Wishes.of(options), key)


def _wishes(asked: Request) -> Wishes:
    """By the query; a JSON body says them itself."""
    options = Options(
        model=query.text(asked.args, "model") or DEFAULT_MODEL,
        version=query.whole_number(asked.args, "version", least=1),
        levels=query.numbers(asked.args, "levels", example="0.05,0.5,0.95"),
    )
    return Wishes(
        options=options,
        join=tuple(query.texts(asked.args, "join")),
        webhook=query.text(asked.args, "webhook"),
        expires_in_h=query.positive(asked.args, "expires_in_h"),
    )


def _check_options(models: Repository, options: Options) -> None:
    """Refuse what cannot be answered before an upload is read, and name the parameter."""
    try:
        level_columns(options.levels, models.card(options.model, options.version).levels)
    except UnknownModel as error:
        raise InvalidParameter(name="model" if error.version is None else "version", reason=str(error)) from error
    except UnknownLevel as error:
        raise InvalidParameter(name="levels", reason=str(error)) from error


def _idempotency_key(asked: Request) -> str | None:
    key = asked.headers.get("Idempotency-Key")
    if key is None:
        return None
    if not (0 < len(key) <= MAX_KEY_LENGTH and key.isascii() and key.isprintable()):
        reason = f"has {len(key)} characters; it is 1 to {MAX_KEY_LENGTH} printable ASCII characters"
        raise InvalidParameter(name="Idempotency-Key", reason=reason)
    return key
