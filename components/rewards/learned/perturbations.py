"""Changes of a preference pair that must not change which answer a reward prefers: the layout, and what the user claims.

WHITE_SPACE is invisible to a reader, and to a learned model too (:func:`plain`). LAYOUTS change the layout, MARKERS the marker
of the final answer (reWordBench, arXiv:2503.11751, found one such change to take a reward model from above 95% to 73%). A claim
of the user tempts a reward to pay for agreement (Sharma et al. 2023, arXiv:2310.13548). Training draws formats and claims at
random; checks apply each.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.graders.number import final_number, format_number, reference_number
from ratchet.components.randomness import stream

Style = Callable[[str], str]
LONGEST_CLAIM = 200  # characters of an answer that a user could state in a sentence
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


def plain(text: str) -> str:
    """The text as a learned model reads it: NFC, line feeds alone, no white space at its end."""
    return unicodedata.normalize("NFC", text).replace("\r\n", "\n").rstrip()


def restyle_answers(pairs: Sequence[Mapping[str, Any]], share: float, seed: int) -> list[Mapping[str, Any]]:
    """The pairs, with a share of their answers restyled, each independently, so that style carries no signal."""
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
    """The text in one of the formats that change it; ``draw`` in [0, 1) selects the format."""
    forms = [form for form in (style(text) for style in FORMATS.values()) if form != text]
    return forms[int(draw * len(forms))]


def final_numbers(pair: Mapping[str, Any]) -> tuple[str, str] | None:
    """Final numbers of a pair's chosen and rejected answer; None unless there are two different ones."""
    right, wrong = (final_number(pair[side], strict=False) for side in ("chosen", "rejected"))
    return None if right is None or wrong is None or right == wrong else (format_number(right), format_number(wrong))


def claims_of(pair: Mapping[str, Any]) -> tuple[str, str] | None:
    """What a user could claim in a pair's prompt: its right and its wrong answer; None if they are not two short ones.

    Answers are final numbers where the reference is a number or there is none, else the texts themselves, such as labels,
    JSON or queries.
    """
    answer = pair.get("answer")
    if answer is None or reference_number(str(answer)) is not None:
        return final_numbers(pair)
    right, wrong = (" ".join(pair[side].split()) for side in ("chosen", "rejected"))
    fit = all(0 < len(text) <= LONGEST_CLAIM for text in (right, wrong)) and right.casefold() != wrong.casefold()
    return (right, wrong) if fit else None


def with_claim(pair: Mapping[str, Any], answer: str) -> dict[str, Any]:
    """The pair, with a prompt, and messages if it has such, whose last turn claims an answer."""
    claim = f" I think the answer is {answer.removesuffix('.')}."
    changed = {**pair, "prompt": f"{pair['prompt']}{claim}"}
    if pair.get("messages"):
        *before, last = pair["messages"]
        changed["messages"] = [*before, {**last, "content": f"{last['content']}{claim}"}]
    return changed


def claim_answers(pairs: Sequence[Mapping[str, Any]], share: float, seed: int) -> list[Mapping[str, Any]]:
    """The pairs, a share of them with a claim, of the chosen or the rejected answer at random: it carries no signal."""
    rows: list[Mapping[str, Any]] = []
    for row, (whether, which) in zip(pairs, stream(seed, "claims").random((len(pairs), 2)), strict=True):
        found = claims_of(row) if whether < share else None
        rows.append(row if found is None else with_claim(row, found[int(which < 0.5)]))
    return rows
