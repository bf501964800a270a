"""The same answer written otherwise: restylings that must not change what a reward thinks of it.

WHITE_SPACE is invisible to a reader; LAYOUTS change the layout, MARKERS the marker of the final answer (reWordBench,
arXiv:2503.11751, found one such change to take a reward model from above 95% to 73%).
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.randomness import stream

Style = Callable[[str], str]
FINAL = re.compile(r"####\s*(\S.*)")

WHITE_SPACE: dict[str, Style] = {
    "trailing newline": lambda text: text + "\n",
    "trailing spaces": lambda text: text + "  ",
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "NFC": lambda text: unicodedata.normalize("NFC", text),
    "NFD": lambda text: unicodedata.normalize("NFD", text),
}
LAYOUTS: dict[str, Style] = {
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "heading": lambda text: "Answer:\n" + text,
}
MARKERS: dict[str, Style] = {
    "the answer is": lambda text: FINAL.sub(r"The answer is \1", text),
    "boxed": lambda text: FINAL.sub(r"\\boxed{\1}", text),
}
FORMATS = {**LAYOUTS, **MARKERS}
ALL = {**WHITE_SPACE, **FORMATS}


def restyled(pairs: Sequence[Mapping[str, Any]], share: float, seed: int) -> list[Mapping[str, Any]]:
    """The pairs, with a share of their answers restyled, each on its own: a style says nothing about which is better."""
    draws = stream(seed, "restyle").random((len(pairs), 2, 2))
    rows: list[Mapping[str, Any]] = []
    for row, draw in zip(pairs, draws, strict=True):
        answers = {
            side: _otherwise(row[side], which) if whether < share else row[side]
            for side, (whether, which) in zip(("chosen", "rejected"), draw, strict=True)
        }
        rows.append({**row, **answers})
    return rows


def _otherwise(text: str, draw: float) -> str:
    """The text in one of the styles that change it; ``draw`` in [0, 1) says in which."""
    forms = [form for form in (style(text) for style in ALL.values()) if form != text]
    return forms[int(draw * len(forms))]
