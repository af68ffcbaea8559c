from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import SettingError
from models.settings import from_env
from worker.errors import WebhookRefused
from worker.receivers import AllowedHosts, is_public, parse, unmapped
from worker.settings import WorkerSettings

NAMED = AllowedHosts(
    "hooks.example.com, other.example.com:8443, *.partner.example, http://hooks.internal:8080, 192.168.1.5, "
    "10.1.0.0/16, [fd00::7]:9000, http://127.0.0.1:8080"
)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com",
        "https://hooks.example.com:443/in?token=a@b&c=/d",
        "HTTPS://Hooks.Example.COM/in",
        "https://other.example.com:8443/",
        "https://a.partner.example/",
        "https://a.b.partner.example/",
        "http://hooks.internal:8080/in",
        "https://192.168.1.5/",
        "https://10.1.255.255/",
        "https://[::ffff:10.1.0.1]/",
        "https://[fd00::7]:9000/",
        "https://[FD00:0:0::7]:9000/",
        "http://127.0.0.1:8080/",
    ],
)
def test_a_host_that_is_named_is_taken(url: str) -> None:
    assert NAMED.receiver(url).host in url.lower() or NAMED.receiver(url).address


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/",
        "https://evilhooks.example.com/",
        "https://hooks.example.com.evil.example/",
        "https://hooks.example.com:444/",
        "http://hooks.example.com/",
        "http://hooks.example.com:443/",
        "https://other.example.com/",
        "https://partner.example/",
        "https://evilpartner.example/",
        "https://hooks.internal:8080/",
        "http://hooks.internal/",
        "https://192.168.1.6/",
        "https://10.2.0.1/",
        "https://127.0.0.1:8080/",
        "https://[fd00::7]/",
        "https://[::1]/",
        "https://localhost/",
        "https://xn--hooks-ova.example.com/",
    ],
)
def test_a_host_that_is_not_named_is_refused_without_saying_which_are(url: str) -> None:
    with pytest.raises(WebhookRefused, match="none that this service calls") as refused:
        NAMED.receiver(url)

    assert not any(secret in str(refused.value) for secret in ("internal", "partner", "192.168", "8443"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "characters other than ASCII"),
        ("hooks.example.com", "does not begin with https://"),
        ("//hooks.example.com/", "does not begin with https://"),
        ("ftp://hooks.example.com/", "does not begin with https://"),
        ("file:///etc/passwd", "does not begin with https://"),
        ("https:hooks.example.com", "does not begin with https://"),
        ("https:/hooks.example.com", "does not begin with https://"),
        ("https:///hooks.example.com", "its host"),
        ("https://", "its host"),
        ("https://:443/", "its host"),
        ("https://hooks.example.com:/", "its host"),
        ("https://hooks.example.com:https/", "its host"),
        ("https://hooks.example.com:443:443/", "its host"),
        ("https://hooks.example.com:0/", "ports go from 1"),
        ("https://hooks.example.com:65536/", "ports go from 1"),
        ("https://user@hooks.example.com/", "a user or a password"),
        ("https://hooks.example.com@evil.example/", "a user or a password"),
        ("https://hooks.example.com:443@evil.example/", "a user or a password"),
        ("https://hooks.example.com%40evil.example/", "its host"),
        ("https://hooks.example.com%2f@evil.example/", "a user or a password"),
        ("https://hooks.example.com\\@evil.example/", "backslash"),
        ("https://evil.example\\.hooks.example.com/", "backslash"),
        ("https://hooks.example.com/#top", "a fragment"),
        ("https://evil.example#@hooks.example.com/", "a fragment"),
        ("https://hooks.example.com./", "its host"),
        ("https://hooks..example.com/", "its host"),
        ("https://.hooks.example.com/", "its host"),
        ("https://-hooks.example.com-/", "its host"),
        (f"https://{'a' * 64}.example.com/", "its host"),
        (f"https://{'a.' * 130}example.com/", "its host"),
        ("https://hooks.example.com/ in", "blank"),
        (" https://hooks.example.com/", "blank"),
        ("https://hooks.example.com/\r\nHost: evil.example", "characters other"),
        ("https://hooks.exa\tmple.com/", "characters other"),
        ("https://hooks.example.com/\x00", "characters other"),
        ("https://hööks.example.com/", "characters other"),
        ("https://hooks\u3002example\u3002com/", "characters other"),
        ("https://\uff48ooks.example.com/", "characters other"),
        ("https://2130706433/", "its host"),
        ("https://0x7f000001/", "its host"),
        ("https://017700000001/", "its host"),
        ("https://0177.0.0.1/", "its host"),
        ("https://0x7f.0.0.1/", "its host"),
        ("https://127.1/", "its host"),
        ("https://127.0.0.1./", "its host"),
        ("https://127.0.0.256/", "its host"),
        ("https://1.2.3.4.5/", "its host"),
        ("https://hooks.example.0x7f/", "its host"),
        ("https://[127.0.0.1]/", "its host"),
        ("https://[::1/", "its host"),
        ("https://[fe80::1%25eth0]/", "its host"),
        ("https://[::1]evil.example/", "its host"),
        (f"https://hooks.example.com/{'a' * 2000}", "at most 2000"),
    ],
)
def test_a_url_of_another_form_is_refused_and_the_message_says_why(url: str, said: str) -> None:
    with pytest.raises(WebhookRefused, match=said):
        parse(url)


