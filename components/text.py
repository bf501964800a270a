"""Untrusted text, made safe to display."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

MAX_TEXT = 2_000


def visible(text: str) -> str:
    """Text with control and bidirectional characters made visible, cut at a limit."""
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"\\u{ord(c):04x}" for c in text)
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + " ... (cut)"


def redacted(text: str) -> str:
    """A text without the user information of the URIs in it."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def transcript(turns: Sequence[Mapping[str, str]]) -> str:
    """Messages {role, content} as one text: a paragraph ``role: text`` per turn, but a single user message as it is."""
    if [turn["role"] for turn in turns] == ["user"]:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
