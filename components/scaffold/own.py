"""The recipe of a project with rows of the user's own: values and comments, from what was guessed or answered."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from ratchet.components.data.sources import read_rows
from ratchet.components.errors import RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import Data, Records, Rules, Split, UserFunction, Warmup, build_recipe
from ratchet.components.scaffold.guess import Columns, distinct, is_marked, references
from ratchet.components.scaffold.judged import JudgedRow, judged, usable
from ratchet.components.scaffold.table import ROWS, Table
from ratchet.components.statistics.power import items_needed, minimum_detectable_effect

MODEL = "Qwen/Qwen2.5-0.5B-Instruct"  # small, and follows instructions
STEP = re.compile(r"[A-Za-z_][\w-]*", re.ASCII)  # of a path in a template
CHARACTERS_PER_TOKEN = 2  # fewer than any tokenizer has here, so that the room is enough
SPARE = 8  # tokens: short texts have fewer characters per token
ORDINARY, FAR = 0.99, 4  # share of the rows that size a policy, and how much longer than these others may be
ROOMY = {"prompt": Data().max_prompt_chars, "demonstration": 400}  # characters that any policy has room for
MARGIN = 1.25  # for rows that were not read, and may be longer
MANY = 20_000  # rows from which the recipe's own shares leave enough items to every table
DISCORDANCE = 0.3  # share of items on which two versions of a policy differ: more than is usual
TARGETS = (0.1, 0.15, 0.2, 0.3, 0.4)  # gains
FORMS = ("maths", "classify", "extract", "sql")  # tasks whose answers have a form that the prompt says
LONGEST_COMPLETION = 1_024  # tokens
ALPHA = Rules().alpha_epoch / Rules().uses_per_epoch  # of one use of a sealed fold
OF_PAIRS = ("pair_accuracy", "length_baseline", "padding_invariance", "text_invariance", "format_perturbation")
LEARNT = 0.6  # share of right samples to train from: with the fixed number of steps few rows are learnt by heart
SIMILARITY = 0.8  # ROUGE-L: half of a reference has 0.67


@dataclass(frozen=True)
class Own:
    """What a project of one's own is made of.

    Attributes:
        name: of the project.
        path: of the table's file, as the recipe has it.
        task: of ``guess.TASKS``.
        grader: settings of the user's own function, where it decides.
        database: path of the SQLite file, as the recipe has it, of the task sql.
        here: settings of the gold as they are before the project is written: its file or database as it is found from the
            working directory; none if it is not there yet.
        response: file of a JSON Schema of completions, as the recipe has it.
        demonstrates: whether a reference is an answer as the policy is to write it, and not only what a grader compares with.
    """

    name: str
    table: Table
    path: str
    columns: Columns
    task: str
    grader: Mapping[str, Any] | None = None
    database: str | None = None
    here: Mapping[str, Any] = field(default_factory=dict)
    response: str | None = None
    demonstrates: bool = True


def values_of(own: Own) -> dict[str, Any]:
    """The recipe's values, without any that is a default.

    Raises:
        RecipeError: if a column that must be in a template has a name that cannot be.
    """
    pairs, task, rows = own.task == "preferences", _task(own), first_rows(own)
    longest = longest_of(rows, "prompt")
    response = {} if own.response is None else {"response": {"json_schema": own.response}}
    split = split_for(own.table.size, pairs)
    return {
        "name": own.name,
        "data": {
            **_data(own, task),
            **({"max_prompt_chars": _rounded(longest, 1_000)} if longest > Data().max_prompt_chars else {}),
            "split": split,
        },
        **({"task": {**task, **response}} if task or response else {}),
        "policy": _policy(rows if own.demonstrates else [], longest, 1.0 if own.table.whole else MARGIN),
        "graders": {"right": _grader(own)},
        "gold": {"grader": "right", **({"allow_similarity": True} if pairs and own.grader is None else {})},
        "reward": {"kind": "model"} if pairs else {"validation": {"waive": dict.fromkeys(OF_PAIRS, "no pairs")}},
        "gate": {"rules": _rules(own.table.size, split, pairs)},
    }


def first_rows(own: Own, most: int = ROWS) -> list[dict[str, Any]]:
    """Raw rows as the recipe's data section makes them, read from where the file is now, those that cannot be used too."""
    task = _task(own)
    data = _data(own, task)
    source = {**data["source"], "path": str(own.table.path)}
    values = {**data, "source": source, **({"task": task} if task else {})}
    return list(islice(read_rows(Data.model_validate(values)), most))


