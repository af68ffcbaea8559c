"""Webhooks as their receivers meet them: real servers, with and without TLS."""

import base64
import contextlib
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from tests.integration.receiving import Receiver, certified, receiving
from tests.integration.server_process import free_port
from tests.integration.up_process import until
from worker.errors import WebhookRefused
from worker.receivers import AllowedHosts
from worker.settings import WorkerSettings
from worker.signing import Secrets
from worker.webhooks import AGAIN_S, AT_A_TIME, Ended, Webhooks, check

PAGE = Path(__file__).parents[2] / "docs" / "webhooks.md"
SECRET = f"whsec_{base64.b64encode(bytes(32)).decode()}"


@dataclass
class Hooks:
    """The ledger's part, in memory, with a clock of its own."""

    due_s: dict[str, float]
    now_s: float = 0.0
    attempts: dict[str, int] = field(default_factory=dict)
    tried: list[tuple[str, bool, int, float | None]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def hooks_due(self, limit: int) -> list[tuple[str, int]]:
        with self.lock:
            due = [job_id for job_id, at_s in self.due_s.items() if at_s <= self.now_s][:limit]
            for job_id in due:
                self.due_s[job_id] = self.now_s + 60
            return [(job_id, self.attempts.get(job_id, 0)) for job_id in due]

    def hook_tried(self, job_id: str, *, delivered: bool, status: int, again_s: float | None) -> None:
        with self.lock:
            self.tried.append((job_id, delivered, status, again_s))
            self.attempts[job_id] = self.attempts.get(job_id, 0) + 1
            del self.due_s[job_id]
            if again_s is not None:
                self.due_s[job_id] = self.now_s + again_s


def job(job_id: str = "a" * 32, **changes: Any) -> dict[str, Any]:
    """A job as it is shown once it has ended."""
    return {
        "id": job_id,
        "status": "completed",
        "counts": {"total": 3, "completed": 2, "failed": 1},
        "finished_at": "2026-03-02T21:30:05.120Z",
        "expires_at": "2026-03-09T21:30:00.000Z",
        "webhook": {"url": "https://hooks.example.com/?token=1", "state": "pending", "attempts": 2},
    } | changes


def settings(hosts: str, *, secret: str = SECRET) -> WorkerSettings:
    return WorkerSettings(webhook_hosts=AllowedHosts(hosts), webhook_secret=Secrets(secret))


def deliver(url: str, hosts: str, **changes: Any) -> tuple[bool, int, float | None]:
    """One try at a URL: whether it was delivered, the status, and when it is tried again."""
    hooks = Hooks({"a" * 32: 0.0})
    assert Webhooks(settings(hosts), hooks, lambda _: Ended(url, job()), **changes).deliver_due() == 1
    return hooks.tried[0][1:]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


def here(receiver: Receiver) -> str:
    """The list that allows a receiver, and its URL without a path."""
    return f"http://127.0.0.1:{receiver.port}"


def test_a_receiver_is_told_of_a_job_as_it_is_shown_and_can_check_the_signature(receiver: Receiver) -> None:
    tried = deliver(f"{here(receiver)}/in?token=1", here(receiver))

    (got,) = receiver.got
    assert tried == (True, 204, None)
    assert got.path == "/in?token=1"
    assert got.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["content-type"] == "application/json"
    event = Webhook(SECRET).verify(got.body, got.headers)
    assert event == {
        "type": "job.completed",
        "timestamp": "2026-03-02T21:30:05.120Z",
        "data": {name: value for name, value in job().items() if name != "webhook"},
    }


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled", "expired"])
def test_each_end_of_a_job_is_an_event_of_its_own(status: str, receiver: Receiver) -> None:
    hooks = Hooks({"a" * 32: 0.0})

    Webhooks(settings(here(receiver)), hooks, lambda _: Ended(here(receiver), job(status=status))).deliver_due()

    event = json.loads(receiver.got[0].body)
    assert event["type"] == f"job.{status}"
    assert event["timestamp"] == job()["expires_at" if status == "expired" else "finished_at"]


def test_over_tls_the_certificate_and_the_host_are_those_of_the_url(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls, authority = certified("hooks.example.com", tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    with receiving(tls=tls) as receiver:
        hosts = f"hooks.example.com:{receiver.port}, other.example.com:{receiver.port}, 127.0.0.1"

        good = deliver(f"https://hooks.example.com:{receiver.port}/", hosts, resolve=lambda *_: ["127.0.0.1"])
        bad = deliver(f"https://other.example.com:{receiver.port}/", hosts, resolve=lambda *_: ["127.0.0.1"])

    assert good == (True, 204, None)
    assert bad[:2] == (False, 0)
    assert receiver.server_names == ["hooks.example.com", "other.example.com"]
    assert [each.headers["host"] for each in receiver.got] == [f"hooks.example.com:{receiver.port}"]


def test_a_certificate_that_no_authority_vouches_for_is_refused(tmp_path: Path) -> None:
    tls, _ = certified("hooks.example.com", tmp_path)
    with receiving(tls=tls) as receiver:
        url, hosts = f"https://hooks.example.com:{receiver.port}/", f"hooks.example.com:{receiver.port}, 127.0.0.1"

        assert deliver(url, hosts, resolve=lambda *_: ["127.0.0.1"])[:2] == (False, 0)

    assert receiver.got == []


def test_a_name_that_leads_to_a_private_address_is_not_called(receiver: Receiver) -> None:
    hosts = f"http://hooks.example.com:{receiver.port}"

    for found in (["127.0.0.1"], ["::ffff:127.0.0.1"], ["8.8.8.8", "127.0.0.1"]):
        delivered, status, again_s = deliver(hosts, hosts, resolve=lambda *_, found=found: found)
        assert (delivered, status) == (False, 0)
        assert again_s is not None

    assert receiver.got == []


def test_a_name_whose_address_changes_is_called_at_the_one_that_was_looked_at(receiver: Receiver) -> None:
    answers = [["127.0.0.1"], ["127.0.0.2"], ["169.254.169.254"]]
    hosts = f"http://rebinding.example:{receiver.port}"

    tried = deliver(hosts, f"{hosts}, 127.0.0.1", resolve=lambda *_: answers.pop(0))

    assert tried == (True, 204, None)
    assert len(answers) == 2  # looked up once
    assert receiver.got[0].headers["host"] == f"rebinding.example:{receiver.port}"


def test_of_several_addresses_the_next_is_tried_where_one_is_not_reached(receiver: Receiver) -> None:
    hosts = f"http://hooks.example.com:{receiver.port}"

    assert deliver(hosts, f"{hosts}, 127.0.0.0/8", resolve=lambda *_: ["127.0.0.9", "127.0.0.1"])[0]


def test_a_redirect_is_not_followed_and_no_proxy_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(variable, here(receiver))
    with receiving((307, {"Location": here(receiver)})) as redirecting:
        delivered, status, again_s = deliver(here(redirecting), f"{here(redirecting)}, {here(receiver)}")

    assert (delivered, status) == (False, 307)
    assert again_s is not None
    assert receiver.got == []
    assert len(redirecting.got) == 1


def drip(head: bytes, part: bytes) -> Callable[[Any], None]:
    """An answer that never ends, a little at a time."""

    def write(file: Any) -> None:
        with contextlib.suppress(OSError):
            file.write(head)
            while True:
                file.write(part)
                file.flush()
                time.sleep(0.02)  # the receiver's own slowness, not a wait of the test

    return write


@pytest.mark.parametrize(
    ("head", "part", "status"),
    [
        (b"HTTP/1.1 500 Oh\r\n", b"X", 500),  # a header without end
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0),
        (b"", b"H", 0),
    ],
)
def test_a_receiver_who_is_slow_does_not_hold_us(head: bytes, part: bytes, status: int) -> None:
    with receiving(by_hand=drip(head, part)) as receiver:
        tried = deliver(here(receiver), here(receiver), whole_s=0.3)

    assert tried[:2] == (False, status)


def test_an_answer_counts_once_its_status_is_there_and_its_body_is_not_read_to_the_end() -> None:
    most, part = 64 * 1024 * 1024, b"X" * 65536
    sent = []

    def write(file: Any) -> None:
        with contextlib.suppress(OSError):
            file.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while sum(sent) < most:
                sent.append(file.write(part))

    with receiving(by_hand=write) as receiver:
        assert deliver(here(receiver), here(receiver)) == (True, 200, None)

    assert sum(sent) < most


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 999999 OK\r\n\r\n"])
def test_what_does_not_speak_http_is_tried_again(answer: bytes) -> None:
    with receiving(by_hand=lambda file: file.write(answer)) as receiver:
        assert deliver(here(receiver), here(receiver))[:2] == (False, 0)


def test_a_message_is_tried_again_until_it_is_taken_and_keeps_its_id() -> None:
    with receiving((500, {}), (404, {}), (302, {}), (200, {})) as receiver:
        hooks = Hooks({"a" * 32: 0.0})
        webhooks = Webhooks(settings(here(receiver)), hooks, lambda _: Ended(here(receiver), job()))

        for _ in range(20):
            webhooks.deliver_due()
            hooks.now_s += 60

    assert [(delivered, status) for _, delivered, status, _ in hooks.tried] == [
        (False, 500), (False, 404), (False, 302), (True, 200)
    ]  # fmt: skip
    assert [again_s // least_s for (*_, again_s), least_s in zip(hooks.tried[:3], AGAIN_S, strict=False)] == [1, 1, 1]
    assert len({(each.headers["webhook-id"], each.body) for each in receiver.got}) == 1


def test_a_receiver_who_never_answers_well_is_given_up() -> None:
    with receiving((503, {})) as receiver:
        hooks = Hooks({"a" * 32: 0.0})
        webhooks = Webhooks(settings(here(receiver)), hooks, lambda _: Ended(here(receiver), job()))

        for _ in range(20):
            webhooks.deliver_due()
            hooks.now_s += 2 * AGAIN_S[-1]

    assert len(receiver.got) == len(AGAIN_S) + 1
    assert hooks.tried[-1][3] is None


def test_a_receiver_who_is_gone_is_not_asked_again() -> None:
    with receiving((410, {})) as receiver:
        assert deliver(here(receiver), here(receiver)) == (False, 410, None)


@pytest.mark.parametrize(
    ("header", "least_s", "most_s"),
    [
        ("600", 600, 720),
        ("1", AGAIN_S[0], 2 * AGAIN_S[0]),
        ("99999999999", 86400, 1.2 * 86400),
        (lambda: format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True), 7000, 7200 * 1.2),
        ("-5", AGAIN_S[0], 2 * AGAIN_S[0]),
        ("soon", AGAIN_S[0], 2 * AGAIN_S[0]),
        ("9" * 400, AGAIN_S[0], 2 * AGAIN_S[0]),
    ],
)
def test_when_a_receiver_says_when_to_come_again_it_is_within_bounds(
    header: str | Callable[[], str], least_s: float, most_s: float
) -> None:
    said = header if isinstance(header, str) else header()

    with receiving((503, {"Retry-After": said})) as receiver:
        again_s = deliver(here(receiver), here(receiver))[2]

    assert again_s is not None
    assert least_s <= again_s <= most_s


def test_a_job_that_is_resumed_ends_in_another_message(receiver: Receiver) -> None:
    for ended in (job(status="failed"), job(status="completed"), job(finished_at="2026-03-02T22:00:00.000Z")):
        shown = Ended(here(receiver), ended)
        Webhooks(settings(here(receiver)), Hooks({"a" * 32: 0.0}), lambda _, shown=shown: shown).deliver_due()

    assert len({each.headers["webhook-id"] for each in receiver.got}) == 3


@pytest.mark.parametrize("found", [None, Ended("", job()), Ended("http://127.0.0.1:9", job(status="in_progress"))])
def test_where_there_is_nothing_to_tell_any_more_nothing_is_sent(found: Ended | None) -> None:
    hooks = Hooks({"a" * 32: 0.0})

    Webhooks(settings("http://127.0.0.1:9"), hooks, lambda _: found).deliver_due()

    assert hooks.tried == [("a" * 32, False, 0, None)]


def test_a_host_that_is_allowed_no_longer_is_not_called(receiver: Receiver) -> None:
    assert deliver(here(receiver), "hooks.example.com") == (False, 0, None)
    assert receiver.got == []


def test_one_that_makes_us_stumble_is_counted_and_given_up_in_the_end() -> None:
    def look(_: str) -> Ended:
        return Ended("http://127.0.0.1:9", {"status": "completed"})  # a job without its times

    hooks = Hooks({"a" * 32: 0.0})

    Webhooks(settings("http://127.0.0.1:9"), hooks, look).deliver_due()

    assert hooks.tried[0][3] is not None


def test_a_slow_receiver_does_not_hold_up_the_others(receiver: Receiver) -> None:
    with receiving(by_hand=drip(b"", b"H")) as slow:
        urls = {f"slow{number}": here(slow) for number in range(AT_A_TIME - 1)}
        urls |= {f"good{number}": here(receiver) for number in range(20)}
        hooks = Hooks(dict.fromkeys(urls, 0.0))
        hosts = f"{here(slow)}, {here(receiver)}"
        webhooks = Webhooks(settings(hosts), hooks, lambda job_id: Ended(urls[job_id], job(job_id)))

        webhooks.start()
        try:
            until(lambda: len(receiver.got) == 20, "all that can be delivered is")
        finally:
            webhooks.stop()

    told = {json.loads(each.body)["data"]["id"] for each in receiver.got}
    assert told == {job_id for job_id in urls if job_id.startswith("good")}


@pytest.mark.parametrize(
    ("hosts", "secret", "said"),
    [
        ("hooks.example.com", "", "this service sends none"),
        ("", SECRET, "this service sends none"),
        ("other.example.com", SECRET, "none that this service calls"),
    ],
)
def test_a_webhook_that_would_not_be_sent_is_refused_at_once(hosts: str, secret: str, said: str) -> None:
    with pytest.raises(WebhookRefused, match=said):
        check("https://hooks.example.com/in", settings(hosts, secret=secret))


def test_a_webhook_that_would_be_sent_is_taken() -> None:
    assert check("https://hooks.example.com/in", settings("hooks.example.com")).host == "hooks.example.com"


@pytest.mark.slow
def test_the_receiver_of_the_page_takes_what_is_signed_and_nothing_else() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    port = free_port()
    command = [sys.executable, "-c", code.replace("9000", str(port))]
    url, env = f"http://127.0.0.1:{port}", {**os.environ, "NEXTDAY_WEBHOOK_SECRET": SECRET}

    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as receiver:
        until(lambda: deliver(url, url)[0], "the receiver takes a message")
        forged = httpx.post(url, content=b"{}", headers={"webhook-id": "1", "webhook-signature": "v1,AAAA"})
        receiver.terminate()
        said = receiver.communicate()[0]

    assert forged.status_code == 401
    assert re.fullmatch(r"msg_[0-9a-f]{32} job.completed a{32}\n", said)
