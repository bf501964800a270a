"""Untrusted text, made safe to display."""

import re
import unicodedata
from collections.abc import Mapping, Sequence

MAX_TEXT = 2_000


def visible(text: str) -> str:
    """Text with control and bidirectional characters made visible, cut at a limit."""
    shown = "".join(c if c in "\n\t" or unicodedata.category(c) not in ("Cc", "Cf", "Cs") else f"\\u{ord(c):04x}" for c in text)
    return shown if len(shown) <= MAX_TEXT else shown[:MAX_TEXT] + " ... (cut)"


_VALUE = r"""(?:"[^"\n]*"|'[^'\n]*'|[^\s&"',;)}\]]+)"""
_NAMED = (  # by their names; "eos_token" and "max_new_tokens" are none
    r"[\w.-]*(?:secret|passwd|passw(?:or)?d|passphrase|credentials?|(?:api|access|private|account)[_-]?key"
    r"|(?:access|auth|api|bearer|hf|hub|id|refresh|session)[_-]?token)|(?-i:[A-Z0-9_]+_TOKEN)"
)
CREDENTIALS = (
    (re.compile(r"//[^/@\s]*@"), "//***@"),  # user information of a URI
    (
        re.compile(rf"(?i)\b((?:proxy-)?authorization[\"']?\s*[:=]\s*)(?:[\"']|(?:basic|bearer|digest|token)\s+)*{_VALUE}"),
        r"\1***",
    ),
    (re.compile(r"(?i)\b(bearer\s+)[\w.~+/=-]{8,}"), r"\1***"),
    (re.compile(rf"(?i)\b((?:{_NAMED})[\"']?\s*[:=]\s*){_VALUE}"), r"\1***"),
    (re.compile(rf"(?i)([?&](?:key|sig|token|x-amz-[\w-]+)=|\btoken=|[\"']token[\"']\s*:\s*){_VALUE}"), r"\1***"),
    (
        re.compile(r"\b(?:sk-[\w-]{16,}|hf_\w{16,}|gh[pousr]_\w{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}|xox[a-z]-[\w-]{10,})"),
        "***",
    ),
)


def redacted(text: str) -> str:
    """A text without what looks like a credential.

    That is user information of URIs, values named so (``?token=``, ``api_key=``, ``"password": ...``), Authorization headers,
    and keys of well-known forms.
    """
    for pattern, replacement in CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text


def transcript(turns: Sequence[Mapping[str, str]]) -> str:
    """Messages {role, content} as one text: a paragraph ``role: text`` per turn, but a single user message as it is."""
    if [turn["role"] for turn in turns] == ["user"]:
        return turns[0]["content"]
    return "\n\n".join(f"{turn['role']}: {turn['content']}" for turn in turns)
