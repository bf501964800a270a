"""A vLLM server over HTTP: its routes as methods, with limits on time and size. vLLM itself is never imported.

Routes and bodies are those of vLLM's sources, from ``KNOWN_FROM`` on, below ``KNOWN_BELOW``. Those outside of ``/v1``, except
``/version`` and ``/health``, exist with VLLM_SERVER_DEV_MODE=1 only. Redirects are not followed.
"""

import json
import os
import re
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, NoReturn, Self

import httpx

from ratchet.components.credentials import keep_secret
from ratchet.components.errors import EngineError, RecipeError
from ratchet.components.recipe import Vllm
from ratchet.components.text import redacted, visible

KNOWN_FROM, KNOWN_BELOW = "0.26", "0.34"
LONGEST_ANSWER = 4_000_000  # bytes
IDLE = 1.0  # seconds; vLLM closes an idle connection after 5, and a request that meets the closing is lost
TOO_MUCH = "more than {} bytes"
RESUME = "Look at its log, start it again, and run the same command to resume"
REMEDIES = {
    401: "Name the variable of its API key in train.sampling.vllm.token",
    403: "Name the variable of its API key in train.sampling.vllm.token",
    404: "Start it as docs/vllm.md shows, with VLLM_SERVER_DEV_MODE=1, and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True for LoRA",
}


SEES = "See that it reads train.sampling.vllm.folder at the same path"


class ServedModel(NamedTuple):
    """What the server was started with."""

    name: str
    context: int  # tokens


class Server:
    """A server's routes. Each call has the recipe's time; a call that is not answered with 200 raises EngineError."""

    def __init__(self, settings: Vllm) -> None:
        """
        Raises:
            RecipeError: if the token's variable is not set.
        """
        self.settings, self.url = settings, settings.url.rstrip("/")
        most = settings.parallel
        limits = httpx.Limits(max_connections=most, max_keepalive_connections=most, keepalive_expiry=IDLE)
        # No proxy of the environment: it would be sent the key, and would come between for a server on this machine.
        self._client = httpx.Client(
            headers=_headers(settings), limits=limits, follow_redirects=False, trust_env=False, timeout=settings.seconds
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def version(self) -> str:
        """The release, checked to be one whose routes are known.

        Raises:
            EngineError: outside of the tested range, with both numbers.
        """
        version = str(_of(self.get("/version"), "version"))
        if not numbers(KNOWN_FROM) <= numbers(version) < numbers(KNOWN_BELOW):
            raise EngineError(
                f"{self.url} runs vLLM {version}; this release knows {KNOWN_FROM} and later, below {KNOWN_BELOW}. "
                f"Install vllm>={KNOWN_FROM},<{KNOWN_BELOW} in the server's environment."
            )
        return version

    def model(self) -> ServedModel:
        """The base model; adapters name it as their parent."""
        cards = _of(self.get("/v1/models"), "data")
        bases = [card for card in cards if isinstance(card, dict) and card.get("parent") is None]
        if len(bases) != 1 or type(bases[0].get("max_model_len")) is not int:
            raise EngineError(f"{self.url}/v1/models names {len(bases)} base models with a context. Serve one model.")
        return ServedModel(str(bases[0]["id"]), bases[0]["max_model_len"])

    def health(self) -> None:
        """Return if the server is ready."""
        self.call("GET", "/health")

    def complete(self, body: Mapping[str, Any], tokens: int, seconds: float | None = None) -> Any:
        """The reply of /v1/completions.

        Args:
            tokens: of prompt and completion, by which the reply's size is limited.
            seconds: in place of the recipe's.
        """
        return self.call("POST", "/v1/completions", body, longest=LONGEST_ANSWER + 1000 * tokens, seconds=seconds)

    def load_adapter(self, name: str, path: str) -> None:
        """Load an adapter from files, under a name that is not in use."""
        self.call("POST", "/v1/load_lora_adapter", {"lora_name": name, "lora_path": path})

    def unload_adapter(self, name: str) -> None:
        """Forget an adapter."""
        self.call("POST", "/v1/unload_lora_adapter", {"lora_name": name})

    def reload_weights(self, path: str) -> None:
        """Read the weights of a folder; without its path vLLM would read those with which it began (vllm #29341).

        Raises:
            EngineError: if it cannot. It has no weights then, and ends at the next draw.
        """
        try:
            self.call("POST", "/collective_rpc", {"method": "reload_weights", "kwargs": {"weights_path": path}})
        except EngineError as error:
            raise EngineError(f"{error} {SEES}: {path}.") from error

    def reset_prefix_cache(self) -> None:
        """Forget keys and values, which are of the weights that computed them.

        Raises:
            EngineError: if the server says that it could not.
        """
        reply = self.call("POST", "/reset_prefix_cache")
        if isinstance(reply, dict) and reply.get("success") is False:
            raise EngineError(
                f"{self.url} did not reset its prefix cache: requests are running. Give the trainer a server alone."
            )

    def sleep(self) -> None:
        """Free the memory of weights and cache: level 2 keeps neither."""
        self.call("POST", "/sleep?level=2")

    def check_sleep_mode(self) -> None:
        """
        Raises:
            EngineError: if the server was started without it: then it would say that it sleeps, and free nothing.
        """
        reply = _of(self.get("/server_info?config_format=json"), "vllm_config")
        if _of(_of(reply, "model_config"), "enable_sleep_mode") is not True:
            raise EngineError(
                f"{self.url} has no sleep mode. Start it with --enable-sleep-mode, or set train.sampling.vllm.sleep=false."
            )

    def wake(self, part: str) -> None:
        """Take memory again for ``weights`` or ``kv_cache``; its content is undefined."""
        self.call("POST", f"/wake_up?tags={part}")

    def sleeping(self) -> bool:
        """Whether any part sleeps."""
        return bool(_of(self.get("/is_sleeping"), "is_sleeping"))

    def get(self, path: str) -> Any:
        """The JSON of a route."""
        return self.call("GET", path)

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        longest: int = LONGEST_ANSWER,
        seconds: float | None = None,
    ) -> Any:
        """A route's JSON; None where the reply is empty or text.

        Raises:
            EngineError: naming the route, what it answered, and the remedy.
        """
        limit, route = seconds or self.settings.seconds, f"{self.url}{path.partition('?')[0]}"
        deadline = time.monotonic() + limit
        try:
            with self._client.stream(method, f"{self.url}{path}", json=body, timeout=limit) as response:
                content = _read(response, deadline, longest)
        except httpx.TimeoutException as error:
            raise EngineError(f"{route} did not answer within {limit:g} s. {RESUME}.") from error
        except httpx.HTTPError as error:
            raise EngineError(f"{route}: {_said(f'{type(error).__name__}: {error}')}. {RESUME}.") from error
        if response.status_code != 200:
            self._refused(route, response.status_code, content)
        return _parsed(route, content) if content and "json" in response.headers.get("content-type", "") else None

    def _refused(self, route: str, status: int, content: bytes) -> NoReturn:
        said = _said(_message(content))
        remedy = REMEDIES.get(status, RESUME if status >= 500 else "Look at its log")
        if status == 404 and b'"error"' in content:  # the route is there, and a model or its files are not
            remedy = f"{SEES}, and that nobody else uses it"
        raise EngineError(f"{route} answered {status}{f' ({said})' if said else ''}. {remedy}.")


