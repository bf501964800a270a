"""Records of files: JSONL, read strictly; Parquet and CSV; and what the library ``datasets`` reads.

Input that two readers could interpret differently is rejected with its file and line. Files are read in batches, so that
memory stays bounded.
"""

import csv
import json
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from ratchet.components.errors import DataError
from ratchet.components.storage.json_text import strict_json

Record = tuple[int, dict[str, Any]]  # 1-based row number, fields
MAX_LINE_BYTES = 64 * 1024**2
MAX_BYTES = 16 * 1024**3  # of a file's decompressed content: a small file that decompresses to more is not a dataset
BATCH = 1_000
DELIMITERS = ";\t|,"
SAVED = ("dataset_dict.json", "state.json")  # what ``save_to_disk`` of the library datasets writes into a folder


def parse_json_lines(path: Path) -> Iterator[Record]:
    """(1-based line number, object) of a JSONL file. A byte order mark, CRLF and blank lines are not part of the rows.

    Raises:
        DataError: naming the file and line of invalid UTF-8, of a lone surrogate, of a duplicate key, of a number that is
            not finite, of a line over 64 MiB, or of anything else that is not one JSON object. A JSON array and
            pretty-printed JSON are named as such.
    """
    begun = False
    try:
        with path.open("rb") as file:
            for number, line in enumerate(iter(lambda: file.readline(MAX_LINE_BYTES + 1), b""), 1):
                if len(line) > MAX_LINE_BYTES:
                    raise DataError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes. Is this JSONL? Split it.")
                if line.strip():
                    if not begun:
                        _check_form(path, number, line)
                    begun = True
                    yield number, _parse_line(path, number, line)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check data.source in the recipe.") from error


def _check_form(path: Path, number: int, first: bytes) -> None:
    """Refuse a file that is JSON but not JSONL, as its first line shows: an array, or an object that does not end there."""
    text = first.decode("utf-8-sig", errors="replace").strip()
    if text.startswith("["):
        form, expression = _array(text)
    elif _is_unfinished(text):
        form, expression = "an object that does not end on its line, as in pretty-printed JSON", "."
    else:
        return
    remedy = f"Convert it: jq -c {shlex.quote(expression)} {shlex.quote(str(path))} > rows.jsonl"
    raise DataError(f"{path}, line {number}: {form}, but JSONL has one object per line. {remedy}")


def _array(text: str) -> tuple[str, str]:
    """What the array that begins a file has, and what makes objects of it: columns without names are given some."""
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return "a JSON array", ".[]"
    if not values or isinstance(values[0], dict):
        return "a JSON array", ".[]"
    columns, each = (values[0], ".[] | ") if isinstance(values[0], list) else (values, "")
    names = ["question", "answer", *(f"column_{number}" for number in range(3, len(columns) + 1))]
    named = ", ".join(f"{name}: .[{place}]" for place, name in enumerate(names[: len(columns)]))
    return "a JSON array of values without names", f"{each}{{{named}}}"


def _is_unfinished(text: str) -> bool:
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        return text.startswith("{") and error.pos >= len(text)
    except (ValueError, RecursionError):
        return False
    return False


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    place = f"{path}, line {number}"
    try:
        text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        row = strict_json(text)
        if "\\u" in text:
            json.dumps(row, ensure_ascii=False).encode()  # a lone surrogate could be read, but never written
    except UnicodeDecodeError as error:
        raise DataError(f"{place}: invalid UTF-8 at byte {error.start}. Convert the file to UTF-8.") from error
    except UnicodeEncodeError as error:
        raise DataError(f"{place}: a lone surrogate, which is not valid text. Correct or remove the line.") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{place}: not a JSON object ({error}). Correct or remove the line.") from error
    if not isinstance(row, dict):
        raise DataError(f"{place}: a {type(row).__name__}, not a JSON object. Correct or remove the line.")
    return row


def read_parquet(path: Path) -> Iterator[Record]:
    """Rows of a Parquet file.

    Raises:
        DataError: if it cannot be read, or would unpack to more than 16 GiB.
    """
    import pyarrow
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            groups = range(file.metadata.num_row_groups)
            _check_size(path, sum(file.metadata.row_group(n).total_byte_size for n in groups))
            yield from _numbered(path, (batch for batch in file.iter_batches(batch_size=BATCH)))
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"cannot read {path} as Parquet: {error}. Check data.source in the recipe.") from error


