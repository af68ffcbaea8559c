"""Content-Digest: bodies that are, and are not, what was sent."""

import base64
import hashlib

import pytest

from worker.digests import ContentDigest
from worker.errors import DigestMismatch

BODY = b"id,closes\nA,1 2\n"


def member(name: str, body: bytes = BODY) -> str:
    return f"{name}=:{base64.b64encode(hashlib.new(name.replace('-', ''), body).digest()).decode()}:"


def check(header: str) -> None:
    digest = ContentDigest(header)
    digest.update(BODY[:5])
    digest.update(BODY[5:])
    digest.check()


@pytest.mark.parametrize(
    "header",
    [
        "",
        member("sha-256"),
        member("sha-512"),
        f"{member('sha-256')}, {member('sha-512')}",
        f"md5=:AAAA:,{member('sha-256')}",
    ],
)
def test_a_body_that_came_as_it_was_sent_passes(header: str) -> None:
    check(header)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        (member("sha-256", b"else"), "sha-256 is"),
        (f"{member('sha-256')},{member('sha-512', b'else')}", "sha-512 is"),
        ("md5=:AAAA:", "none of sha-256, sha-512"),
        ("sha-256=AAAA", "looks like"),
        ("sha-256=:AAA:", "not base64"),
        (",", "looks like"),
    ],
)
def test_another_body_or_a_header_that_cannot_be_is_refused(header: str, words: str) -> None:
    with pytest.raises(DigestMismatch, match=words):
        check(header)
