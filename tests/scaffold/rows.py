"""Small files of rows of each kind."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS = ("billing", "delivery", "repair")


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_csv(path: Path, names: Sequence[str], rows: Sequence[Sequence[Any]], delimiter: str = ",") -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerows([names, *rows])
    return path


def tickets(path: Path, count: int = 60) -> Path:
    """CSV with an id, a text and one of three labels."""
    rows = [(n, f"ticket {n} is about thing {n * 7}", LABELS[n % 3]) for n in range(count)]
    return write_csv(path, ("id", "body", "queue"), rows)


def bills(path: Path, count: int = 60) -> Path:
    """JSONL whose references are objects."""
    return write_jsonl(path, [{"text": f"bill {n}", "expected": {"total": n, "by": f"v{n % 5}"}} for n in range(count)])


def sums(path: Path, count: int = 60) -> Path:
    """JSONL in GSM8K's format."""
    return write_jsonl(path, [{"question": f"{n} and 1?", "answer": f"Add them.\n#### {n + 1}"} for n in range(count)])
