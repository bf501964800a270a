"""Adapters: each yields raw rows of one schema, with where they came from.

A raw row has ``file``, ``row`` (1-based), ``question``, ``answer`` (worked, ends ``#### N``), ``demonstration`` and, where
there are preferences, ``chosen`` and ``rejected``; a missing value is None, for the schema check to find.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.data import word_problems
from components.errors import DataError
from components.randomness import stream
from components.recipe import Data, JsonLines, WordProblems

FIELDS = ("question", "answer", "demonstration", "chosen", "rejected")


def read_rows(data: Data) -> Iterator[dict[str, Any]]:
    """Raw rows of the recipe's source.

    Raises:
        DataError: if a file is missing, not UTF-8, or holds a line that is not a JSON object.
    """
    if isinstance(data.source, WordProblems):
        yield from _word_problem_rows(data, data.source)
    else:
        yield from _json_lines_rows(data, data.source)


def _word_problem_rows(data: Data, source: WordProblems) -> Iterator[dict[str, Any]]:
    rows = word_problems.generate(source.problems, source.max_operand, source.demo_noise, data.pair_noise, data.seed)
    for number, row in enumerate(rows, 1):
        yield {"file": "word_problems", "row": number, **row}


def _json_lines_rows(data: Data, source: JsonLines) -> Iterator[dict[str, Any]]:
    for number, row in parse_json_lines(Path(source.path), source.limit):
        answer = row.get(source.answer)
        values = {"question": row.get(source.question), "answer": answer, "demonstration": row.get("demonstration", answer)}
        pair = (row.get("chosen"), row.get("rejected"))
        if source.pairs is None and pair == (None, None):
            pair = _derived_pair(data, answer)
        yield {"file": source.path, "row": number, **values, "chosen": pair[0], "rejected": pair[1]}
    if source.pairs is not None:
        for number, row in parse_json_lines(Path(source.pairs), None):
            values = {"question": row.get(source.question), "answer": row.get(source.answer, row.get("chosen"))}
            preference = {"chosen": row.get("chosen"), "rejected": row.get("rejected")}
            yield {"file": source.pairs, "row": number, **values, "demonstration": row.get("chosen"), **preference}


def _derived_pair(data: Data, answer: object) -> tuple[str | None, str | None]:
    """A near miss of a worked answer whose last line is ``#### N``: the same text with another final number."""
    if not isinstance(answer, str) or "####" not in answer:
        return None, None
    work, _, final = answer.rpartition("####")
    try:
        value = int(final.strip().replace(",", ""))
    except ValueError:
        return None, None
    rng = stream(data.seed, f"derived_pair:{answer}")  # by content, so that the order of rows does not matter
    wrong = f"{work}#### {value + word_problems.near_miss(rng, value)}"
    swapped = rng.random() < data.pair_noise
    return (wrong, answer) if swapped else (answer, wrong)


def parse_json_lines(path: Path, limit: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1-based line number, object) of a JSONL file.

    Raises:
        DataError: naming the file and line.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if limit is not None and number > limit:
                    return
                if line.strip():
                    yield number, _parse_line(path, number, line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check data.source in the recipe.") from error


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    place = f"{path}, line {number}"
    try:
        row = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"), parse_constant=_refuse_constant)
        json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate could be read, but never written
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: invalid UTF-8 at byte {error.start}. Convert the file to UTF-8.") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: a lone surrogate, which is not text. Correct or remove the line.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not a JSON object ({error}). Correct or remove the line.") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: a {type(row).__name__}, not a JSON object. Correct or remove the line.")
    return row


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