PARTS = [
    "hooks",
    "example",
    "com",
    "0x7f",
    "127",
    "127.0.0.1",
    "::1",
    "443",
    "[",
    "]",
    *".:/@?#%-_\\",
    "%40",
    "%2f",
    "A",
]


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join))
def test_no_other_reader_of_a_url_sees_another_host_in_it(text: str) -> None:
    url = f"https://{text}"
    try:
        receiver = parse(url)
    except WebhookRefused:
        return

    for host, port in ((urlsplit(url).hostname, urlsplit(url).port), (httpx.URL(url).host, httpx.URL(url).port)):
        assert receiver.address or host == receiver.host
        assert receiver.address is None or unmapped(ip_address(host)) == receiver.address
        assert (port or 443) == receiver.port


@pytest.mark.parametrize(
    "entry",
    ["*", "*.", "*.*.example.com", "*.10.0.0.1", "ftp://hooks.example.com", "https://hooks.example.com/in",
     "10.0.0.1/8", "hooks.example.com:port", "hooks.example.com:0", "user@hooks.example.com", "hööks.example.com",
     "2130706433", "hooks.example.com.", "hooks example com", "10.0.0.0/33"],
)  # fmt: skip
def test_a_host_that_cannot_be_stops_the_start(entry: str) -> None:
    with pytest.raises(SettingError, match=r"NEXTDAY_WEBHOOK_HOSTS=.*hooks\.example\.com:8443"):
        from_env(WorkerSettings, {"NEXTDAY_WEBHOOK_HOSTS": f"hooks.example.com,{entry}"})


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.0.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "192.0.0.8",
     "192.88.99.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "203.0.113.1", "::", "::1",
     "::10.0.0.1", "64:ff9b::a00:1", "64:ff9b::8.8.8.8", "2002:a00:1::", "2001:0:1::1", "2001:db8::1", "3fff::1",
     "fc00::1", "fd00::1", "fe80::1", "fec0::1", "ff02::1", "5f00::1"],
)  # fmt: skip
def test_an_address_that_is_not_of_the_internet_at_large_is_not_public(address: str) -> None:
    assert not is_public(unmapped(ip_address(address)))
    if ":" not in address:
        assert not is_public(unmapped(ip_address(f"::ffff:{address}")))


@pytest.mark.parametrize("address", ["8.8.8.8", "93.184.215.14", "2001:4860:4860::8888", "2606:2800:21f:cb07::1"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    ("url", "found", "taken"),
    [
        ("https://hooks.example.com/", ["8.8.8.8"], True),
        ("https://hooks.example.com/", ["8.8.8.8", "2001:4860:4860::8888"], True),
        ("https://hooks.example.com/", ["10.1.2.3"], True),  # its network is named
        ("https://hooks.example.com/", ["::ffff:10.1.2.3"], True),
        ("https://hooks.example.com/", ["192.168.1.5"], True),
        ("https://hooks.example.com/", ["127.0.0.1"], False),  # named for another port
        ("https://hooks.example.com/", ["169.254.169.254"], False),
        ("https://hooks.example.com/", ["::ffff:169.254.169.254"], False),
        ("https://hooks.example.com/", ["8.8.8.8", "127.0.0.1"], False),
        ("https://hooks.example.com/", ["10.2.0.1"], False),
        ("https://hooks.example.com/", ["fe80::1%1"], False),
        ("http://hooks.internal:8080/", ["127.0.0.1"], True),
    ],
)
def test_all_addresses_of_a_name_are_public_or_named(url: str, found: list[str], taken: bool) -> None:
    receiver = NAMED.receiver(url)

    if taken:
        assert NAMED.addresses(receiver, lambda *_: found) == found
    else:
        with pytest.raises(WebhookRefused, match="not public"):
            NAMED.addresses(receiver, lambda *_: found)
