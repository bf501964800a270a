"""``ratchet init``."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ratchet.flows.cli.options import as_given

if TYPE_CHECKING:
    from ratchet.components.scaffold.guess import Columns
    from ratchet.components.scaffold.own import Own
    from ratchet.components.scaffold.project import Project
    from ratchet.components.scaffold.table import Table

TRIED = 50  # on which the gold is tried


@dataclass(frozen=True)
class Answers:
    """What the command line says already; the rest is guessed, and asked unless ``yes``."""

    task: str | None
    grader: str | None
    question: str | None
    answer: str | None
    database: str | None
    yes: bool


def init(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="The project's folder.", callback=as_given)] = Path(),
    task: Annotated[
        str | None,
        typer.Option("--task", help="maths, classify, extract or sql; with --data also text, preferences or own."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", help="Your rows: JSONL, CSV or Parquet. Without it, a template.", callback=as_given)
    ] = None,
    grader: Annotated[str | None, typer.Option("--grader", help="FILE:function that judges answers to your rows.")] = None,
    question: Annotated[str | None, typer.Option("--question", help="Column with the question.")] = None,
    answer: Annotated[str | None, typer.Option("--answer", help="Column with the reference.")] = None,
    database: Annotated[str | None, typer.Option("--database", help="SQLite file that queries run on.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Accept every guess and ask nothing.")] = False,
    ci: Annotated[bool, typer.Option("--ci", help="Also write a GitHub workflow for the check and the tests.")] = False,
    deploy: Annotated[bool, typer.Option("--deploy", help="Also write prefect.yaml: a run per night.")] = False,
) -> None:
    """Write a project: ratchet.yaml, tests of its grader, and lines of .gitignore. Exit 2 if a file has other content.

    Example: ratchet init demo --data tickets.csv --yes && cd demo && ratchet check
    """
    from ratchet.components.scaffold.place import check_folder, notes_on
    from ratchet.components.scaffold.project import with_options
    from ratchet.flows.cli.views.init import say, say_written

    require_terminal(yes)
    folder = folder.absolute()
    check_folder(folder)
    given = Answers(task, grader, question, answer, database, yes)
    if data is None and not yes and given.task is None and given.grader is None:
        data = asked_for_data()
    project = template_of(folder, given) if data is None else project_of(folder, data, given)
    written = write(folder, with_options(project, ci, deploy))
    for note in notes_on(folder):
        say(f"note: {note}")
    say_written(folder, written, ci)


def require_terminal(yes: bool) -> None:
    """Refuse to wait for answers that nobody can give.

    Raises:
        RecipeError: if standard input is no terminal.
    """
    from ratchet.components.errors import RecipeError

    if not yes and not sys.stdin.isatty():
        raise RecipeError("this asks questions, and there is no terminal to answer on. Take every guess with --yes.")


def ask(question: str, guess: str) -> str:
    """An answer of the user's, on stderr like all that people read; Return takes the guess."""
    return str(typer.prompt(question, default=guess, show_default=bool(guess), err=True)).strip()


def asked_for_data() -> Path | None:
    given = ask("your rows, a JSONL, CSV or Parquet file; nothing for a template with generated rows", "")
    return as_given(Path(given).expanduser()) if given else None


def template_of(folder: Path, given: Answers) -> "Project":
    """A template's project.

    Raises:
        RecipeError: if there is no such template, or an option needs rows.
    """
    from ratchet.components.errors import RecipeError
    from ratchet.components.scaffold.place import project_name
    from ratchet.components.scaffold.project import template_project
    from ratchet.components.scaffold.templates import KINDS
    from ratchet.flows.cli.views.init import say_templates

    options = {"--grader": given.grader, "--question": given.question, "--answer": given.answer, "--database": given.database}
    stray = [name for name, value in options.items() if value is not None]
    if stray:
        raise RecipeError(f"{stray[0]} is about rows of your own. Name their file with --data.")
    kind = given.task
    if kind is None:
        say_templates()
        kind = KINDS[0] if given.yes else ask("template", KINDS[0])
    if kind not in KINDS:
        raise RecipeError(f"there is no template {kind!r}. Write one of {', '.join(KINDS)}; or give rows of yours with --data.")
    return template_project(kind, project_name(folder))


def project_of(folder: Path, data: Path, given: Answers) -> "Project":
    """A project of the user's own rows: at most columns, judge and, for queries, a database are asked.

    Raises:
        RecipeError: if something is not there, or not what the rows need.
    """
    from ratchet.components.scaffold.own import Own
    from ratchet.components.scaffold.place import check_rows_place, project_name, reference_to
    from ratchet.components.scaffold.project import STARTER, own_project
    from ratchet.components.scaffold.table import read_table
    from ratchet.flows.cli.views.init import say_project

    table, path = read_table(data), reference_to(data, folder)
    check_rows_place(path)
    columns = chosen_columns(table, given)
    task, function = chosen_judge(table, columns, given)
    own = Own(project_name(folder), table, path, columns, task)
    if function is not None:
        own = judged_by_function(own, folder, function)
    elif task == "own":
        own = replace(own, grader=STARTER)
    elif task == "sql":
        own = judged_on_database(own, folder, chosen_database(folder, data, given))
    project = own_project(own)
    say_project(own, project)
    return project


