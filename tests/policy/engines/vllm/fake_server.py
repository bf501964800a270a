"""A small HTTP server on the loopback address with vLLM's routes, which serves a tiny policy through the plain engine.

Its answers have the shape of vLLM's sources; its faults are switched on by name.
"""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import torch
from safetensors.torch import load_file
from transformers import PreTrainedModel

from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import sample
from ratchet.components.policy.engines.vllm.probe import scored_log_probs
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.packing import Group
from tests.tiny_models import tiny_policy

BASE = "tiny"
TOP_LEVEL = {"/version", "/health", "/v1/models", "/is_sleeping", "/server_info"}


class FakeVllm:
    """The server's state, and what it was asked."""

    def __init__(
        self, policy: Policy, *faults: str, version: str = "0.31.0", context: int = 128, key: str | None = None
    ) -> None:
        self.model: PreTrainedModel = deepcopy(policy.model)
        self.faults, self.vllm_version, self.context, self.key = set(faults), version, context, key
        self.adapters: dict[str, PreTrainedModel] = {}
        self.asleep: set[str] = set()
        self.asked: list[tuple[str, Any]] = []
        self.drawn, self.connections = 0, 0
        self.lock, self.over = threading.Lock(), threading.Event()
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"

    def routes(self) -> list[str]:
        """What changes the server, in order of the requests."""
        return [path for path, _ in self.asked if path not in TOP_LEVEL and not path.startswith("/v1/completions")]

    def answer(self, path: str, query: dict[str, list[str]], body: Any) -> tuple[int, Any]:
        """Status and JSON (or text, or None)."""
        with self.lock:
            self.asked.append((f"{path}?{query['tags'][0]}" if "tags" in query else path, body))
            match path:
                case "/version":
                    return 200, {"version": self.vllm_version}
                case "/health":
                    return (503 if "unhealthy" in self.faults else 200), None
                case "/v1/models":
                    base = {"id": BASE, "parent": None, "max_model_len": self.context}
                    return 200, {"data": [base, *({"id": name, "parent": BASE} for name in self.adapters)]}
                case "/is_sleeping":
                    return 200, {"is_sleeping": bool(self.asleep)}
                case "/server_info":
                    return 200, {"vllm_config": {"model_config": {"enable_sleep_mode": "insomnia" not in self.faults}}}
                case "/sleep":
                    self.asleep = {"weights", "kv_cache"}
                    self._forget_weights()
                    return 200, {"status": "sleeping", "level": int(query["level"][0])}
                case "/wake_up":
                    self.asleep -= set(query["tags"])
                    return 200, {"status": "sleeping" if self.asleep else "awake", "tags": query["tags"]}
                case "/reset_prefix_cache":
                    return 200, {"success": "busy" not in self.faults}
                case "/collective_rpc":
                    return self._reload(body)
                case "/v1/load_lora_adapter":
                    return self._load(body["lora_name"], Path(body["lora_path"]))
                case "/v1/unload_lora_adapter":
                    return (
                        (200, "Success")
                        if self.adapters.pop(body["lora_name"], None)
                        else (404, _error("cannot be found", 404))
                    )
                case "/v1/completions":
                    return self._complete(body)
        return 404, {"detail": "Not Found"}

    def _forget_weights(self) -> None:
        with torch.no_grad():
            for parameter in self.model.parameters() if self.asleep else ():
                parameter.zero_()

    def _reload(self, body: Any) -> tuple[int, Any]:
        if body["method"] != "reload_weights" or "weights" in self.asleep or "sees_nothing" in self.faults:
            return 500, _error(f"Call to collective_rpc method failed: Worker failed with error '{body['kwargs']}'", 500)
        if "stale" not in self.faults:
            tensors = load_file(Path(body["kwargs"]["weights_path"]) / "model.safetensors")
            head = self.model.lm_head.weight.detach().clone()
            missing = self.model.load_state_dict(tensors, strict=False).missing_keys
            self.model.tie_weights()
            if "stale_head" in self.faults:
                self.model.lm_head.weight = torch.nn.Parameter(head)
            if set(missing) - {"lm_head.weight"}:
                return 500, _error(f"missing {missing}", 500)
        return 200, {"results": [None]}

    def _load(self, name: str, path: Path) -> tuple[int, Any]:
        from peft import PeftModel

        if name in self.adapters:
            return 400, _error(f"The lora adapter '{name}' has already been loaded.", 400)
        if not (path / "adapter_config.json").is_file() or "sees_nothing" in self.faults:
            return 404, _error(f"Loading lora {name} failed: No adapter found for <path>", 404)
        newest = list(self.adapters.values())[-1:]
        if "stale" in self.faults and newest:
            self.adapters[name] = newest[0]
        else:
            self.adapters[name] = PeftModel.from_pretrained(deepcopy(self.model), path).eval().merge_and_unload()
        return 200, f"Success: LoRA adapter '{name}' added successfully."

    def _complete(self, body: Any) -> tuple[int, Any]:
        self.drawn += 1
        model = self.model if body["model"] == BASE else self.adapters.get(body["model"])
        if model is None:
            return 404, _error(f"The model `{body['model']}` does not exist.", 404)
        if len(body["prompt"]) >= self.context:
            return 400, _error("max_tokens must be at least 1, got 0. (parameter=max_tokens, value=0)", 400)
        if "prompt_logprobs" in body:
            return 200, {"choices": [{"prompt_logprobs": self._scores(model, body["prompt"])}]}
        return 200, {"choices": self._choices(model, body)}

    def _scores(self, model: PreTrainedModel, tokens: list[int]) -> list[Any]:
        scores = scored_log_probs(Policy(model, None), [Group(tokens[:1], [tokens[1:]])]).tolist()  # type: ignore[arg-type]
        return [None, *({str(token): {"logprob": score, "rank": 1}} for token, score in zip(tokens[1:], scores, strict=True))]

    def _choices(self, model: PreTrainedModel, body: Any) -> list[Any]:
        limit = min(body["max_tokens"] - ("clamps" in self.faults), self.context - len(body["prompt"]))
        settings = SamplingSettings(1, limit, body["temperature"], body["top_p"])
        seed = SamplingSeed(self.drawn if "no_seeds" in self.faults else body["seed"], "fake")
        ends = () if "no_ends" in self.faults else body["stop_token_ids"]
        (drawn,) = sample(model, SamplingRequest([body["prompt"]], [0], settings, seed, ends))[0]
        return [self._choice(model, body, drawn)] * (2 if "two_choices" in self.faults else 1)

    def _choice(self, model: PreTrainedModel, body: Any, drawn: Completion) -> dict[str, Any]:
        tokens, log_probs = list(drawn.tokens), list(drawn.log_probs)
        if "raw" in self.faults:
            log_probs = scored_log_probs(Policy(model, None), [Group(body["prompt"], [tokens])]).tolist()  # type: ignore[arg-type]
        if "strips_ends" in self.faults and drawn.finished:
            tokens, log_probs = tokens[:-1], log_probs[:-1]
        if "no_log_prob" in self.faults:
            log_probs[0] = None  # type: ignore[call-overload]
        if "impossible" in self.faults:
            log_probs[0] = -9999.0
        if "strange_token" in self.faults:
            tokens[0] = 10_000
        return {
            "index": 0,
            "text": "",
            "token_ids": tokens,
            "prompt_token_ids": body["prompt"][::-1] if "another_prompt" in self.faults else body["prompt"],
            "logprobs": {"token_logprobs": log_probs, "tokens": [], "text_offset": [], "top_logprobs": []},
            "finish_reason": "abort" if "aborts" in self.faults else "stop" if drawn.finished else "length",
        }