def usable_rows(own: Own, most: int = ROWS) -> list[dict[str, Any]]:
    """The first rows that can be asked."""
    return list(islice(usable(first_rows(own)), most))


def longest_of(rows: Sequence[Mapping[str, Any]], column: str) -> int:
    """Characters of the longest text, without those that are far longer than nearly all: one such row would size a policy."""
    lengths = sorted(len(row[column]) for row in rows if isinstance(row[column], str)) or [0]
    far = max(ROOMY[column], FAR * lengths[int(ORDINARY * (len(lengths) - 1))])
    return max(length for length in [0, *lengths] if length <= far)


def tried(own: Own, values: Mapping[str, Any], most: int) -> list[JudgedRow]:
    """What the recipe's gold says of answers to the first rows; nothing if the gold is not there yet."""
    settings = build_recipe(dict(values), own.name).gold_settings.model_copy(update=dict(own.here))
    if isinstance(settings, UserFunction) and not own.here:
        return []
    return judged(build_grader(settings), settings, usable_rows(own, most))


def _data(own: Own, task: Mapping[str, str]) -> dict[str, Any]:
    """Where rows are, and what they must be."""
    return {"source": _source(own, task), **_checks(own), **_kept(own, task)}


def _kept(own: Own, task: Mapping[str, str]) -> dict[str, Any]:
    """The columns by name, where one is read as question or answer and a function may read it by its own name too."""
    columns = own.columns
    texts = [name for name in (columns.asked, columns.right) if name is not None and own.table.columns[name].kind == "text"]
    if own.task != "own" or all(is_step(name) for name in texts):
        return {}
    rows = own.table.rows
    return {"keep": [name for name in own.table.columns if all(name in row and _is_json(row[name]) for row in rows)]}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return False
    return True


def _task(own: Own) -> dict[str, str]:
    """How a row is asked and what its reference is, where a column alone does not say it."""
    asked, table = own.columns.asked, own.table
    task: dict[str, str] = {}
    if asked is not None and table.columns[asked].kind == "text" and is_step(asked):
        task["prompt"] = f"{{{{item.{asked}}}}}{_instruction(own)}"
    right = own.columns.right
    named = own.task == "own" and right is not None and is_step(right)  # a function may read the column by its own name
    if right is None or (table.columns[right].kind == "text" and not _lacks_mark(own) and not named):
        return task
    if not is_step(right):
        raise RecipeError(
            f"the column {right!r} is to be made text, and a template cannot name it: letters, digits, - and _ only. Rename it."
        )
    return {**task, "answer": f"{'#### ' if own.task == 'maths' else ''}{{{{item.{right}}}}}"}


def is_step(name: str) -> bool:
    """Whether a template can name a column."""
    return STEP.fullmatch(name) is not None


def _lacks_mark(own: Own) -> bool:
    return own.task == "maths" and not all(map(is_marked, references(own.table, own.columns)))


def _instruction(own: Own) -> str:
    """What tells a model that has not seen the data in which form to answer."""
    values = references(own.table, own.columns)
    match own.task:
        case "maths":
            line = 'End your answer with "#### " and the number.'
        case "classify":
            line = f"Answer with one of: {', '.join(distinct(values))}."
        case "extract":
            line = f"Answer with a JSON object that has: {', '.join(_keys(values))}."
        case "sql":
            line = "Answer with one SQLite query."
        case _:
            return ""
    return "" if "{{" in line or "}}" in line else f"\n{line}"


def _keys(values: Sequence[Any]) -> list[str]:
    objects = [json.loads(value) if isinstance(value, str) else value for value in values[:100]]
    return list(dict.fromkeys(key for value in objects if isinstance(value, dict) for key in value))


