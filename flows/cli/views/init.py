"""What ``ratchet init`` says, on stderr: what it guessed, on one row, and what it wrote."""

import json
import math
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ratchet.components.text import visible
from ratchet.flows.cli.options import invocation

if TYPE_CHECKING:
    from ratchet.components.scaffold.function import Inspected
    from ratchet.components.scaffold.judged import JudgedRow
    from ratchet.components.scaffold.own import Own
    from ratchet.components.scaffold.project import Project
    from ratchet.components.scaffold.table import Table

LONGEST = 300  # characters of a prompt or a reference
TRIED = 50  # rows on which the gold is tried
WRONG = ("empty answers", "other rows' references")
FAULTS = 3  # of a function, that are shown
LISTED = 5  # rows that lack something, that are named
EXAMPLE = 60  # characters of a value in the list of columns


def say(text: str) -> None:
    typer.echo(visible(text), err=True)


def say_templates() -> None:
    from ratchet.components.scaffold.templates import KINDS, template

    for kind in KINDS:
        say(f"  {kind:<10} {template(kind).summary}")


def say_tasks() -> None:
    from ratchet.components.scaffold.guess import TASKS

    for task, summary in TASKS.items():
        say(f"  {task:<12} {summary}")


def say_columns(table: "Table") -> None:
    """The columns by number, each with what it holds and a value."""
    for number, column in enumerate(table.columns.values(), 1):
        example = column.texts[0] if column.texts else ""
        say(f"  {number:>2}  {column.name:<20} {column.kind:<9} {cut(example, EXAMPLE)}")


def say_loading(function: str) -> None:
    from ratchet.components.graders.worker.function import SECONDS_TO_LOAD
    from ratchet.components.scaffold.function import SECONDS

    say(f"grader  {function}: loading takes at most {SECONDS_TO_LOAD:.0f} s, and a call {SECONDS:.0f} s")


def say_function(found: "Inspected") -> None:
    """A user's function, and what went wrong in calls of it."""
    say(f"        {found.signature}")
    for fault in found.faults[:FAULTS]:
        say(f"note: it failed on an answer: {fault}")
    if found.low:
        say(
            f"note: it gives {found.low} of {found.references} references no higher score than wrong answers: see what it reads"
        )


def say_project(own: "Own", project: "Project") -> None:
    """What was guessed, with one rendered prompt, and what the gold says of the first rows."""
    from ratchet.components.scaffold.own import first_rows, tried, usable_rows

    rows, table = usable_rows(own) or first_rows(own, 1), own.table
    row = next((row for row in rows if row["answer"] is not None), rows[0])
    size = f"{table.size:,} rows" if table.whole else f"about {table.size:,} rows, of which {len(table.rows):,} were read"
    say(f"data    {own.path}: {size}")
    say(f"asks    {cut(str(row['prompt']), LONGEST)}")
    if row["answer"] is not None:
        say(f"right   {cut(str(row['answer']), LONGEST)}")
    say(f"gold    {json.dumps(project.values['graders']['right'], ensure_ascii=False)}")
    say_verdicts(tried(own, project.values, TRIED))
    for note in notes_of(own):
        say(f"note: {note}")


def say_verdicts(rows: "Sequence[JudgedRow]") -> None:
    """How often the gold says right: of references, of nothing, of other rows' references."""
    kinds = {
        "references": [row.reference for row in rows if row.reference is not None],
        WRONG[0]: [row.empty for row in rows],
        WRONG[1]: [row.other for row in rows if row.other is not None],
    }
    told = [f"{sum(one.right for one in found)} of {len(found)} {name}" for name, found in kinds.items() if found]
    if told:
        say(f"        says right of {', '.join(told)}")
    if not all(one.right for one in kinds["references"]) or any(one.right for name in WRONG for one in kinds[name]):
        say("note: a gold must take references for right and these others for wrong: `ratchet check` says which rows")


