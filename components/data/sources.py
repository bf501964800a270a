"""Rows of the recipe's source, and of a mix by weight.

A raw row has ``file``, ``row`` (from 1), ``part`` (its place among the sources of a mix) and what ``columns.COLUMNS`` names;
a missing value is None, for the schema check to find.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from ratchet.components.data import examples, word_problems
from ratchet.components.data.asking import LackingError, answering, asking
from ratchet.components.data.chat_logs import of_log
from ratchet.components.data.columns import PAIR, Lacking, Turns, own_columns, raw_row
from ratchet.components.data.duplicates import CONTENT
from ratchet.components.data.fields import Fields, check_named
from ratchet.components.data.questions import asked_by
from ratchet.components.data.readers import (
    Record,
    is_saved_dataset,
    parse_json_lines,
    read_csv,
    read_hub_dataset,
    read_parquet,
    read_saved_dataset,
)
from ratchet.components.errors import DataError
from ratchet.components.randomness import Streams
from ratchet.components.recipe import (
    ChatLogs,
    Csv,
    Data,
    Example,
    Folder,
    HubDataset,
    JsonLines,
    Records,
    WordProblems,
    parts,
    short_form,
)
from ratchet.components.recipe.sources import SUFFIXES, FileSource, Weighted

Row = dict[str, Any]
GENERATED = Records(path="word_problems")  # fields by their usual names


def read_rows(data: Data) -> Iterator[Row]:
    """Raw rows of the recipe's source.

    Raises:
        DataError: naming the file, and the line or row, that cannot be read.
    """
    needed = needed_columns(data)
    for number, part in enumerate(parts(data.source)):
        source = part.source
        rows = _word_problem_rows(data, source) if isinstance(source, WordProblems) else _own_rows(data, source, needed)
        yield from ({**row, "part": number} for row in rows)


def needed_columns(data: Data) -> tuple[str, ...]:
    """The columns that a training row must fill; an evaluated one needs the prompt alone."""
    return ("prompt",) if data.checks.answers == "optional" else ("prompt", "answer")


def read_file(data: Data, path: str, needed: Sequence[str] = ("prompt",)) -> Iterator[Row]:
    """Raw rows of one more file; its fields have the names that the recipe's own source gives them.

    Raises:
        DataError: naming what cannot be read, or the field of a column in ``needed`` that no row has.
    """
    source = Weighted.model_validate({"source": short_form(path)}).source
    assert isinstance(source, Records)
    own = parts(data.source)[0].source
    if isinstance(own, Records):
        names = {name: getattr(own, name) for name in Records.model_fields if name not in ("path", "limit")}
        source = source.model_copy(update=names)
    yield from _rows(data, _grouped(data, source), Fields(path), needed)


def _own_rows(data: Data, source: FileSource, needed: Sequence[str]) -> Iterator[Row]:
    """Raw rows of one of the recipe's sources, in which every field that it names must occur."""
    files, source = [Fields(source.path)], _grouped(data, source)
    yield from _rows(data, source, files[0], needed)
    if isinstance(source, JsonLines) and source.pairs is not None:
        files.append(Fields(source.pairs))
        yield from _pair_rows(data, source, source.pairs, files[1])
    check_named(source, files, () if isinstance(data.keep, str) else data.keep)


def _grouped(data: Data, source: Any) -> Any:
    """The source with ``data.group`` as the field of groups."""
    return source if data.group is None else source.model_copy(update={"group": data.group})


def _rows(data: Data, source: FileSource, fields: Fields, needed: Sequence[str]) -> Iterator[Row]:
    derive = not (isinstance(source, JsonLines) and source.pairs is not None)
    ask, asked, streams = _asking(data), asked_by(data.task), Streams()
    answers = _answering(data, source, "answer" in needed)
    for file, (number, record) in islice(_records(source, data.seed), source.limit):
        row = raw_row({**record, **answers(record, file, number)}, source, ask(record, file, number))
        fields.note(record, row)
        own = own_columns(record, source, data)
        if derive and row["chosen"] is None and row["rejected"] is None:
            row["chosen"], row["rejected"] = _derived_pair(data, row["answer"], streams)
        yield {"file": file, "row": number, **row, "asked": asked(record), **({"item": own} if own else {})}
    fields.check_templates()
    fields.check_columns(source, needed)


def _asking(data: Data) -> Callable[[Mapping[str, Any], str, int], Turns | Lacking | None]:
    return _or_lacking(asking(data.task)) if data.task is not None and data.task.turns else lambda *_: None


def _or_lacking(make: Callable[[Mapping[str, Any], str, int], Any]) -> Callable[[Mapping[str, Any], str, int], Any]:
    """What makes something of a record, or says why it cannot: the checks list such rows, as they list all others."""

    def made(record: Mapping[str, Any], file: str, number: int) -> Any:
        try:
            return make(record, file, number)
        except LackingError as error:
            return error.fault

    return made


def _answering(data: Data, source: Records, needed: bool) -> Callable[[Mapping[str, Any], str, int], dict[str, Any]]:
    """What gives a record its reference, where ``task`` says what it is; one that is not needed may be missing."""
    if data.task is None or data.task.answer is None:
        return lambda *_: {}
    answer = _or_lacking(answering(data.task.answer, needed))
    return lambda record, file, number: {source.answer: answer(record, file, number)}


def _pair_rows(data: Data, source: JsonLines, path: str, fields: Fields) -> Iterator[Row]:
    ask, asked = _asking(data), asked_by(data.task)
    for number, record in parse_json_lines(Path(path)):
        row = raw_row(record, source, ask(record, path, number))
        fields.note(record, row)
        yield {"file": path, "row": number, **row, "asked": asked(record), "shape": PAIR}
    fields.check_templates()
    fields.check_columns(source, ("prompt",))


