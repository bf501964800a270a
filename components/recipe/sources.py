"""Where rows come from: the kinds of ``data.source``."""

from pathlib import PurePath
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from ratchet.components.recipe.base import Count, Positive, Section, Share

SUFFIXES = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
    ".parquet": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
}


class WordProblems(Section):
    """Generated GSM8K-format word problems."""

    kind: Literal["word_problems"] = "word_problems"
    problems: Count = 24_000  # how many are generated
    max_operand: Annotated[int, Field(ge=2, le=1000)] = 20  # largest number in a problem
    demo_noise: Annotated[float, Field(ge=0, le=1)] = 0.34  # share of demonstrations that are wrong


class Records(Section):
    """Records of named fields. The names map fields; a field that a record lacks is a missing value."""

    path: str  # a file or folder, from the project's root; or the id of a hub dataset
    question: str = "question"  # text or chat messages; if absent, ``prompt`` and then ``messages`` are tried
    answer: str = "answer"  # field of the reference answer
    demonstration: str = "demonstration"  # if absent, ``completion`` is tried, then the answer is used
    chosen: str = "chosen"  # field of the preferred answer
    rejected: str = "rejected"  # field of the other answer
    messages: str = "messages"  # field of a whole conversation
    group: str | None = None  # rows with an equal value of this field fall into one split
    limit: Count | None = None  # rows at most, from the beginning


class JsonLines(Records):
    """A file of one JSON object per line, such as GSM8K's own."""

    kind: Literal["jsonl"]
    pairs: str | None = None  # JSONL of question, chosen, rejected; without it near misses are derived from the answers


class Parquet(Records):
    """A Parquet file."""

    kind: Literal["parquet"]


class Csv(Records):
    """A CSV file whose first line names the fields; an empty value is a missing one."""

    kind: Literal["csv"]
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] = ","  # between two fields


class Folder(Records):
    """A folder of JSONL, Parquet and CSV shards, or a dataset that ``datasets`` saved to disk."""

    kind: Literal["folder"]


class HubDataset(Records):
    """A dataset of the Hugging Face hub, or a directory that ``datasets`` reads. Needs the extra ``hub``."""

    kind: Literal["huggingface"]
    name: str | None = None  # the dataset's configuration
    split: str = "train"  # the split of the dataset on the hub
    revision: str | None = None  # commit of a hub id, without which the data could change under a version


class ChatLogs(Records):
    """Logged chat completions, JSONL of {timestamp, request, response}: the reply is the demonstration."""

    kind: Literal["chat_logs"]


class Example(Records):
    """Generated rows of a small task (components/data/examples); ``path`` is its name."""

    kind: Literal["example"]
    path: Literal["tickets", "bills", "shop"]  # which of the three
    demo_noise: Share = 0.34  # share of demonstrations that are wrong


def short_form(value: Any) -> Any:
    """A path in place of a source: its suffix determines the kind, and a path without a known suffix is a folder."""
    if not isinstance(value, str):
        return value
    suffix = PurePath(value).suffix.lower()
    kind = SUFFIXES.get(suffix, "folder")
    return {"kind": kind, "path": value, **({"delimiter": "\t"} if suffix == ".tsv" else {})}


FileSource = JsonLines | Parquet | Csv | Folder | HubDataset | ChatLogs | Example
OneSource = WordProblems | FileSource


class Weighted(Section):
    """One part of a mix."""

    # A path, or a source of any kind but mix.
    source: Annotated[Annotated[OneSource, Field(discriminator="kind")], BeforeValidator(short_form)]
    weight: Positive = 1.0  # its share of the rows, relative to the other weights


class Mix(Section):
    """Several sources, with rows in proportion to the weights: as many as the source that is scarcest for its weight allows."""

    kind: Literal["mix"]
    sources: Annotated[list[Weighted], Field(min_length=1)]  # each with a weight


Source = Annotated[Annotated[OneSource | Mix, Field(discriminator="kind")], BeforeValidator(short_form)]


def parts(source: OneSource | Mix) -> list[Weighted]:
    """The sources of a mix with their weights; any other source is a mix of one."""
    return source.sources if isinstance(source, Mix) else [Weighted(source=source)]
