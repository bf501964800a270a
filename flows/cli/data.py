"""``ratchet data``: dataset versions."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli.options import DEFAULT_RECIPE, JsonOption, RecipeOption, SetOption

if TYPE_CHECKING:
    from components.home import Home

app = typer.Typer(help="Dataset versions: prepare, push, pull, verify.", no_args_is_help=True)


@app.command()
def prepare(recipe: RecipeOption = DEFAULT_RECIPE, overrides: SetOption = None, json_output: JsonOption = False) -> None:
    """Build the recipe's dataset version, write it under data/ and point data.dvc at it. Commit data.dvc to adopt it.

    Example: ratchet data prepare && git commit -m "New data" data.dvc
    """
    from components.data import versioning
    from components.home import Home
    from components.pipeline.context import Context
    from components.pipeline.data import data_configuration, dataset_version, prepare_data
    from components.recipe import load_recipe
    from flows.cli.run import finish
    from flows.console import Display, console
    from flows.recording import working

    home = Home.here()
    resolved = load_recipe(recipe, overrides or []).with_slot("data")
    display = Display()
    with display.live(), working(home, "data", "dataset versions are being worked on; waiting"):
        context = Context(resolved, home, observer=display)
        result = prepare_data(context, pinned=False)
        display.finished("data", result.cached, result.seconds)
    versioning.publish(result.path, home.project, home.dvc)
    assert versioning.pinned_version(home.project, data_configuration(resolved.data)) == dataset_version(result)
    console.print(f"data/ and data.dvc are at version {dataset_version(result)}")
    names = ("verdict", "version", "previous", "run_id", "report")
    finish(
        {
            "status": "finished",
            **dict.fromkeys(names),
            "dataset": dataset_version(result),
            "stages": [result.summary()],
        },
        json_output,
    )


@app.command()
def push() -> None:
    """Upload the version that data.dvc names to the default DVC remote.

    Example: ratchet data push
    """
    from components.data import versioning
    from components.home import Home

    home = Home.here()
    require_pointer(home.project / versioning.POINTER)
    with scratch(home) as workspace:
        versioning.push(home.project, workspace, home.dvc)
    _say("pushed")


@app.command()
def pull() -> None:
    """Restore data/ to the version that data.dvc names, and verify it.

    Example: ratchet data pull
    """
    from components.data import versioning
    from components.home import Home

    home = Home.here()
    require_pointer(home.project / versioning.POINTER)
    with scratch(home) as workspace:
        versioning.pull(home.project, workspace, home.dvc)
    _say("restored and verified")


@app.command()
def verify() -> None:
    """Hash data/ again and compare it with data.dvc.

    Example: ratchet data verify
    """
    from components.data import versioning
    from components.home import Home

    home = Home.here()
    require_pointer(home.project / versioning.POINTER)
    versioning.verify(home.project, versioning.pointer_md5(home.project / versioning.POINTER))
    _say("verified")


@contextmanager
def scratch(home: "Home") -> Iterator[Path]:
    """A workspace for the length of a command."""
    from components.files import scratch_directory
    from flows.recording import working

    folder = scratch_directory(home.workspaces, "dvc")
    try:
        with working(home, "data", "dataset versions are being worked on; waiting"):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def require_pointer(path: Path) -> None:
    """Refuse to go on without a pointer."""
    from components.errors import DataError

    if not path.is_file():
        raise DataError("there is no data.dvc here. Run `ratchet data prepare` in the project's folder first.")


def _say(done: str) -> None:
    from components.data import versioning
    from components.home import Home
    from flows.console import console

    console.print(f"version {versioning.pointer_md5(Home.here().project / versioning.POINTER)}: {done}")
