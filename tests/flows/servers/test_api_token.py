"""The token: random, its owner's alone, one per project, and how a shell and a browser come by it."""

import base64
import re
import stat
import subprocess
from pathlib import Path

import pytest

from ratchet.components.errors import RatchetError
from ratchet.components.storage.home import Home
from ratchet.flows.servers import api_token


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, tmp_path / ".ratchet")


def test_a_token_is_made_once_and_is_its_owners_alone(home: Home) -> None:
    token = api_token.token_of(home)
    assert api_token.token_of(home) == token
    path = home.state / "server" / "token"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]


def test_tokens_are_random_and_have_256_bits() -> None:
    first, second = api_token.new_token(), api_token.new_token()
    assert first != second
    user, password = first.split(":")
    assert user == "ratchet"
    assert len(base64.urlsafe_b64decode(f"{password}=")) == 32


def test_the_first_of_two_processes_makes_the_token(home: Home) -> None:
    path = api_token.folder(home) / "token"
    first, second = api_token.new_token(), api_token.new_token()
    api_token.create(path, first)
    api_token.create(path, second)
    assert api_token.token_of(home) == first


def test_an_editors_newline_is_not_part_of_the_token(home: Home) -> None:
    token = api_token.new_token()
    api_token.create(api_token.folder(home) / "token", f"{token}\n")
    assert api_token.token_of(home) == token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        "{}\n\n",
        "{}\r\n",
        " {}",
        "{} ",
        "{}\n{}",
        "no colon, and spaces",
        "ratchet:",
        "ratchet:short",
        ":{}",
        "ratchet:{}\u00e9",
    ],
    ids=repr,
)
def test_what_is_not_a_token_is_refused(home: Home, text: str) -> None:
    path = api_token.folder(home) / "token"
    api_token.create(path, text.replace("{}", api_token.new_token()))
    with pytest.raises(RatchetError, match=rf"^{re.escape(str(path))} does not contain a token .*Delete it"):
        api_token.token_of(home)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_may_read_is_refused(home: Home, mode: int) -> None:
    api_token.token_of(home)
    (home.state / "server" / "token").chmod(mode)
    with pytest.raises(RatchetError, match="Delete it"):
        api_token.token_of(home)


def test_a_shell_takes_the_line_as_it_is() -> None:
    environment = api_token.client_environment("http://127.0.0.1:4200/api", "ratchet:$(exit 3)'\"")
    script = f'{api_token.shell_line(environment)}; printf "%s %s" "$PREFECT_API_URL" "$PREFECT_API_AUTH_STRING"'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "http://127.0.0.1:4200/api ratchet:$(exit 3)'\""


def test_the_link_is_its_owners_alone_and_keeps_the_token_out_of_what_a_browser_sends(home: Home) -> None:
    path = api_token.sign_in_file(home, "http://127.0.0.1:1/sign-in", "ratchet:old")
    path = api_token.sign_in_file(home, "http://127.0.0.1:4200/sign-in", "ratchet:secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = re.search(r'url=http://127\.0\.0\.1:4200/sign-in#([^"]+)"', path.read_text(encoding="utf-8"))
    assert found is not None
    assert base64.b64decode(found[1]) == b"ratchet:secret"
