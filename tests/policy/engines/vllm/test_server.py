"""Calls of a server: what is sent, and how every way not to get an answer ends."""

import time
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import EngineError, RecipeError
from ratchet.components.policy.engines.vllm import server as server_module
from ratchet.components.policy.engines.vllm.server import KNOWN_BELOW, KNOWN_FROM, Server, numbers
from ratchet.components.text import redacted
from tests.policy.engines.vllm.engines import settings_of
from tests.policy.engines.vllm.fake_server import FakeVllm, serving

KEY = "k" * 24


def server_of(fake: FakeVllm | str, tmp_path: Path, **given: Any) -> Server:
    return Server(settings_of(fake if isinstance(fake, str) else fake.url, tmp_path, **given))


@pytest.mark.parametrize("version", [KNOWN_FROM, "0.31.0", "v0.33.2rc1.dev7+g12"])
def test_a_known_release_is_taken(version: str, tmp_path: Path) -> None:
    with serving(version=version) as fake, server_of(fake, tmp_path) as server:
        assert server.version() == version


@pytest.mark.parametrize("version", ["0.25.9", KNOWN_BELOW, "1.0", "nightly"])
def test_another_release_is_refused_with_both_numbers(version: str, tmp_path: Path) -> None:
    with serving(version=version) as fake, server_of(fake, tmp_path) as server, pytest.raises(EngineError) as error:
        server.version()
    assert version in str(error.value)
    assert f"{KNOWN_FROM} and later, below {KNOWN_BELOW}" in str(error.value)


def test_releases_are_compared_as_numbers() -> None:
    assert numbers("0.9.2") < numbers("0.26.0") < numbers("0.100")


def test_the_key_comes_from_the_environment_and_is_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENGINE_KEY", KEY)
    with serving(key=KEY) as fake, server_of(fake, tmp_path, token="ENGINE_KEY") as server:
        assert server.model().context == 128
    assert KEY not in redacted(f"a log with {KEY} in it")


def test_a_key_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENGINE_KEY", raising=False)
    with pytest.raises(RecipeError, match="ENGINE_KEY"):
        server_of("http://127.0.0.1:1", tmp_path, token="ENGINE_KEY")


def test_a_server_that_wants_a_key_says_where_it_goes(tmp_path: Path) -> None:
    with serving(key=KEY) as fake, server_of(fake, tmp_path) as server, pytest.raises(EngineError, match=r"vllm\.token"):
        server.model()


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    with serving("redirects") as fake, server_of(fake, tmp_path) as server, pytest.raises(EngineError, match="307"):
        server.version()
    assert fake.asked == []


def test_no_proxy_of_the_environment_comes_between(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    with serving() as fake, server_of(fake, tmp_path) as server:
        assert server.version() == "0.31.0"


BODY = {"model": "tiny", "prompt": [5], "max_tokens": 2, "temperature": 1.0, "top_p": 1.0, "seed": 1, "stop_token_ids": []}


@pytest.mark.parametrize(("idle", "connections"), [(60.0, 1), (0.05, 2)])
def test_a_connection_is_used_again_unless_it_was_idle(
    idle: float, connections: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_module, "IDLE", idle)
    with serving() as fake, server_of(fake, tmp_path) as server:
        server.health()
        time.sleep(0.1)
        server.health()
        assert fake.connections == connections


def test_connections_are_given_up_before_vllm_closes_them() -> None:
    assert server_module.IDLE < 5


@pytest.mark.parametrize(
    ("fault", "said"), [("hangs", "did not answer within 0.3 s"), ("drips", "did not answer within 0.3 s")]
)
def test_a_call_has_a_time_limit_that_drops_do_not_extend(fault: str, said: str, tmp_path: Path) -> None:
    with serving(fault) as fake, server_of(fake, tmp_path, seconds=0.3) as server:
        began = time.monotonic()
        with pytest.raises(EngineError, match=said):
            server.complete(BODY, 3)
        assert time.monotonic() - began < 2
        fake.over.set()


def test_a_reply_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (
        serving("huge") as fake,
        server_of(fake, tmp_path) as server,
        pytest.raises(EngineError, match="more than 4003000 bytes"),
    ):
        server.complete(BODY, 3)


def test_a_server_that_is_not_there_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    with server_of("http://127.0.0.1:1", tmp_path) as server, pytest.raises(EngineError, match="start it again"):
        server.version()


def test_a_route_that_is_missing_says_how_to_start_the_server(tmp_path: Path) -> None:
    with serving() as fake, server_of(fake, tmp_path) as server, pytest.raises(EngineError, match="VLLM_SERVER_DEV_MODE=1"):
        server.get("/nothing")


def test_an_unknown_model_is_no_missing_route(tmp_path: Path) -> None:
    with (
        serving() as fake,
        server_of(fake, tmp_path) as server,
        pytest.raises(EngineError, match=r"answered 404 \(The model `gone` does not exist\)\. See that it reads"),
    ):
        server.complete({**BODY, "model": "gone"}, 3)


def test_a_server_whose_engine_died_is_started_again(tmp_path: Path) -> None:
    with serving("unhealthy") as fake, server_of(fake, tmp_path) as server, pytest.raises(EngineError, match="start it again"):
        server.health()


def test_a_server_that_could_not_reset_its_cache_is_not_believed(tmp_path: Path) -> None:
    with serving("busy") as fake, server_of(fake, tmp_path) as server, pytest.raises(EngineError, match="prefix cache"):
        server.reset_prefix_cache()
