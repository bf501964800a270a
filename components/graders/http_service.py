"""A grader behind HTTP: POST {item, sample}, answered by {score, passed, parts, reason}; a score of null is: cannot be judged.

A request that got no answer, 429 or 5xx is sent again, with the same ``Idempotency-Key``: the digest of what is sent. Nothing
is sent elsewhere: redirects are not followed.
"""

import json
import os
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from ratchet.components.credentials import keep_secret
from ratchet.components.errors import RecipeError
from ratchet.components.graders.protocol import Grade
from ratchet.components.graders.response import sample_of
from ratchet.components.graders.spaces import item_of
from ratchet.components.graders.worker.child import graded
from ratchet.components.storage.digests import digest_of

LONGEST_ANSWER = 1_000_000  # bytes
FIRST_PAUSE = 0.5  # seconds before the first retry; it doubles
PASSING = (429, 500, 502, 503, 504)


class NoAnswerError(Exception):
    """A request without a usable answer; ``kind`` is the fault's."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Service:
    """A service's grades; requests of a batch are sent ``parallel`` at a time.

    Args:
        token: name of the environment variable that holds the bearer token.
        seconds: per request.
        schema: of ``sample.output_json``, as JSON.
    """

    url: str
    token: str | None = None
    seconds: float = 30.0
    retries: int = 3
    parallel: int = 8
    schema: str | None = None

    def __call__(self, prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        """One grade per completion; those without an answer are faults.

        Raises:
            RecipeError: if the token's variable is not set.
        """
        headers = self._headers()
        bodies = [self._body(completion, row) for completion, row in zip(completions, rows, strict=True)]
        with (
            httpx.Client(timeout=self.seconds, headers=headers, follow_redirects=False) as client,
            ThreadPoolExecutor(self.parallel) as pool,
        ):
            return list(pool.map(lambda body: self._grade(client, body), bodies))

    def _body(self, completion: str, row: Mapping[str, Any]) -> dict[str, Any]:
        return {"item": item_of(row), "sample": sample_of(completion, self.schema)}

    def _headers(self) -> dict[str, str]:
        if self.token is None:
            return {}
        secret = os.environ.get(self.token)
        if not secret:
            raise RecipeError(f"the environment variable {self.token}, the token of {self.url}, is not set. Set it.")
        return {"Authorization": f"Bearer {keep_secret(secret)}"}

    def _grade(self, client: httpx.Client, body: dict[str, Any]) -> Grade:
        try:
            answer = graded(self._answer(client, body))
        except NoAnswerError as error:
            return Grade(None, fault=error.kind, reason=str(error))
        if "fault" in answer:
            return Grade(None, fault=answer["fault"], reason=f"{self.url}: {answer['reason']}"[:500])
        return Grade(**{"parts": {}, **answer})

    def _answer(self, client: httpx.Client, body: dict[str, Any]) -> Any:
        """The service's answer, after at most ``retries`` more tries."""
        for attempt in range(self.retries + 1):
            try:
                return self._sent(client, body)
            except NoAnswerError as error:
                if error.kind == "protocol" or attempt == self.retries:
                    raise
                time.sleep(FIRST_PAUSE * 2**attempt)
        raise AssertionError("unreachable")

    def _sent(self, client: httpx.Client, body: dict[str, Any]) -> Any:
        content = json.dumps(body, default=str).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": digest_of(body)}
        deadline = time.monotonic() + self.seconds
        try:
            with client.stream("POST", self.url, content=content, headers=headers) as response:
                text = _read(response, deadline)
        except httpx.TimeoutException as error:
            raise NoAnswerError("timeout", f"{self.url} did not answer within {self.seconds:g} s") from error
        except httpx.HTTPError as error:
            raise NoAnswerError("raised", f"{self.url}: {type(error).__name__}: {error}"[:500]) from error
        if response.status_code != 200:
            kind = "raised" if response.status_code in PASSING else "protocol"
            raise NoAnswerError(kind, f"{self.url} answered {response.status_code}. It must answer 200 with a JSON object")
        try:
            answer = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise NoAnswerError("protocol", f"{self.url} answered with what is not JSON: {error}") from error
        if not isinstance(answer, dict):
            raise NoAnswerError("protocol", f"{self.url} answered with a {type(answer).__name__}, not an object")
        return answer


def _read(response: httpx.Response, deadline: float) -> bytes:
    """The answer's body; one that comes drop by drop has the request's time, too."""
    text = bytearray()
    for chunk in response.iter_bytes():
        text += chunk
        if len(text) > LONGEST_ANSWER:
            raise NoAnswerError("output", f"{response.url} answered with more than {LONGEST_ANSWER} bytes")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the body did not end")
    return bytes(text)
