"""What a row asks, apart from how it is asked: an edited instruction does not make it another question.

A row of a recipe with ``task`` has ``asked``: for each field that the templates read, the digest of its folded text. What the
templates say around the fields is no part of it. A row that says its prompt itself asks one text, the prompt.
"""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ratchet.components.data.asking import templates_of
from ratchet.components.recipe import Task
from ratchet.components.templates import AbsentError, as_text, follow, written

Asked = Mapping[str, str]  # field -> digest of its text
PROMPT = "prompt"  # the field of a row that says its prompt itself


class UnlikeError(Exception):
    """Two rows that were asked by fields of which none is the same: whether they ask the same is not known."""


def place_of(text: str) -> str:
    """The hash that assigns a question to a table, 16 hex digits: NFKC, case and white space folded.

    Questions that differ only in these are in one table, so that none is trained on while a variant is evaluated on.
    """
    folded = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    return hashlib.sha256(folded.encode()).hexdigest()[:16]


def asked_by(task: Task | None) -> Callable[[Mapping[str, Any]], dict[str, str] | None]:
    """What a record asks by the fields that the task reads; None where the record lacks one, or the task reads none.

    Raises:
        DataError: if a template's file cannot be read.
    """
    paths = _paths(task)

    def asked(record: Mapping[str, Any]) -> dict[str, str] | None:
        try:
            return {name: place_of(as_text(follow(paths[name], {"item": record}))) for name in sorted(paths)} or None
        except AbsentError:
            return None

    return asked


def fields_of(task: Task | None) -> list[str]:
    """The fields that a task asks by.

    Raises:
        DataError: if a template's file cannot be read.
    """
    return sorted(_paths(task))


def _paths(task: Task | None) -> dict[str, tuple[str | int, ...]]:
    turns = templates_of(task) if task is not None else []
    return {written(path): path for _, template in turns for path in template.paths}


def whole(asked: Asked) -> str:
    """The place of a question: that of its one text, or of all its texts together."""
    digests = sorted(asked.items())
    return digests[0][1] if len(digests) == 1 else place_of(json.dumps(digests))


def asked_in(row: Mapping[str, Any]) -> Asked:
    """What a row of a table asks."""
    return row.get("asked") or {PROMPT: place_of(row["prompt"])}


def keys(asked: Asked, others: Sequence[str]) -> list[str]:
    """By what a question is compared with one that was asked by other fields: they are the same if they share a key.

    Of a question in one text it is not known which field of another it was: each of them may be. Otherwise the fields that both
    have decide.

    Raises:
        UnlikeError: if they have none in common.
    """
    names = sorted(asked)
    if names == list(others) or len(names) == len(others) == 1:
        return [whole(asked)]
    if len(names) == 1 or len(others) == 1:
        return [asked[name] for name in names]
    common = {name: asked[name] for name in names if name in others}
    if not common:
        raise UnlikeError
    return [whole(common)]
