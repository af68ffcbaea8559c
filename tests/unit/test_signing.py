import base64
import json
import time

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from models.errors import SettingError
from models.settings import from_env
from worker.settings import WorkerSettings
from worker.signing import Secrets

OLD, NEW, OTHER = (f"whsec_{base64.b64encode(bytes([each]) * 32).decode()}" for each in (1, 2, 3))
BODY = b'{"type":"job.completed"}'


def headers(secrets: str, *, now_s: int | None = None) -> dict[str, str]:
    now_s = int(time.time()) if now_s is None else now_s
    return {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": Secrets(secrets).sign("msg_1", now_s, BODY),
    }


def test_a_receiver_takes_what_is_signed_with_its_secret() -> None:
    assert Webhook(NEW).verify(BODY, headers(NEW)) == json.loads(BODY)


def test_the_example_of_standard_webhooks_is_signed_as_there() -> None:
    secrets = Secrets("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")

    signed = secrets.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')

    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_while_a_secret_is_changed_receivers_may_hold_the_old_one_or_the_new_one() -> None:
    sent = headers(f"{NEW} {OLD}")

    assert Webhook(OLD).verify(BODY, sent)
    assert Webhook(NEW).verify(BODY, sent)
    with pytest.raises(WebhookVerificationError):
        Webhook(OTHER).verify(BODY, sent)


@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (BODY + b" ", {}),
        (BODY, {"webhook-id": "msg_2"}),
        (BODY, {"webhook-timestamp": "a minute later"}),
        (BODY, {"webhook-signature": "v1,AAAA"}),
    ],
)
def test_whatever_is_changed_on_the_way_is_seen(body: bytes, changed: dict[str, str]) -> None:
    now_s = int(time.time())
    later = {name: str(now_s + 60) if name == "webhook-timestamp" else value for name, value in changed.items()}

    with pytest.raises(WebhookVerificationError, match="No matching signature"):
        Webhook(NEW).verify(body, headers(NEW, now_s=now_s) | later)


def test_an_old_message_sent_again_is_seen() -> None:
    with pytest.raises(WebhookVerificationError, match="too old"):
        Webhook(NEW).verify(BODY, headers(NEW, now_s=int(time.time()) - 3600))


@pytest.mark.parametrize(
    "secret", ["secret", "whsec_", "whsec_c2hvcnQ=", OLD[6:], f"{OLD} zzz", f"whsec_{'A' * 88}", "whsec_ü"]
)
def test_a_secret_that_cannot_be_stops_the_start_and_is_not_shown(secret: str) -> None:
    with pytest.raises(SettingError, match="whsec_ and 24 to 64 random bytes") as refused:
        from_env(WorkerSettings, {"NEXTDAY_WEBHOOK_SECRET": secret})

    assert not any(part in str(refused.value) for part in secret.split() if part != "whsec_")


def test_a_secret_shows_in_no_repr() -> None:
    settings = from_env(WorkerSettings, {"NEXTDAY_WEBHOOK_SECRET": NEW})

    for shown in (settings, settings.webhook_secret, [settings.webhook_secret]):
        assert NEW not in repr(shown)
        assert NEW not in str(shown)
        assert repr(settings.webhook_secret.keys[0]) not in repr(shown)
