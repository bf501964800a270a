"""A notice reaches a real receiver: documented JSON, signed; it is sent again a few times, and never ends a run."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterator
from threading import Event
from typing import Any

import pytest

from ratchet.components.notices.delivery import PAUSES, delivered, send
from ratchet.components.notices.notice import Notice, failure, notice_of
from ratchet.components.recipe.notify import Notification
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.told import Told
from tests.run.receiver import Receiver, receiver

TOLD = Told("Version 3 was not shown to be better.", "The gain is 0.1 (95% interval: -0.1 to 0.3).", "Refused.", "Look.")
NOTICE = Notice("refused", "m", TOLD, "r1", "REJECT", "3", "2", "/reports/r1.html", id="e1", at="2026-01-02T03:04:05+00:00")


@pytest.fixture
def hook() -> Iterator[Receiver]:
    with receiver() as found:
        yield found


def entry(to: str, **more: Any) -> Notification:
    return Notification(to=to, **more)


def test_a_webhook_gets_the_documented_json(hook: Receiver) -> None:
    send(entry(hook.url), NOTICE)
    ((headers, body),) = hook.received
    assert json.loads(body) == {
        "id": "e1",
        "type": "ratchet.refused",
        "time": "2026-01-02T03:04:05+00:00",
        "model": "m",
        "run_id": "r1",
        "verdict": "REJECT",
        "version": "3",
        "previous": "2",
        "message": {
            "sentence": "Version 3 was not shown to be better.",
            "effect": "The gain is 0.1 (95% interval: -0.1 to 0.3).",
            "verdict": "Refused.",
            "next": "Look.",
        },
        "link": "/reports/r1.html",
        "by": None,
        "reason": None,
        "text": "m: refused version 3\n" + "\n".join(TOLD) + "\nReport: /reports/r1.html",
    }
    assert headers["webhook-id"] == "e1"
    assert "webhook-signature" not in headers


@pytest.mark.parametrize(("secret", "key"), [("hunter2-key", b"hunter2-key"), ("whsec_a2V5", b"key")])
def test_the_signature_is_that_of_standard_webhooks(
    hook: Receiver, monkeypatch: pytest.MonkeyPatch, secret: str, key: bytes
) -> None:
    monkeypatch.setenv("HOOK_KEY", secret)
    send(entry(hook.url, secret="HOOK_KEY"), NOTICE)
    ((headers, body),) = hook.received
    signed = f"e1.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


@pytest.mark.parametrize("to", ["env:HOOK", "${HOOK}"])
def test_an_address_may_be_in_the_environment(hook: Receiver, monkeypatch: pytest.MonkeyPatch, to: str) -> None:
    monkeypatch.setenv("HOOK", f"{hook.url}?token=hunter2")
    send(entry(to), NOTICE)
    assert len(hook.received) == 1


def test_any_other_address_goes_to_apprise(hook: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", hook.url.replace("http://", "json://"))
    send(entry("env:HOOK"), NOTICE)
    ((_, body),) = hook.received
    assert json.loads(body)["title"] == "m: refused version 3"
    assert "Report: /reports/r1.html" in json.loads(body)["message"]


def test_a_busy_receiver_is_asked_again_with_the_same_id(hook: Receiver) -> None:
    hook.answers, pauses = [503, 429], list[float]()
    assert delivered(lambda: send(entry(hook.url), NOTICE), pauses.append) is None
    assert [headers["webhook-id"] for headers, _ in hook.received] == ["e1"] * 3
    assert pauses == list(PAUSES)


def test_attempts_are_bounded_and_the_reason_is_told(hook: Receiver) -> None:
    hook.answers = [500] * 9
    assert delivered(lambda: send(entry(hook.url), NOTICE), lambda _: None) == "it answered 500"
    assert len(hook.received) == 3


def test_faults_an_attempt_that_takes_too_long_is_left_behind() -> None:
    ended = Event()
    assert delivered(lambda: ended.wait(60) and None, lambda _: None, seconds=0.05) == "no answer within 0.05 s"
    ended.set()


def test_what_would_only_fail_again_is_not_repeated(hook: Receiver) -> None:
    hook.answers = [404]
    assert delivered(lambda: send(entry(hook.url), NOTICE), lambda _: pytest.fail("a pause")) == "it answered 404"
    assert "ABSENT is not set" in str(delivered(lambda: send(entry("env:ABSENT"), NOTICE), lambda _: pytest.fail("a pause")))


def test_a_redirect_is_not_followed(hook: Receiver) -> None:
    hook.answers = [302]
    assert delivered(lambda: send(entry(hook.url), NOTICE), lambda _: None) == "it answered 302"


def test_the_reason_has_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "http://ada:hunter2@127.0.0.1:9/x?token=hunter2")
    reason = delivered(lambda: send(entry("env:HOOK"), NOTICE), lambda _: None)
    assert reason
    assert "hunter2" not in reason
    monkeypatch.setenv("HOOK", "nosuch://hunter2-token")
    assert "hunter2" not in str(delivered(lambda: send(entry("env:HOOK"), NOTICE), lambda _: None))


@pytest.mark.parametrize("status", Status)
def test_every_ending_but_a_requested_one_is_told(status: Status) -> None:
    found = notice_of("m", RunResult(status, version="3"), TOLD, None)
    expected = {Status.ERROR: "failed", Status.FINISHED: None}.get(status, status.value)
    assert (found and found.occasion) == expected


def test_a_failure_is_told_without_its_secret() -> None:
    found = failure("m", OSError("GET https://ada:hunter2@judge/x?token=hunter2"))
    assert "hunter2" not in json.dumps(found.as_json())
    assert found.as_json()["message"]["effect"].startswith("OSError: GET https://***@judge/x")