def _source(own: Own, task: Mapping[str, str]) -> dict[str, Any]:
    """Kind and path, and the columns whose names are not the usual ones."""
    source: dict[str, Any] = {"kind": own.table.source["kind"], "path": own.path, **own.table.source}
    asked, right = own.columns.asked, own.columns.right
    messages = asked is not None and own.table.columns[asked].kind == "messages"
    if asked is not None and "prompt" not in task:
        source |= {"messages" if messages else "question": asked}
    if right is not None and "answer" not in task:
        source |= {"answer": right}
    usual = {name: field.default for name, field in Records.model_fields.items()} | {"delimiter": ","}
    return {name: value for name, value in source.items() if value != usual.get(name)}


def _checks(own: Own) -> dict[str, Any]:
    if not references(own.table, own.columns):
        return {"checks": {"answers": "optional"}}
    return {} if own.task == "maths" else {"checks": {"answers": "text"}}


def split_for(size: int, pairs: bool) -> dict[str, Any]:
    """The shares of the tables: of few rows more are needed to judge by; pairs are for a reward model alone."""
    small = {} if size >= MANY else {"dev": 0.1, "sealed": 0.3, "sealed_folds": 2}
    return {**small, **({"pairs": 0.2, "pairs_heldout": 0.5} if pairs else {"pairs": 0})}


def _policy(rows: Sequence[Mapping[str, Any]], longest: int, margin: float) -> dict[str, Any]:
    """Room for the completions, and for the tiny policy's context; without demonstrations there is nothing to warm it up on."""
    answer = longest_of(rows, "demonstration")
    if not answer:
        return {"model": MODEL, "max_new_tokens": 256}
    new = min(LONGEST_COMPLETION, _rounded(margin * answer / CHARACTERS_PER_TOKEN + SPARE, 8))
    context = _rounded(margin * (longest + answer) / CHARACTERS_PER_TOKEN + SPARE + new, 64)
    warmup = {"until": LEARNT, **({"context": context} if context > Warmup().context else {})}
    return {"warmup": warmup, "max_new_tokens": new}


def _grader(own: Own) -> dict[str, Any]:
    """The settings of the gold."""
    if own.grader is not None:
        return dict(own.grader)
    match own.task:
        case "maths":
            return {"type": "number", "form": "strict"}
        case "classify":
            return _labels(distinct(references(own.table, own.columns)))
        case "extract":
            return {"type": "json_match", "score": "all"}
        case "sql":
            return {"type": "sql", "database": own.database}
        case "preferences":
            return {"type": "text_similarity", "metric": "rouge_l", "passes_at": SIMILARITY}
    return {"type": "exact"}


def _labels(labels: Sequence[str]) -> dict[str, Any]:
    """A letter is looked for in a text, and any other label must be the whole answer."""
    if all(re.fullmatch("[A-Z]", label) for label in labels):
        return {"type": "choice", "options": list(labels)}
    folded = len({label.casefold() for label in labels}) == len(labels)
    return {"type": "label", "labels": list(labels), **({} if folded else {"ignore_case": False})}


def _rules(size: int, split: Mapping[str, Any], pairs: bool) -> dict[str, Any]:
    """The gain that the sealed items can show, where it is more than the default."""
    visible = minimum_detectable_effect(DISCORDANCE, sealed_items(size, split), ALPHA)
    target = next((one for one in TARGETS if one >= visible), TARGETS[-1])
    return {**({"target_effect": target} if target > TARGETS[0] else {}), **({"floor": 0.0} if pairs else {})}


def rows_needed(size: int) -> int | None:
    """Rows for the gate to see the largest gain that a recipe is given; None if there are so many."""
    split = Split.model_validate(split_for(size, pairs=False))
    needed = math.ceil(items_needed(TARGETS[-1], TARGETS[-1], ALPHA) * split.sealed_folds / split.sealed)
    return needed if size < needed else None


def sealed_items(size: int, split: Mapping[str, Any]) -> int:
    """Rows of one sealed fold."""
    shares = Split.model_validate(split)
    return int(size * shares.sealed / shares.sealed_folds)


def _rounded(value: float, unit: int) -> int:
    return math.ceil(value / unit) * unit
