"""Benchmark files of the user's own: JSONL rows with ``question`` or ``prompt``, and ``answer``."""

from pathlib import Path
from typing import Any

from components.data.duplicates import prompt_id
from components.data.json_lines import parse_json_lines
from components.errors import DataError
from components.rewards.verifier import reference_number
from components.text import visible


def benchmark_path(name: str, path: str) -> Path:
    """The file of a benchmark.

    Raises:
        DataError: if it is not there.
    """
    if not Path(path).is_file():
        raise DataError(f"benchmark {name}: there is no file {path}. Correct evaluation.benchmarks.{name} in the recipe.")
    return Path(path)


def benchmark_rows(name: str, path: str) -> list[dict[str, Any]]:
    """Rows {id, prompt, answer, ...the file's other fields}; of two with the same prompt the first counts.

    Raises:
        DataError: if a row has no prompt, or an answer without a number; or there is no row.
    """
    rows: dict[str, dict[str, Any]] = {}
    for number, row in parse_json_lines(benchmark_path(name, path), None):
        prompt, answer = row.get("question", row.get("prompt")), row.get("answer")
        if not isinstance(prompt, str) or not prompt.strip():
            raise DataError(f"benchmark {name}: row {number} of {path} has neither question nor prompt. Add one, as text.")
        if reference_number(str(answer)) is None:
            shown = visible(str(answer))[-80:]
            raise DataError(
                f"benchmark {name}: the answer of row {number} of {path} is not one number as a whole: {shown!r}. "
                "Write it as #### N."
            )
        identity = prompt_id(prompt)
        rows.setdefault(identity, {**row, "id": identity, "prompt": prompt.strip(), "answer": str(answer)})
    if not rows:
        raise DataError(f"benchmark {name}: {path} has no rows. Add some, or take it out of evaluation.benchmarks.")
    return list(rows.values())
