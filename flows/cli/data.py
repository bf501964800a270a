"""``ratchet data``: dataset versions."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ratchet.flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption, as_given
from ratchet.flows.cli.output import as_json
from ratchet.flows.cli.supervision import emit

if TYPE_CHECKING:
    from ratchet.components.data.pointers import Place
    from ratchet.components.stages.results import DataStage
    from ratchet.components.stages.stage import Context
    from ratchet.components.storage.home import Home

DATA_IN_USE = "another command is changing the dataset version; waiting"
OneRecipe = Annotated[
    Path | None, typer.Option("--recipe", callback=as_given, help="Recipe file; by default every pointer of the project.")
]
app = typer.Typer(
    help="Dataset versions: prepare, add, diff, verify, push, pull, restore.\n\nExample: ratchet data add feedback.jsonl",
    no_args_is_help=True,
)


@app.command()
def prepare(
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    drop_added: Annotated[bool, typer.Option("--drop-added", help="Drop the rows added by `data add`.")] = False,
) -> None:
    """Build the recipe's dataset version, write it to data/ and point data.dvc at it. Commit data.dvc to adopt it.

    A second recipe in the project has data.NAME/ and data.NAME.dvc. Rows added by `ratchet data add` stay in the version. The
    data report says what was dropped and why.

    Example: ratchet data prepare && git commit -m "New data" data.dvc
    """
    from ratchet.components.run.datasets import prepare_version
    from ratchet.flows.cli.views.console import console

    with data_context(recipe, overrides) as context:
        before = current(place_in(context))
        result = prepare_version(context, keep_added=not drop_added)
    warnings = warnings_of(context, result)
    say_version(context, result, before, warnings)
    finish_version(result, json_output, warnings)
    if before not in (None, result.version):
        console.print(f"see what changed: ratchet data diff {before} {result.version}", highlight=False, soft_wrap=True)


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="JSONL, Parquet or CSV file, or a folder of them.", callback=as_given)],
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
) -> None:
    """Add new prompts, preferences or demonstrations to the recipe's version; known rows change nothing.

    The recipe must be the one that the version was prepared with. The next run takes the new version; commit its pointer
    to share it.

    Example: ratchet data add feedback.jsonl && git commit -m "Feedback of May" data.dvc
    """
    from ratchet.components.run.datasets import add_file
    from ratchet.flows.cli.views.console import console

    with data_context(recipe, overrides) as context:
        place = place_in(context)
        before = current(place)
        done = add_file(context, str(file))
    warnings = warnings_of(context, done.result)
    if done.changed:
        console.print(f"{done.fresh} of {done.given} rows were not added before", highlight=False)
        say_version(context, done.result, before, warnings)
    else:
        said = f"unchanged: no table changes with these {done.given} rows; {place.pointer.name} stays at {before}"
        console.print(said, highlight=False, soft_wrap=True)
    finish_version(done.result, json_output, warnings, before if not done.changed else None)


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="Md5 of a dataset, MLflow run or git revision.")],
    new: Annotated[str, typer.Argument(help="The same; by default the version of the recipe's pointer.")] = "",
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
    json_output: JsonOption = False,
    rows: Annotated[int, typer.Option("--rows", min=0, help="Number of rows to list per kind.")] = 5,
) -> None:
    """Rows added, removed or changed between two versions, and how lengths, answers and splits changed.

    Example: ratchet data diff HEAD~1 HEAD
    """
    from ratchet.components.run.datasets import compare
    from ratchet.flows.cli.views.difference import print_difference

    with data_context(recipe, overrides) as context:
        found = compare(context, old, new or required(place_in(context)), pointer_of_run(context))
    if json_output:
        emit(as_json(found))
    else:
        print_difference(found, rows)


@app.command()
def restore(
    run: Annotated[str, typer.Argument(help="MLflow run whose data to restore.")],
    recipe: RecipeOption = DEFAULT_RECIPE,
    overrides: SetOption = None,
) -> None:
    """Restore the recipe's data and pointer to what an old run used, from its MLflow run alone; verified before it is used.

    Example: ratchet data restore 5489580b109d45e3b1a3c1e38ec19525
    """
    from ratchet.components.run.datasets import restore_run

    with data_context(recipe, overrides) as context:
        place = restore_run(context, run, pointer_of_run(context))
    _say(place, f"restored from run {run} and verified")


@app.command()
def push(recipe: OneRecipe = None, overrides: SetOption = None) -> None:
    """Upload the versions in data.dvc and in other recipes' pointers to the default DVC remote.

    Example: ratchet data push
    """
    from ratchet.components.data import versioning

    for home, place in places_here(recipe, overrides):
        with scratch(home) as workspace:
            versioning.push(place, workspace, home.dvc)
        _say(place, "pushed")


@app.command()
def pull(recipe: OneRecipe = None, overrides: SetOption = None) -> None:
    """Restore data/ to the version in data.dvc, and so for other recipes' pointers; verified.

    Example: ratchet data pull
    """
    from ratchet.components.data import versioning

    for home, place in places_here(recipe, overrides):
        with scratch(home) as workspace:
            versioning.pull(place, workspace, home.dvc)
        _say(place, "restored and verified")


@app.command()
def verify(recipe: OneRecipe = None, overrides: SetOption = None) -> None:
    """Hash data/ again and compare it with data.dvc, and so for other recipes' pointers.

    Example: ratchet data verify
    """
    from ratchet.components.data import versioning

    for _, place in places_here(recipe, overrides):
        versioning.refuse_links(place)
        versioning.verify(place)
        _say(place, "verified")


@contextmanager
def data_context(recipe: Path, overrides: list[str] | None) -> Iterator["Context"]:
    """A recipe's context, with progress shown within the block."""
    from ratchet.components.project.locks import Locks
    from ratchet.components.recipe import load_recipe
    from ratchet.components.stages.stage import Context
    from ratchet.components.storage.home import Home
    from ratchet.components.storage.store import check_writable
    from ratchet.flows.cli.views.console import Display, say

    home, resolved, display = Home.here(), load_recipe(recipe, overrides or []).with_slot("data"), Display()
    check_writable(home.state)
    with display.live(), Locks(home.locks, say).working("data", DATA_IN_USE):
        yield Context(resolved, home, observer=display)


