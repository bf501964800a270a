"""A grader behind HTTP, against a server of the test: answers, retries with one key, and everything that is not an answer."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.graders import http_service
from ratchet.components.graders.http_service import Service
from ratchet.components.graders.protocol import Grade

ROW = {"id": "r1", "answer": "4", "item": {"level": 2}}


class Server(ThreadingHTTPServer):
    """Answers each request with the next of ``answers`` (status, body), the last one for ever, and keeps what it got."""

    answers: list[tuple[int, bytes]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.got: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.wait = 0.0


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((dict(self.headers), body))
        status, content = self.server.answers.pop(0) if len(self.server.answers) > 1 else self.server.answers[0]
        time.sleep(self.server.wait)
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Location", "http://127.0.0.1:9/")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http_service, "FIRST_PAUSE", 0.01)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server
        server.shutdown()


def graded(server: Server, completion: str = "4", **options: Any) -> Grade:
    service = Service(f"http://127.0.0.1:{server.server_port}/grade", seconds=options.pop("seconds", 5.0), **options)
    return service(["p"], [completion], [ROW])[0]


def test_the_service_gets_item_and_sample_and_its_answer_is_the_grade(server: Server) -> None:
    server.answers = [(200, b'{"score": 0.5, "passed": true, "parts": {"tone": 0.25}, "reason": "fine"}')]
    assert graded(server) == Grade(0.5, {"tone": 0.25}, passed=True, reason="fine")
    ((_, body),) = server.got
    assert body["item"] == {"id": "r1", "answer": "4", "level": 2}
    assert (body["sample"]["output_text"], body["sample"]["output_json"]) == ("4", 4)


def test_null_is_no_score_and_no_fault(server: Server) -> None:
    server.answers = [(200, b'{"score": null, "reason": "unsure"}')]
    grade = graded(server)
    assert (grade.score, grade.fault, grade.reason) == (None, None, "unsure")


def test_a_passing_failure_is_tried_again_with_the_same_key(server: Server) -> None:
    server.answers = [(503, b""), (429, b""), (200, b'{"score": 1}')]
    assert graded(server).score == 1.0
    keys = {headers["Idempotency-Key"] for headers, _ in server.got}
    assert (len(server.got), len(keys)) == (3, 1)
    graded(server, "5")
    assert {headers["Idempotency-Key"] for headers, _ in server.got} > keys


def test_http_faults_a_service_that_stays_down_is_a_fault(server: Server) -> None:
    server.answers = [(500, b"")]
    grade = graded(server, retries=2)
    assert (grade.score, grade.fault, len(server.got)) == (None, "raised", 3)
    assert "answered 500" in grade.reason


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (404, b"", "answered 404"),
        (302, b"", "answered 302"),  # a redirect is not followed
        (200, b"<html>", "not JSON"),
        (200, b"[1]", "a list, not an object"),
        (200, b"{}", "a dict without a score"),
        (200, b'{"score": "1"}', "a score of type str"),
        (200, b'{"score": NaN}', "not a finite number"),
        (200, b'{"score": 1, "parts": {"a": "b"}}', "part a of type str"),
    ],
)
def test_http_faults_what_is_no_answer_is_a_fault_at_once_and_never_a_zero(
    server: Server, status: int, body: bytes, reason: str
) -> None:
    server.answers = [(status, body)]
    grade = graded(server)
    assert (grade.score, grade.fault, len(server.got)) == (None, "protocol", 1)
    assert reason in grade.reason


def test_http_faults_a_flood_is_not_read_to_its_end(server: Server) -> None:
    server.answers = [(200, b"x" * 2_000_000)]
    assert graded(server, retries=0).fault == "output"


def test_http_faults_a_slow_service_has_its_time(server: Server) -> None:
    server.answers, server.wait = [(200, b'{"score": 1}')], 1.0
    assert graded(server, seconds=0.2, retries=0).fault == "timeout"


def test_http_faults_nobody_there_is_a_fault() -> None:
    assert Service("http://127.0.0.1:9/", retries=0)(["p"], ["c"], [ROW])[0].fault == "raised"


def test_a_token_comes_from_the_environment_and_is_nowhere_else(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.answers = [(404, b"")]
    monkeypatch.setenv("GRADER_TOKEN", "s3cret")
    assert "s3cret" not in graded(server, token="GRADER_TOKEN").reason
    assert server.got[0][0]["Authorization"] == "Bearer s3cret"
    monkeypatch.delenv("GRADER_TOKEN")
    with pytest.raises(RecipeError, match=r"GRADER_TOKEN, the token of .* is not set"):
        graded(server, token="GRADER_TOKEN")
