"""The user's benchmark files: JSONL rows with a prompt, in any form that a source accepts, and an answer."""

from pathlib import Path
from typing import Any

from ratchet.components.data.columns import own_columns, prompt_of
from ratchet.components.data.duplicates import prompt_ids
from ratchet.components.data.readers import parse_json_lines
from ratchet.components.errors import DataError
from ratchet.components.graders.number import reference_number
from ratchet.components.recipe import Data, Records
from ratchet.components.text import visible

NAMES = Records(path="a benchmark")  # fields by their usual names


def benchmark_path(name: str, path: str) -> Path:
    """The file of a benchmark.

    Raises:
        DataError: if it does not exist.
    """
    if not Path(path).is_file():
        raise DataError(f"benchmark {name}: there is no file {path}. Correct evaluation.benchmarks.{name} in the recipe.")
    return Path(path)


def benchmark_rows(name: str, path: str, numbers: bool = True) -> list[dict[str, Any]]:
    """Rows {id, prompt, answer, item, ...the file's other fields}; of several with the same prompt the first counts.

    Args:
        numbers: whether the gold reads numbers, so that each answer must be one.

    Raises:
        DataError: if a row has no prompt or, with ``numbers``, an answer other than a single number, a prompt has two answers,
            or no row exists.
    """
    given = [_row(name, path, number, row, numbers) for number, row in parse_json_lines(benchmark_path(name, path))]
    if not given:
        raise DataError(f"benchmark {name}: {path} has no rows. Add some, or remove it from evaluation.benchmarks.")
    rows: dict[str, dict[str, Any]] = {}
    for number, (identity, row) in enumerate(zip(prompt_ids([row["prompt"] for row in given]), given, strict=True), 1):
        first = rows.setdefault(identity, {**row, "id": identity})
        if _reference(first["answer"], numbers) != _reference(row["answer"], numbers):
            raise DataError(
                f"benchmark {name}: prompt {number} of {path} appears twice with different answers. Keep one of them."
            )
    return list(rows.values())


def _reference(answer: Any, numbers: bool) -> Any:
    return reference_number(answer) if numbers else answer


def _row(name: str, path: str, number: int, row: dict[str, Any], numbers: bool) -> dict[str, Any]:
    """A row of a benchmark file with prompt and answer as text."""
    chat, answer = prompt_of(row, NAMES), row.get("answer")
    prompt = chat.prompt
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"benchmark {name}: row {number} of {path} has neither question nor prompt. Add one, as text.")
    if numbers and reference_number(str(answer)) is None:
        shown = visible(str(answer))[-80:]
        raise DataError(
            f"benchmark {name}: the answer of row {number} of {path} is not a single number: {shown!r}. Write it as #### N."
        )
    own = own_columns(row, NAMES, Data())
    text = answer if answer is None or isinstance(answer, str) else str(answer)
    return {**row, "prompt": prompt.strip(), "answer": text, "messages": chat.turns, **({"item": own} if own else {})}