def _error(message: str, code: int) -> dict[str, Any]:
    return {"error": {"message": message, "type": "Error", "param": None, "code": code}}


def _handler(fake: FakeVllm) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def setup(self) -> None:
            fake.connections += 1
            super().setup()

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.answer(None)

        def do_POST(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.answer(json.loads(content) if content else None)

        def answer(self, body: Any) -> None:
            url = urlsplit(self.path)
            drawing = url.path == "/v1/completions"
            if fake.key and self.headers.get("Authorization") != f"Bearer {fake.key}":
                return self.send(401, {"error": "Unauthorized"})
            if "dies" in fake.faults and drawing and fake.drawn > 2:
                self.close_connection = True
                threading.Thread(target=fake.http.shutdown).start()
                return None
            if drawing and ("hangs" in fake.faults or fake.asleep):  # vLLM does not answer a draw before it is woken
                fake.over.wait(20)
            if "redirects" in fake.faults:
                self.send_response(307)
                self.send_header("Location", f"{fake.url}/elsewhere")
                self.send_header("Content-Length", "0")
                return self.end_headers()
            status, reply = fake.answer(url.path, parse_qs(url.query), body)
            return self.send(status, reply, drips="drips" in fake.faults and drawing, huge="huge" in fake.faults and drawing)

        def send(self, status: int, reply: Any, drips: bool = False, huge: bool = False) -> None:
            content = b"" if reply is None else (reply if isinstance(reply, str) else json.dumps(reply)).encode()
            content += b" " * (10_000_000 if huge else 0)
            try:
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(reply, str) else "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                for part in (content[i : i + 1] for i in range(len(content))) if drips else (content,):
                    self.wfile.write(part)
                    if drips and fake.over.wait(0.05):
                        return
            except OSError:
                pass  # the client is gone

    return Handler


@contextmanager
def serving(*faults: str, policy: Policy | None = None, **options: Any) -> Iterator[FakeVllm]:
    """A running server of a tiny policy with other weights than ``tiny_policy()``'s, unless one is given."""
    fake = FakeVllm(policy or tiny_policy(seed=1), *faults, **options)
    thread = threading.Thread(target=fake.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        fake.over.set()
        fake.http.shutdown()
        fake.http.server_close()
        thread.join(5)