def pointer_of_run(context: "Context") -> Any:
    """A reader of a run's pointer in MLflow."""

    def fetch(run_id: str) -> str:
        from ratchet.components.project.project import Project
        from ratchet.flows.cli.views.console import say

        return Project(context.home, context.recipe, say).tracker.artifact_text(run_id, "data/data.dvc")

    return fetch


def place_in(context: "Context") -> "Place":
    """Where the project has the recipe's version."""
    from ratchet.components.stages.data import own_place

    return own_place(context.home, context.recipe)


def current(place: "Place") -> str | None:
    """The version in a pointer."""
    from ratchet.components.data.pointers import pointer_md5

    return pointer_md5(place.pointer) if place.pointer.is_file() else None


def required(place: "Place") -> str:
    """The version in a pointer that must be there.

    Raises:
        DataError: if there is none.
    """
    from ratchet.components.errors import DataError

    if (version := current(place)) is None:
        raise DataError(
            f"there is no {place.pointer.name} here. Run `ratchet data prepare` with the recipe in the project's folder first."
        )
    return version


def warnings_of(context: "Context", result: "DataStage") -> list[str]:
    """What is wrong with a version: steps that dropped many rows, and sealed items that training saw."""
    from ratchet.components.project.project import Project
    from ratchet.components.project.trained import TrainedOn
    from ratchet.flows.cli.views.console import say

    project = Project(context.home, context.recipe, say)
    seen = TrainedOn(project, context, project.known).at_once(result)
    unknown = f"a run would end INVALID (exit 5): {seen.unknown}" if seen.unknown else ""
    return [*result.summary.get("warnings", []), *filter(None, (seen.said, unknown))]


def say_version(context: "Context", result: "DataStage", before: str | None, warnings: list[str]) -> None:
    """Print the project's version, what was dropped for it, and the path of its report."""
    from ratchet.components.stages.data import REPORT
    from ratchet.flows.cli.views.console import console

    counts, version = result.summary, result.version
    report = context.home.reports / f"data-{version[:12]}.html"
    report.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(result.path / REPORT, report)
    dropped = ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts["dropped"].items() if count)
    console.print(f"{counts['raw_rows']:,} rows read; dropped: {dropped or 'none'}", highlight=False, soft_wrap=True)
    console.print(", ".join(f"{name} {count:,}" for name, count in counts["rows"].items()), highlight=False, soft_wrap=True)
    for warning in warnings:
        console.print(f"warning: {warning}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    same = " (unchanged)" if before == version else ""
    place = place_in(context)
    console.print(f"{place.name}/ and {place.pointer.name} are at version {version}{same}", highlight=False, soft_wrap=True)
    console.print(f"report: {report}", markup=False, highlight=False, soft_wrap=True)


def finish_version(result: "DataStage", json_output: bool, warnings: list[str], unchanged: str | None = None) -> None:
    """Print JSON if asked."""
    if not json_output:
        return
    names = ("verdict", "version", "previous", "run_id", "report")
    found = {
        "status": "unchanged" if unchanged else "finished",
        **dict.fromkeys(names),
        "dataset": unchanged or result.version,
        "stages": [result.as_json()],
        "warnings": warnings,
    }
    emit(as_json(found))


@contextmanager
def scratch(home: "Home") -> Iterator[Path]:
    """A workspace for the duration of a command."""
    from ratchet.components.project.locks import Locks
    from ratchet.flows.cli.views.console import say

    with home.workspace("dvc") as folder, Locks(home.locks, say).working("data", DATA_IN_USE):
        yield folder


def places_here(recipe: Path | None, overrides: list[str] | None) -> Iterator[tuple["Home", "Place"]]:
    """The project here, with the version of a recipe, or with each version that it has.

    Raises:
        DataError: if it has none.
    """
    from ratchet.components.data.pointers import Place, places
    from ratchet.components.recipe import load_recipe
    from ratchet.components.stages.data import own_place
    from ratchet.components.storage.home import Home

    home = Home.here()
    found = places(home.project) if recipe is None else [own_place(home, load_recipe(recipe, overrides or ()))]
    for place in found or [Place(home.project)]:
        required(place)
        yield home, place


def _say(place: "Place", done: str) -> None:
    from ratchet.flows.cli.views.console import console

    told = f"version {current(place)}: {done}" if place.name == "data" else f"{place.name} version {current(place)}: {done}"
    console.print(told, highlight=False, soft_wrap=True)
