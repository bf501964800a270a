"""Lengths are in tokens; what is judged by its end is never cut."""

import json
from pathlib import Path

import pytest

from ratchet.components.data.lengths import limit_lengths
from ratchet.components.errors import DataError
from ratchet.components.recipe import LengthLimit
from tests.data.frames import frame


def test_without_a_tokenizer_words_and_marks_are_counted() -> None:
    rows = frame({"prompt": "How many pens?"}, {"prompt": "How many pens now?"})  # 4 and 5
    assert limit_lengths(rows, LengthLimit(max_prompt=4)).frame["row"].to_list() == [1]


def test_a_long_prompt_is_cut_behind_its_last_token_and_counted() -> None:
    limited = limit_lengths(
        frame({"prompt": "How many pens now?"}, {"prompt": "Two?"}), LengthLimit(max_prompt=2, policy="truncate")
    )
    assert limited.frame["prompt"].to_list() == ["How many", "Two?"]
    assert limited.truncated == 1


def test_a_long_answer_is_dropped_even_where_prompts_are_cut() -> None:
    rows = frame({"answer": "one two three #### 5"}, {})
    assert limit_lengths(rows, LengthLimit(max_answer=5, policy="truncate")).frame["row"].to_list() == [2]


def test_a_tokenizer_of_the_recipe_counts(tmp_path: Path) -> None:
    vocabulary = {"[UNK]": 0, "a": 1, "b": 2}
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    split = {"type": "Split", "pattern": {"String": ""}, "behavior": "Isolated", "invert": False}
    (tmp_path / "tokenizer.json").write_text(json.dumps({"version": "1.0", "model": model, "pre_tokenizer": split}))
    length = LengthLimit(tokenizer=str(tmp_path), max_prompt=3)  # a token a character
    assert limit_lengths(frame({"prompt": "abba"}, {"prompt": "aba"}), length).frame["prompt"].to_list() == ["aba"]


@pytest.mark.parametrize("content", [None, "not JSON"])
def test_what_is_no_tokenizer_is_refused(tmp_path: Path, content: str | None) -> None:
    if content:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(DataError, match=r"data\.length\.tokenizer"):
        limit_lengths(frame({}), LengthLimit(tokenizer=str(tmp_path), max_prompt=1))