def never_connected(error: BaseException) -> bool:
    """Whether there was no server to call: it would be the same with each other call."""
    return isinstance(error.__cause__, httpx.ConnectError | httpx.ConnectTimeout)


def numbers(version: str) -> tuple[int, int]:
    """The first two numbers of a release; (0, 0) if it has none."""
    found = re.match(r"v?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _headers(settings: Vllm) -> dict[str, str]:
    if settings.token is None:
        return {}
    secret = os.environ.get(settings.token)
    if not secret:
        raise RecipeError(f"the environment variable {settings.token}, the API key of {settings.url}, is not set. Set it.")
    return {"Authorization": f"Bearer {keep_secret(secret)}"}


def _read(response: httpx.Response, deadline: float, longest: int) -> bytes:
    """The body; one that comes drop by drop has the call's time, too."""
    content = bytearray()
    for chunk in response.iter_bytes():
        content += chunk
        if len(content) > longest:
            raise httpx.RemoteProtocolError(f"the reply has {TOO_MUCH.format(longest)}")
        if time.monotonic() > deadline:
            raise httpx.ReadTimeout("the body did not end")
    return bytes(content)


def _parsed(route: str, content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise EngineError(f"{route} answered with what is not JSON ({error}). Check that the URL is that of vLLM.") from error


def _message(content: bytes) -> str:
    """What vLLM says in an error's body, or all of another body."""
    try:
        return str(json.loads(content)["error"]["message"])
    except (ValueError, RecursionError, LookupError, TypeError):
        return content.decode("utf-8", "replace")


def _of(reply: Any, key: str) -> Any:
    if not isinstance(reply, dict) or key not in reply:
        raise EngineError(f"the server's reply has no {key!r}. Check that the URL is that of vLLM.")
    return reply[key]


def _said(text: str) -> str:
    """The beginning of what a server said, safe to print."""
    return redacted(visible(" ".join(text.split())))[:300].rstrip(". ")
