"""Untrusted text, made safe to display."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from ratchet.components.credentials import CERTAIN, LIKELY, hidden, hides, pattern_of, secrets_of

MAX_TEXT = 2_000


def visible(text: str) -> str:
    """Redacted text with control and bidirectional characters made visible, cut at a limit."""
    text = redacted(text)
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"\\u{ord(c):04x}" for c in text)
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + " ... (cut)"


def redacted(text: str) -> str:
    """A text without what is, or looks like, a credential.

    That is user information of URIs, values named so (``?token=``, ``api_key=``, ``"password": ...``), Authorization headers,
    keys of well-known forms, and what the environment holds under such names.
    """
    if (ours := pattern_of(secrets_of())) is not None:
        text = ours.sub("***", text)
    return hidden(text, (*CERTAIN, *LIKELY))


def redacted_values(value: Any) -> Any:
    """JSON-like data with each text redacted; one under the name of a credential is hidden whole."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {
            key: "***" if isinstance(one, str) and hides(str(key), one) else redacted_values(one) for key, one in value.items()
        }
    return [redacted_values(one) for one in value] if isinstance(value, list | tuple) else value


def transcript(turns: Sequence[Mapping[str, str]]) -> str:
    """Messages {role, content} as one text: a paragraph ``role: text`` per turn, but a single user message as it is."""
    if [turn["role"] for turn in turns] == ["user"]:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
