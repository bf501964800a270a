"""The passwords and keys of one test's servers, and where they have ended up."""

from base64 import b64encode
from collections.abc import Mapping
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote

import psutil

RANDOM = ("mlflow_admin", "mlflow_user", "mlflow_session", "prefect_api", "s3_id", "s3_key")


def random_secrets() -> dict[str, str]:
    """One secret per name of ``RANDOM``."""
    return {name: token_hex(16) for name in RANDOM}


def found_in(text: str, secrets: Mapping[str, str]) -> list[str]:
    """The names of the secrets that a text has, as they are, in a URL, in one of an .ini file, or in an HTTP header."""
    return [name for name, secret in secrets.items() if any(form in text for form in forms(secret))]


def forms(secret: str) -> set[str]:
    in_url = quote(secret, safe="")
    return {secret, in_url, in_url.replace("%", "%%"), b64encode(f"ratchet:{secret}".encode()).decode()}


def command_lines() -> str:
    """The arguments of every process, which every user of the machine can read."""
    return "\n".join(" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"]))


def places_of(secrets: Mapping[str, str], folder: Path) -> dict[str, list[str]]:
    """Files below a folder that have secrets, and which."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    found = {str(path.relative_to(folder)): found_in(path.read_bytes().decode("latin-1"), secrets) for path in files}
    return {path: names for path, names in found.items() if names}
