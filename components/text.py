"""Untrusted text, made safe to display."""

import re
import unicodedata

MAX_TEXT = 2_000


def visible(text: str) -> str:
    """Text with control and bidirectional characters made visible, cut at a limit."""
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"\\u{ord(c):04x}" for c in text)
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + " ... (cut)"


def redacted(text: str) -> str:
    """A text without the user information of the URIs in it."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)
