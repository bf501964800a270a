"""Send a notice to an address: a webhook gets signed JSON, any other address goes to Apprise."""

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import Any
from urllib.parse import urlsplit

import httpx

from ratchet.components.credentials import keep_secret
from ratchet.components.notices.notice import Notice
from ratchet.components.recipe.notify import Notification
from ratchet.components.text import visible

PAUSES = (1.0, 4.0)  # seconds before the second and before the third attempt, which is the last
SECONDS = 10.0  # per attempt
PASSING = (408, 425, 429)  # and 5xx: worth another attempt
KEY_PREFIX = "whsec_"  # https://www.standardwebhooks.com: the rest is base64


class UndeliveredError(Exception):
    """An attempt failed. The message has no address, which may be a secret."""

    def __init__(self, message: str, passing: bool = True) -> None:
        super().__init__(message)
        self.passing = passing


def delivered(send: Callable[[], None], sleep: Callable[[float], None] = time.sleep, seconds: float = SECONDS) -> str | None:
    """Send, at most three times; why it failed, or None. Whatever the reason is, it ends no run.

    Args:
        seconds: per attempt, which is left behind then: libraries' own limits are per read, or there are none.
    """
    for pause in (*PAUSES, None):
        error = _attempt(send, seconds)
        if error is None:
            return None
        if pause is None or not getattr(error, "passing", True):
            break
        sleep(pause)
    return visible(str(error) if isinstance(error, UndeliveredError) else f"{type(error).__name__}: {error}")


def _attempt(send: Callable[[], None], seconds: float) -> Exception | None:
    """Send in a thread of its own, since nothing else limits the time that it takes."""
    found: list[Exception | None] = []

    def call() -> None:
        try:
            send()
        except Exception as error:  # of a block, of Apprise
            found.append(error)
        else:
            found.append(None)

    thread = threading.Thread(target=copy_context().run, args=(call,), daemon=True)
    thread.start()
    thread.join(seconds)
    return found[0] if found else UndeliveredError(f"no answer within {seconds:g} s")


def send(entry: Notification, notice: Notice) -> None:
    """One attempt.

    Raises:
        UndeliveredError: if it failed, or a variable is not set.
    """
    address = variable(entry.variable) if entry.variable else entry.to
    if urlsplit(address).scheme in ("http", "https"):
        _post(address, notice, None if entry.secret is None else key_of(variable(entry.secret)))
    else:
        _apprise(address, notice)


def variable(name: str) -> str:
    """The value of a variable that has to be set."""
    value = os.environ.get(name)
    if not value:
        raise UndeliveredError(f"the environment variable {name} is not set; set it where runs start", passing=False)
    return keep_secret(value)


def key_of(secret: str) -> bytes:
    """The bytes of a signing key: its base64 after ``whsec_``, else the text itself."""
    if not secret.startswith(KEY_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(KEY_PREFIX), validate=True)
    except ValueError:
        raise UndeliveredError("what follows whsec_ in the signing key is not base64", passing=False) from None


def headers(notice: Notice, body: bytes, key: bytes | None, at: int) -> dict[str, str]:
    """Headers of a webhook, by https://www.standardwebhooks.com: HMAC-SHA256 over ``id.timestamp.body``.

    Args:
        at: the time of the attempt, in seconds since 1970.
    """
    found = {"Content-Type": "application/json", "webhook-id": notice.id, "webhook-timestamp": str(at)}
    if key is not None:
        signature = hmac.new(key, f"{notice.id}.{at}.".encode() + body, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(signature).decode()}"
    return found


def _post(url: str, notice: Notice, key: bytes | None) -> None:
    body = json.dumps(notice.as_json()).encode()
    try:
        reply = httpx.post(
            url, content=body, headers=headers(notice, body, key, int(time.time())), timeout=SECONDS, follow_redirects=False
        )
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise UndeliveredError(f"{type(error).__name__}: {error}") from error
    if not reply.is_success:
        passing = reply.status_code >= 500 or reply.status_code in PASSING
        raise UndeliveredError(f"it answered {reply.status_code}", passing)


def _apprise(address: str, notice: Notice) -> None:
    import apprise

    service: Any = apprise.Apprise()
    if not service.add(address):
        raise UndeliveredError("it is no address that Apprise knows (https://github.com/caronc/apprise/wiki)", passing=False)
    if not service.notify(title=notice.title, body=notice.text):
        raise UndeliveredError("the service did not accept it")
