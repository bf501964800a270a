"""Invisible characters, wrongly decoded text, and names of special tokens: found and counted."""

from collections.abc import Sequence

import polars as pl

from ratchet.components.data.columns import TEXTS, Finding

# Written as escapes: most of these characters would be invisible here too.
ODD = {
    "control character": r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]",
    "bidirectional override": r"[\u200e\u200f\u202a-\u202e\u2066-\u2069]",
    "zero-width character": r"[\u00ad\u200b\u200c\u2060\ufeff]",
    "replacement character": r"\ufffd",
    "UTF-8 decoded as another encoding": r"[\u00c2\u00c3][\u0080-\u00bf]|\u00e2\u20ac",
    "excessive combining marks": r"\p{M}{5}",
    "word in two scripts": r"\p{Latin}[\p{Cyrillic}\p{Greek}]|[\p{Cyrillic}\p{Greek}]\p{Latin}",
}
SPECIAL_TOKENS = (
    r"<\|[^|<>\s]{1,40}\|>|</?s>|\[/?INST\]|<<SYS>>"
    r"|<(?:bos|eos|pad|unk|mask|start_of_turn|end_of_turn)>|\[(?:CLS|SEP|MASK|PAD)\]"
)


def odd_text(frame: pl.DataFrame, scripts: Sequence[str] = ()) -> list[Finding]:
    """Every (row, column, kind) of odd characters, in order of rows.

    Args:
        scripts: expected Unicode scripts; another language that shares them is not detected.
    """
    found = [finding for reason, pattern in ODD.items() for finding in _matches(frame, pattern, reason)]
    return sorted(found + (_foreign(frame, scripts) if scripts else []))


def special_tokens(frame: pl.DataFrame) -> list[Finding]:
    """Rows that contain what looks like the name of a special token. It is kept: every tokenizer call encodes it as text."""
    return sorted(_matches(frame, SPECIAL_TOKENS, "name of a special token"))


def _matches(frame: pl.DataFrame, pattern: str, reason: str) -> list[Finding]:
    return [o for column in TEXTS for o in _rows(frame, pl.col(column).str.contains(pattern), column, reason)]


def _foreign(frame: pl.DataFrame, scripts: Sequence[str]) -> list[Finding]:
    """Texts with less than half of their letters in the scripts."""
    expected, found = "[" + "".join(rf"\p{{{script}}}" for script in scripts) + "]", []
    for column in TEXTS:
        text = pl.col(column).str
        few = 2 * text.count_matches(expected).cast(pl.Int64) < text.count_matches(r"\p{L}").cast(pl.Int64)
        found += _rows(frame, few, column, f"letters that are not {' or '.join(scripts)}")
    return found


def _rows(frame: pl.DataFrame, condition: pl.Expr, column: str, reason: str) -> list[Finding]:
    rows = frame.filter(condition).select("number", "file", "row")
    return [Finding(number, file, row, column, reason) for number, file, row in rows.iter_rows()]
