"""JSONL, read strictly: what two readers could understand differently is refused with its file and line."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ratchet.components.errors import DataError

MAX_LINE_BYTES = 64 * 1024**2


def parse_json_lines(path: Path, limit: int | None) -> Iterator[tuple[int, dict[str, Any]]]:
    """(1-based line number, object) of a JSONL file. A byte order mark, CRLF and blank lines are no part of the rows.

    Raises:
        DataError: naming the file and line of invalid UTF-8, of a lone surrogate, of a key given twice, of a number that is
            not finite, of a line over 64 MiB, or of anything else that is not one JSON object.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
                if limit is not None and number > limit:
                    return
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes. Is this JSONL? Split it.")
                if line.strip():
                    yield number, _parse_line(path, number, line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check data.source in the recipe.") from error


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    place = f"{path}, line {number}"
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        row = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite, object_pairs_hook=_unique_keys)
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


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is larger than any number")
    return value


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    row = dict(pairs)
    if len(row) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"key given twice: {next(name for name in names if names.count(name) > 1)}")
    return row
