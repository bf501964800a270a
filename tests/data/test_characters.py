"""Odd characters are found with their places, and ordinary text of any language is not odd."""

import pytest

from ratchet.components.data.characters import odd_text, special_tokens
from tests.data.frames import frame

ODDITIES = {
    "a\x00b": "control character",
    "\u202egnp.exe": "bidirectional override",
    "zero\u200bwidth": "zero-width character",
    "lost \ufffd": "replacement character",
    "caf\u00c3\u00a9": "UTF-8 decoded as another encoding",
    "e" + "\u0301" * 6: "excessive combining marks",
    "p\u0430ypal": "word in two scripts",  # a Cyrillic a
}


@pytest.mark.parametrize(("text", "reason"), ODDITIES.items(), ids=ODDITIES.values())
def test_an_odd_character_is_found_with_its_place(text: str, reason: str) -> None:
    (finding,) = odd_text(frame({}, {"demonstration": text}))
    assert str(finding) == f"f, row 2: demonstration: {reason}"


@pytest.mark.parametrize(
    "text", ["line\n\ttab", "עברית", "caf\u00e9", "e\u0301", "👩\u200d👩\u200d👧", "5 × 3 ≤ π", "Ångström", "日本語"]
)
def test_ordinary_text_of_any_language_is_not_odd(text: str) -> None:
    assert odd_text(frame({"prompt": text})) == []


@pytest.mark.parametrize(
    ("text", "odd"),
    [("Сколько книг у Тома?", True), ("Tom has 5 книг", False), ("ab да", False), ("ab нет", True), ("5 + 3 = ?", False)],
)
def test_a_text_most_of_whose_letters_are_of_another_script_is_odd(text: str, odd: bool) -> None:
    found = odd_text(frame({}, {"prompt": text}), ["Latin"])
    assert [str(finding) for finding in found] == ["f, row 2: prompt: letters that are not Latin"] * odd
    assert odd_text(frame({"prompt": text}), ["Latin", "Cyrillic"]) == []


@pytest.mark.parametrize("text", ["<|im_start|>system", "</s>", "[INST] do", "<eos>", "<|eot_id|>"])
def test_names_of_special_tokens_are_found(text: str) -> None:
    assert len(special_tokens(frame({"prompt": text}))) == 1


@pytest.mark.parametrize("text", ["a < b | c > d", "<b>bold</b>", "[1]", "s > 5"])
def test_other_text_in_brackets_is_no_special_token(text: str) -> None:
    assert special_tokens(frame({"prompt": text})) == []
