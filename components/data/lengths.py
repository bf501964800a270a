"""Length in tokens, by the recipe's tokenizer or, without one, by words and punctuation marks."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl

from ratchet.components.errors import DataError
from ratchet.components.recipe import LengthLimit

WORD = re.compile(r"\w+|[^\w\s]")
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


def limit_lengths(frame: pl.DataFrame, length: LengthLimit) -> Limited:
    """Drop or cut prompts over ``max_prompt`` tokens; drop rows with another text over ``max_answer`` tokens.

    A reference, a demonstration or a preference is never truncated: its end decides how it is judged.
    """
    split = tokenizer(length.tokenizer)
    truncated = 0
    if length.max_prompt is not None:
        spans = split(frame["prompt"].to_list())
        over = pl.Series([len(s) > length.max_prompt for s in spans])
        if length.policy == "truncate":
            # A conversation is dropped: its messages would stay whole, and cut ones would not be what was asked.
            long = pl.Series([len(s) > length.max_prompt for s in spans]) & frame["messages"].is_not_null()
            frame, spans = frame.filter(~long), [s for s, gone in zip(spans, long, strict=True) if not gone]
            over = over.filter(~long)
            pairs = zip(frame["prompt"], spans, strict=True)
            cut = [text[: s[length.max_prompt - 1][1]] if len(s) > length.max_prompt else text for text, s in pairs]
            frame = frame.with_columns(pl.Series("prompt", cut, dtype=pl.String))
            truncated = int(over.sum())
        else:
            frame = frame.filter(~over)
    if length.max_answer is not None:
        longest = [0] * frame.height
        for column in ("answer", "demonstration", "chosen", "rejected"):
            counts = map(len, split([text or "" for text in frame[column]]))
            longest = [max(pair) for pair in zip(longest, counts, strict=True)]
        frame = frame.filter(pl.Series([count <= length.max_answer for count in longest], dtype=pl.Boolean))
    return Limited(frame, truncated)