def notes_of(own: "Own") -> Iterator[str]:
    """What a person should know of the guesses."""
    from ratchet.components.scaffold.guess import PAIR, distinct

    if Path(own.path).is_absolute():
        yield f"{own.path} is outside of the project, whose recipe names it by this path"
    yield from faults_of_rows(own)
    if own.task == "preferences":
        yield "preferences have no gold; nearness to the chosen answer stands in for it until you give a --grader"
        for name in PAIR:
            if len(distinct(own.table.columns[name].given)) == 1:
                yield f"the column {name} says the same in every row: from such pairs a reward model learns that one text alone"
    if own.task == "own" and not own.here:
        yield "graders.py has a function to start from: let it judge as your task needs it"
    if own.task == "classify" and not own.table.whole:
        yield f"the labels are those of the first {len(own.table.rows):,} rows; add others to ratchet.yaml"


def faults_of_rows(own: "Own") -> Iterator[str]:
    """What the first rows lack, and what the prompt cannot say."""
    from ratchet.components.scaffold.guess import references
    from ratchet.components.scaffold.own import FORMS, first_rows, is_step, rows_needed

    asked, needed = own.columns.asked, rows_needed(own.table.size)
    rows = first_rows(own)
    yield from lacking(rows, ("prompt", "answer") if references(own.table, own.columns) else ("prompt",))
    yield from too_long(rows)
    if needed is not None:
        yield f"{own.table.size:,} rows are too few for a verdict: about {needed:,} are needed to detect a gain of 0.4"
    if asked is not None and own.task in FORMS and own.table.columns[asked].kind == "messages":
        yield "the messages are asked as they are: they must say in which form to answer"
    elif asked is not None and own.task in FORMS and not is_step(asked):
        yield f"the prompt does not say in which form to answer, as no template can name {asked!r}: rename the column"


def lacking(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> Iterator[str]:
    """Which rows are not asked anything or have no answer, and what to do about them."""
    without = {name: [row["row"] for row in rows if not is_given(row[name])] for name in columns}
    told = [f"no {name} in row{'s' * (len(found) > 1)} {listed(found)}" for name, found in without.items() if found]
    if told:
        bad = len({number for found in without.values() for number in found})
        share = math.ceil(1_000 * bad / len(rows)) / 1_000
        yield (
            f"{bad:,} of {len(rows):,} rows cannot be used: {'; '.join(told)}. A run refuses them: correct or remove them, or "
            f"set data.checks.max_bad_rows={share:g}, which drops them"
        )


def too_long(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Which rows are so much longer than others that the recipe leaves no room for them."""
    from ratchet.components.scaffold.own import longest_of

    for column, what in (("prompt", "dropped by data.max_prompt_chars"), ("demonstration", "more than policy.max_new_tokens")):
        longest = longest_of(rows, column)
        far = {row["row"]: len(row[column]) for row in rows if isinstance(row[column], str) and len(row[column]) > longest}
        if far:
            name = "answer" if column == "demonstration" else column
            places, most = f"row{'s' * (len(far) > 1)} {listed(list(far))}", max(far.values())
            yield f"the {name} of {places} has up to {most:,} characters, and no other more than {longest:,}: {what}"


def is_given(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:LISTED])) + (f" and {len(numbers) - LISTED:,} more" if len(numbers) > LISTED else "")


def say_written(folder: Path, names: Sequence[str], ci: bool) -> None:
    """What was written, and what comes next."""
    say(f"wrote   {', '.join(names)}" if names else "everything is there already")
    top = next((path for path in (folder, *folder.parents) if (path / ".git").exists()), folder)
    if ci and top != folder:
        say(f"note: GitHub reads workflows in {top} only: move it there, with working-directory: {folder.relative_to(top)}")
    here = folder == (invocation.folder or Path.cwd())
    say(f"next    {'' if here else f'cd {shlex.quote(str(folder))} && '}ratchet check")


def cut(text: str, most: int) -> str:
    """A text in one line of at most so many characters."""
    line = text.replace("\n", "\\n")
    return line if len(line) <= most else f"{line[:most]}..."