def chosen_columns(table: "Table", given: Answers) -> "Columns":
    """The columns that ask and answer; asked for by number, because a name may have any character."""
    from ratchet.components.errors import RecipeError
    from ratchet.components.scaffold.guess import guess_columns
    from ratchet.flows.cli.views.init import say_columns

    if given.yes or given.question is not None or given.answer is not None:
        return guess_columns(table, given.question, given.answer, given.grader is not None)
    names = list(table.columns)
    try:
        guess = guess_columns(table, function=given.grader is not None)
        shown = " ".join(str(names.index(name) + 1) for name in (guess.asked, guess.right) if name is not None)
    except RecipeError:
        shown = ""
    say_columns(table)
    numbers = ask("question and answer, by number", shown).split()
    if " ".join(numbers) == shown and shown:
        return guess
    try:
        chosen = [names[range(1, len(names) + 1).index(int(number))] for number in numbers]
    except ValueError as error:
        raise RecipeError(f"{' '.join(numbers)!r} are not numbers from 1 to {len(names)}. Write two, as in 1 2.") from error
    asked, right = (*chosen, None, None)[:2]
    return guess_columns(table, asked, right, function=True)


def chosen_judge(table: "Table", columns: "Columns", given: Answers) -> tuple[str, str | None]:
    """The task, and the function that judges if it is one of the user's.

    Raises:
        RecipeError: if the rows are not for the task.
    """
    from ratchet.components.errors import RecipeError
    from ratchet.components.scaffold.guess import TASKS, guess_task, references, require_task
    from ratchet.flows.cli.views.init import say_tasks

    if given.grader is not None:
        return "own", given.grader
    task = given.task
    if task is None:
        task = guess_task(table, columns)
        if not given.yes:
            say_tasks()
            task = ask("task, or FILE:function that judges", task)
    if task not in TASKS and ":" in task:
        return "own", task
    require_task(table, columns, task)
    if task == "own" and not references(table, columns):
        other = " or name the column that does with --answer" if len(table.columns) > 1 else ""
        raise RecipeError(f"no row of {table.path} says what is right. Give a function that judges with --grader{other}.")
    return task, None


def judged_by_function(own: "Own", folder: Path, function: str) -> "Own":
    """The project with the user's function, which is loaded in the limited process of graders; its file is found from here."""
    from ratchet.components.scaffold.function import inspected, split_target
    from ratchet.components.scaffold.own import usable_rows
    from ratchet.components.scaffold.place import reference_to
    from ratchet.flows.cli.views.init import say_function, say_loading

    place, name = split_target(function)
    here = place
    if place.endswith(".py"):
        here = str((as_given(Path(place)) or Path(place)).absolute())
        place = reference_to(Path(here), folder)
    say_loading(f"{place}:{name}")
    found = inspected(f"{place}:{name}", f"{here}:{name}", usable_rows(own, TRIED))
    say_function(found)
    return replace(own, grader=found.settings, here={"file": f"{here}:{name}"})


def judged_on_database(own: "Own", folder: Path, place: str) -> "Own":
    """The project with its SQLite file: as it is found from here, or a template, which is relative to the project."""
    from ratchet.components.scaffold.place import reference_to

    if "{{" in place:
        return replace(own, database=place, here={"database": str(folder / place)})
    return replace(own, database=reference_to(Path(place), folder), here={"database": place})


def chosen_database(folder: Path, data: Path, given: Answers) -> str:
    """The SQLite file, as it is found from here; or a template, which is relative to the project.

    Raises:
        RecipeError: if there is none, or nobody says which.
    """
    from ratchet.components.errors import RecipeError

    found = databases([folder, data.absolute().parent])
    guess = str(found[0]) if len(found) == 1 else ""
    place = given.database or (guess if given.yes else ask("SQLite file that the queries run on", guess))
    if not place:
        several = f"there are {', '.join(map(str, found))}" if found else f"there is none in {folder} or beside {data}"
        raise RecipeError(f"queries need the SQLite file that they run on, and {several}. Name it with --database.")
    if "{{" in place:
        return place
    path = Path(place) if place == guess else as_given(Path(place)) or Path(place)
    if not path.is_file():
        raise RecipeError(f"there is no file {path}. Correct --database.")
    return str(path.absolute())


def databases(folders: Sequence[Path]) -> list[Path]:
    """SQLite files by their suffix, each once."""
    patterns = ("*.sqlite", "*.sqlite3", "*.db")
    return list(dict.fromkeys(path for folder in folders for one in patterns for path in sorted(folder.glob(one))))


def write(folder: Path, project: "Project") -> list[str]:
    """Write what is not there; the names of what was written.

    Raises:
        RecipeError: if a file has other content; nothing is written then.
        StoreError: if the disk does not take it.
    """
    from ratchet.components.code.constraints import CONSTRAINTS, installed_constraints
    from ratchet.components.errors import StoreError
    from ratchet.components.scaffold.recipe_text import SCHEMA
    from ratchet.components.scaffold.schema import recipe_schema
    from ratchet.components.scaffold.writing import GITIGNORE, ignore_state, missing, require_free, write_files
    from ratchet.components.storage.files import write_json
    from ratchet.components.storage.permissions import as_user_writes

    require_free(folder, project.files)
    locked = {} if os.path.lexists(folder / CONSTRAINTS) else {CONSTRAINTS: installed_constraints().encode()}
    absent = {**missing(folder, project.files), **locked}
    try:
        write_json(folder / SCHEMA, recipe_schema())
        with as_user_writes():
            ignored = ignore_state(folder)
            write_files(folder, absent)
    except OSError as error:
        raise StoreError(
            f"cannot write to {folder}: {error.strerror}. Correct that, and run the same command again."
        ) from error
    return [*absent, *([GITIGNORE] if ignored else [])]
