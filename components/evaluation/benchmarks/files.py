"""The user's benchmark files: JSONL rows with a prompt, in any form that a source accepts, and an answer.

The recipe's ``task`` asks them as it asks the rows of the dataset: by the fields that it reads, or by a text in place of its
one field. Messages are asked as they are.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ratchet.components.data.asking import answering, asking, filling
from ratchet.components.data.columns import Chat, conversation, own_columns, prompt_of
from ratchet.components.data.duplicates import prompt_ids
from ratchet.components.data.readers import parse_json_lines
from ratchet.components.errors import DataError
from ratchet.components.graders.number import reference_number
from ratchet.components.recipe import Data, Records, parts
from ratchet.components.text import visible

NAMES = Records(path="a benchmark")  # fields by their usual names

Row = dict[str, Any]


def benchmark_path(name: str, path: str) -> Path:
    """The file of a benchmark.

    Raises:
        DataError: if it does not exist.
    """
    if not Path(path).is_file():
        raise DataError(f"benchmark {name}: there is no file {path}. Correct evaluation.benchmarks.{name} in the recipe.")
    return Path(path)


def benchmark_rows(name: str, path: str, numbers: bool = True, data: Data | None = None) -> list[Row]:
    """Rows {id, prompt, answer, item, ...the file's other fields}; of several with the same prompt the first counts.

    Args:
        numbers: whether the gold reads numbers, so that each answer must be one.
        data: the recipe's, whose ``task`` and names of fields hold here too.

    Raises:
        DataError: if a row has no prompt or, with ``numbers``, an answer other than a single number, a prompt has two answers,
            or no row exists.
    """
    made = _reader(data or Data(), path)
    given = [
        _row(name, path, number, *made(row, number), numbers) for number, row in parse_json_lines(benchmark_path(name, path))
    ]
    if not given:
        raise DataError(f"benchmark {name}: {path} has no rows. Add some, or remove it from evaluation.benchmarks.")
    rows: dict[str, Row] = {}
    for number, (identity, row) in enumerate(zip(prompt_ids([row["prompt"] for row in given]), given, strict=True), 1):
        first = rows.setdefault(identity, {**row, "id": identity})
        if _reference(first["answer"], numbers) != _reference(row["answer"], numbers):
            raise DataError(
                f"benchmark {name}: prompt {number} of {path} appears twice with different answers. Keep one of them."
            )
    return list(rows.values())


def _reference(answer: Any, numbers: bool) -> Any:
    return reference_number(answer) if numbers else answer


def _reader(data: Data, path: str) -> Callable[[Row, int], tuple[Chat, Row]]:
    """What makes of a row of the file its conversation, and the row with ``answer`` and its ``item``."""
    own, task = parts(data.source)[0].source, data.task
    names = own if isinstance(own, Records) else NAMES
    ask = asking(task) if task is not None and task.turns else None
    answer = answering(task.answer, needed=False) if task is not None and task.answer is not None else None

    def conversation_of(row: Row, number: int) -> Chat:
        given = _first(row, (names.question, "prompt", names.messages, NAMES.question, NAMES.messages))
        if ask is None or task is None or isinstance(given, list):
            return prompt_of({"prompt": given}, NAMES)
        return conversation(ask(filling(task, row, given), path, number)) or Chat(None)

    def read(row: Row, number: int) -> tuple[Chat, Row]:
        made = None if answer is None else answer(row, path, number)
        found = _first(row, (names.answer, NAMES.answer)) if made is None else made
        kept = own_columns(row, names, data)
        return conversation_of(row, number), {**row, "answer": found, **({"item": kept} if kept else {})}

    return read


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    return next((row[name] for name in names if row.get(name) is not None), None)


def _row(name: str, path: str, number: int, chat: Chat, row: Row, numbers: bool) -> Row:
    """A row of a benchmark file with prompt and answer as text."""
    prompt, answer = chat.prompt, row["answer"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"benchmark {name}: row {number} of {path} has neither question nor prompt. Add one, as text.")
    if numbers and reference_number(str(answer)) is None:
        shown = visible(str(answer))[-80:]
        raise DataError(
            f"benchmark {name}: the answer of row {number} of {path} is not a single number: {shown!r}. Write it as #### N."
        )
    text = answer if answer is None or isinstance(answer, str) else str(answer)
    return {**row, "prompt": prompt.strip(), "answer": text, "messages": chat.turns}
