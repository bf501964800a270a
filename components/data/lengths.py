"""Length in tokens, by the recipe's tokenizer or, without one, by words and punctuation marks."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ratchet.components.errors import DataError
from ratchet.components.recipe import LengthLimit

WORD = re.compile(r"\w+|[^\w\s]")
ASCII_WORD = r"[0-9A-Za-z_]+|[^0-9A-Za-z_\t-\r\x1c- ]"  # the same within ASCII
BATCH = 10_000  # texts tokenized at once
Spans = list[tuple[int, int]]  # (begin, end) of each token, characters
Tokenize = Callable[[Sequence[str]], list[Spans]]


class Limited(NamedTuple):
    """Rows within the length limits, and how many had their prompt truncated."""

    frame: pl.DataFrame
    truncated: int


def tokenizer_file(path: str) -> Path:
    """The ``tokenizer.json`` of a recipe.

    Raises:
        DataError: if there is none.
    """
    place = Path(path)
    file = place / "tokenizer.json" if place.is_dir() else place
    if not file.is_file():
        raise DataError(f"there is no {file}. Set data.length.tokenizer to a tokenizer.json or the folder that contains it.")
    return file


def tokenizer(path: str | None) -> Tokenize:
    """The function that splits texts into tokens; names of special tokens in a text are text."""
    if path is None:
        return lambda texts: [[match.span() for match in WORD.finditer(text)] for text in texts]
    from tokenizers import Tokenizer

    file = tokenizer_file(path)
    try:
        loaded = Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises bare exceptions
        raise DataError(f"{file} is not a tokenizer ({error}). Correct data.length.tokenizer.") from error
    loaded.encode_special_tokens = True
    return lambda texts: [list(code.offsets) for code in loaded.encode_batch(list(texts), add_special_tokens=False)]


def token_counter(path: str | None) -> Callable[[pl.Series], list[int]]:
    """The function that counts the tokens of each text, a batch at a time."""
    if path is None:
        return _words
    split = tokenizer(path)
    return lambda texts: [
        len(spans) for first in range(0, len(texts), BATCH) for spans in split(texts[first : first + BATCH].to_list())
    ]


def _words(texts: pl.Series) -> list[int]:
    """Words and punctuation marks, by compiled code where texts are ASCII: elsewhere its idea of a word is another one."""
    foreign = texts.str.len_bytes() != texts.str.len_chars()
    counts = texts.str.count_matches(ASCII_WORD).cast(pl.Int64)
    return counts.scatter(foreign.arg_true(), [len(WORD.findall(text)) for text in texts.filter(foreign)]).to_list()


def limit_lengths(frame: pl.DataFrame, length: LengthLimit) -> Limited:
    """Drop or cut prompts over ``max_prompt`` tokens; drop rows with another text over ``max_answer`` tokens.

    A reference, a demonstration or a preference is never truncated: its end decides how it is judged.
    """
    count, truncated = token_counter(length.tokenizer), 0
    if length.max_prompt is not None:
        over = pl.Series(count(frame["prompt"])) > length.max_prompt
        # A conversation is dropped: its messages would stay whole, and cut ones would not be what was asked.
        lost = over & frame["messages"].is_not_null() if length.policy == "truncate" else over
        frame, over = frame.filter(~lost), over.filter(~lost)
        truncated = int(over.sum())
        if truncated:
            cut = _cut(frame["prompt"].filter(over).to_list(), tokenizer(length.tokenizer), length.max_prompt)
            frame = frame.with_columns(prompt=frame["prompt"].scatter(over.arg_true(), cut))
    if length.max_answer is not None:
        for column in ("answer", "demonstration", "chosen", "rejected"):
            counts = pl.Series(count(frame[column].fill_null("")), dtype=pl.Int64)
            frame = frame.filter(counts <= length.max_answer)
    return Limited(frame, truncated)


def _cut(texts: Sequence[str], split: Tokenize, most: int) -> list[str]:
    return [text[: spans[most - 1][1]] for text, spans in zip(texts, split(texts), strict=True)]