def source_files(source: WordProblems | FileSource) -> list[Path]:
    """The local files that a source reads, in the order in which it reads them; none of a hub dataset or of generated rows.

    Raises:
        DataError: if there is no such file, or a folder contains no shard.
    """
    if isinstance(source, WordProblems | Example):
        return []
    path = Path(source.path)
    if isinstance(source, Folder | HubDataset) and path.is_dir():
        return _folder_files(path)
    if isinstance(source, HubDataset):
        return []
    if isinstance(source, Folder) and path.is_file() and path.suffix.lower() not in SUFFIXES:
        raise DataError(
            f"{path} is a file whose kind its name does not say ({', '.join(SUFFIXES)} do). "
            f"Name the kind in the recipe: data.source={{kind: jsonl, path: {path}}}."
        )
    paths = [path, *([Path(source.pairs)] if isinstance(source, JsonLines) and source.pairs is not None else [])]
    missing = [p for p in paths if not p.is_file()]
    if missing:
        what = "folder" if isinstance(source, Folder) else "file"
        hub = " For a hub dataset set data.source.kind=huggingface." if isinstance(source, Folder) else ""
        raise DataError(f"there is no {what} {missing[0]}. Check data.source in the recipe.{hub}")
    return paths


def _folder_files(folder: Path) -> list[Path]:
    saved = is_saved_dataset(folder)
    files = sorted(p for p in folder.rglob("*") if p.is_file() and (saved or p.suffix.lower() in SUFFIXES))
    if not files:
        raise DataError(f"{folder} contains no file that ends in {', '.join(SUFFIXES)}. Check data.source in the recipe.")
    return files


def _records(source: FileSource, seed: int) -> Iterator[tuple[str, Record]]:
    """(file, record) of a source; ``seed`` is of generated ones."""
    path = Path(source.path)
    if isinstance(source, Example):
        generated = examples.generate(source.path, source.demo_noise, seed)
        yield from ((source.path, record) for record in enumerate(generated, 1))
    elif isinstance(source, HubDataset) and not path.is_dir():
        records = read_hub_dataset(source.path, source.name, source.split, source.revision)
        yield from ((source.path, record) for record in records)
    elif isinstance(source, Folder | HubDataset):
        yield from _folder_records(source, path)
    elif isinstance(source, ChatLogs):
        records = parse_json_lines(path)
        yield from ((source.path, (number, of_log(source.path, number, record))) for number, record in records)
    else:
        delimiter = source.delimiter if isinstance(source, Csv) else ","
        yield from ((source.path, record) for record in _file_records(path, source.kind, delimiter))


def _folder_records(source: Folder | HubDataset, path: Path) -> Iterator[tuple[str, Record]]:
    files = source_files(source)
    if is_saved_dataset(path):
        split = source.split if isinstance(source, HubDataset) else "train"
        yield from ((source.path, record) for record in read_saved_dataset(path, split))
        return
    for file in files:
        delimiter = "\t" if file.suffix.lower() == ".tsv" else ","
        yield from ((str(file), record) for record in _file_records(file, SUFFIXES[file.suffix.lower()], delimiter))


def _file_records(path: Path, kind: str, delimiter: str) -> Iterator[Record]:
    if kind == "parquet":
        return read_parquet(path)
    if kind == "csv":
        return read_csv(path, delimiter)
    return parse_json_lines(path)


def _word_problem_rows(data: Data, source: WordProblems) -> Iterator[Row]:
    rows = word_problems.generate(source.problems, source.max_operand, source.demo_noise, data.pair_noise, data.seed)
    for number, row in enumerate(rows, 1):
        yield {"file": "word_problems", "row": number, **raw_row(row, GENERATED)}


def _derived_pair(data: Data, answer: object, streams: Streams) -> tuple[str | None, str | None]:
    """A near miss of a worked answer whose last line is ``#### N``: the same text with another final number."""
    if not isinstance(answer, str) or "####" not in answer:
        return None, None
    work, _, final = answer.rpartition("####")
    try:
        value = int(final.strip().replace(",", ""))
    except ValueError:
        return None, None
    rng = streams.stream(data.seed, f"derived_pair:{answer}")  # by content, so that the order of rows does not matter
    wrong = f"{work}#### {value + word_problems.near_miss(rng, value)}"
    swapped = rng.random() < data.pair_noise
    return (wrong, answer) if swapped else (answer, wrong)


def weigh(frame: pl.DataFrame, weights: Sequence[float]) -> pl.DataFrame:
    """As many rows of each part as its weight allows, when the part that is scarce for its weight gives all of its rows.

    Args:
        weights: one positive number per part.
    """
    counts = dict(frame.group_by("part").len().iter_rows())
    present = [part for part in range(len(weights)) if counts.get(part)]
    if len(present) < 2:
        return frame
    scale = min(counts[part] / weights[part] for part in present)
    keyed = frame.with_columns(pl.struct(CONTENT).map_elements(_key, return_dtype=pl.String).alias("_key"))
    chosen = [
        keyed.filter(pl.col("part") == part).sort("_key").head(math.floor(weights[part] * scale + 1e-9)) for part in present
    ]
    return pl.concat(chosen).drop("_key")


def _key(row: dict[str, str | None]) -> str:
    return hashlib.sha256("\0".join(str(row[name]) for name in CONTENT).encode()).hexdigest()
