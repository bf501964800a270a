"""The token of this project's Prefect server, and how a shell and a browser obtain it.

It is in ``.ratchet/server/token``, which only its owner can read, and in the environment of our processes; never among their
arguments, which every user of the machine can read.
"""

import base64
import html
import os
import re
import secrets
import shlex
import stat
import tempfile
from pathlib import Path

from ratchet.components.errors import RatchetError
from ratchet.components.storage.home import Home

SERVER_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING"
PLAUSIBLE = re.compile(r"[!-9;-~]+:[!-~]{16,}")  # added by an editor; a shorter password is a truncated one
SIGN_IN_PATH = "/ratchet/sign-in"


def folder(home: Home) -> Path:
    """Where the token, the link and the locks of running servers are."""
    path = home.state / "server"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


def new_token() -> str:
    """256 random bits, as Prefect's ``user:password``."""
    return f"ratchet:{secrets.token_urlsafe(32)}"


def token_of(home: Home) -> str:
    """The project's token, created at first use.

    Raises:
        RatchetError: if other users can read it, or the file does not contain a token.
    """
    path = folder(home) / "token"
    if not path.exists():
        create(path, new_token())
    if stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise RatchetError(
            f"other users can read {path}. Delete it, and restart ratchet schedule and ratchet ui with a new one."
        )
    token = path.read_bytes().decode("ascii", "replace").removesuffix("\n")
    if not PLAUSIBLE.fullmatch(token):
        raise RatchetError(
            f"{path} does not contain a token (user:password, one line). Delete it: ratchet schedule and ratchet ui create one."
        )
    return token


def create(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically, unless another process did so first."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent)  # created with mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        os.unlink(temporary)


def client_environment(api_url: str, token: str) -> dict[str, str]:
    """What Prefect's client needs to talk to our server."""
    return {"PREFECT_API_URL": api_url, "PREFECT_API_AUTH_STRING": token}


def shell_line(environment: dict[str, str]) -> str:
    """``export NAME=value ...``, for a shell to evaluate."""
    return " ".join(["export", *(f"{name}={shlex.quote(value)}" for name, value in environment.items())])


def sign_in_file(home: Home, url: str, token: str) -> Path:
    """A file that sends its owner's browser to a server's sign-in page, with the token in the fragment.

    A file, because the address itself would have to be printed or passed to the browser as an argument.
    """
    path = folder(home) / "sign-in.html"
    target = html.escape(f"{url}#{base64.b64encode(token.encode()).decode()}")
    path.unlink(missing_ok=True)
    create(path, f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={target}">\n')
    return path
