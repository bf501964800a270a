"""A grader behind HTTP, for what must not run beside training: a compiler in a container, a judge, another language.

GRADER_TOKEN=... python http_service.py 8900      # grades {item, sample} on 127.0.0.1:8900 until stopped
"""

import hmac
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


def grade(sample: dict[str, Any], item: dict[str, Any]) -> dict[str, Any]:
    """Here: the capital that the row names, and nothing else."""
    right = sample["output_text"].strip().casefold() == item["capital"].casefold()
    return {"score": float(right), "reason": "" if right else f"expected {item['capital']}"}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {os.environ['GRADER_TOKEN']}".encode()):
            return self.answer(401, {"error": "not authorized"})
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return self.answer(200, grade(asked["sample"], asked["item"]))

    def answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