def _numbered(path: Path, batches: Iterable[Any]) -> Iterator[Record]:
    number, size = 0, 0
    for batch in batches:
        size += batch.nbytes
        _check_size(path, size)
        for row in batch.to_pylist():
            number += 1
            yield number, row


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise DataError(f"{path} decompresses to more than {MAX_BYTES} bytes. Is it a dataset? Split it into shards.")


def read_csv(path: Path, delimiter: str) -> Iterator[Record]:
    """Rows of a CSV file, numbered without the line of names; an empty value is None.

    Raises:
        DataError: naming the row that has too many or too few values, a broken quote, or invalid UTF-8.
    """
    csv.field_size_limit(64 * 1024**2)
    number = 0
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            names = _names(path, next(reader, []), delimiter)
            for values in reader:
                if not values:
                    continue
                number += 1
                if len(values) != len(names):
                    raise DataError(f"{path}, row {number}: {len(values)} values for {len(names)} names. Correct the row.")
                yield number, {name: value or None for name, value in zip(names, values, strict=True)}
    except UnicodeDecodeError as error:
        raise DataError(f"{path}, line {_first_undecodable(path)}: invalid UTF-8. Convert the file to UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"{path}, row {number + 1}: not CSV ({error}). Correct the row.") from error
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Check data.source in the recipe.") from error


def _first_undecodable(path: Path) -> int:
    """The number of the first line that is not UTF-8; the reader has decoded a block, and not counted its lines."""
    with path.open("rb") as file:
        return next(number for number, line in enumerate(file, 1) if not _is_utf8(line))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _names(path: Path, names: list[str], delimiter: str) -> list[str]:
    other = next((mark for mark in DELIMITERS if mark != delimiter and mark in "".join(names)), None)
    if len(names) == 1 and other is not None:
        raise DataError(
            f"the first line of {path} is the single column {names[0]!r}: its separator is {other!r}, not {delimiter!r}. "
            f"Set it in data.source, {{kind: csv, path: ..., delimiter: {json.dumps(other)}}}, or save the file with commas."
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        fault = f"has a duplicate column: {twice[0]!r}" if twice else "is empty"
        raise DataError(f"the first line of {path} {fault}. Give each column a unique name.")
    return names


def is_saved_dataset(path: Path) -> bool:
    """Whether ``datasets`` saved this folder."""
    return any((path / name).is_file() for name in SAVED)


def read_saved_dataset(path: Path, split: str) -> Iterator[Record]:
    """Rows of a folder that ``datasets`` saved with ``save_to_disk``.

    Raises:
        DataError: if the library is missing, or the folder has no such split.
    """
    datasets = _library(path)
    try:
        found = datasets.load_from_disk(str(path))
    except Exception as error:  # the library raises what its formats raise
        raise DataError(f"cannot read {path} with datasets: {error}. Save it again with save_to_disk.") from error
    if isinstance(found, datasets.DatasetDict):
        if split not in found:
            raise DataError(f"{path} has the splits {', '.join(found)}, not {split!r}. Set data.source.split.")
        found = found[split]
    yield from _dataset_rows(path, found)


def read_hub_dataset(path: str, name: str | None, split: str, revision: str | None) -> Iterator[Record]:
    """Rows of a dataset of the hub, which is downloaded; scripts are never run.

    Raises:
        DataError: if the library or the revision is missing, or the hub has no such dataset.
    """
    datasets = _library(path)
    if revision is None:
        raise DataError(f"data.source.path {path!r} is not a folder here; for a hub dataset set data.source.revision.")
    try:
        found = datasets.load_dataset(path, name, split=split, revision=revision)
    except Exception as error:  # the hub's client raises what its transport raises
        remedy = "Check data.source and the network, or download the dataset and give its folder."
        raise DataError(f"cannot load {path!r} from the hub: {error}. {remedy}") from error
    yield from _dataset_rows(path, found)


def _library(path: object) -> Any:
    try:
        import datasets
    except ImportError:
        remedy = "Install it: pip install 'ratchet-rl[hub]'. Or save the data as Parquet."
        raise DataError(f"{path} needs the library datasets. {remedy}") from None
    return datasets


def _dataset_rows(path: object, rows: Any) -> Iterator[Record]:
    yield from _numbered(Path(str(path)), rows.with_format("arrow").iter(batch_size=BATCH))
