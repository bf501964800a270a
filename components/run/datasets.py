"""The verbs on dataset versions: prepare, add rows, restore a run's, compare two."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.components.data import versioning
from ratchet.components.data.columns import restored
from ratchet.components.data.pointers import Place, added_rows, read_pointer_text, relocated
from ratchet.components.errors import DataError
from ratchet.components.stages.data import ADDED, build_data, data_configuration, own_pin, own_place
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context
from ratchet.components.storage.files import read_json_lines, tree_digests
from ratchet.components.storage.home import Home

RUN = re.compile(r"[0-9a-f]{32}")
VERSION = re.compile(r"[0-9a-f]{32}\.dir")
Fetch = Callable[[str], str]  # an MLflow run's id -> the text of its pointer


@dataclass(frozen=True)
class Addition:
    """What ``add`` did: the current version, and whether it is new."""

    result: DataStage
    given: int  # rows of the file
    fresh: int  # of which not added before
    changed: bool


def prepare_version(context: Context, keep_added: bool = True) -> DataStage:
    """Make the recipe's version, with the rows added to the project's data, the project's own."""
    place = own_place(context.home, context.recipe)
    added = project_added(context.home, place) if keep_added else []
    result = build_data(context, added)
    versioning.publish(result.path, place, context.recipe.name, context.home.dvc)
    return result


def add_file(context: Context, path: str) -> Addition:
    """Add a file's rows to the project's version, which is prepared if there is none; if no table changes, nothing is written.

    Raises:
        DataError: if there is no such file, the project's data are not those of the recipe, or the rows fail their checks.
    """
    from ratchet.components.data.columns import content
    from ratchet.components.data.sources import needed_columns, read_file

    if not Path(path).is_file():
        raise DataError(f"there is no file {path}. Give the path of the file whose rows are to be added.")
    home, data, place = context.home, context.recipe.data, own_place(context.home, context.recipe)
    prepared = place.pointer.is_file()
    if prepared and own_pin(home, context.recipe) is None:
        raise DataError(
            f"there is no {place.pointer.name} with this recipe's data. Run `ratchet data prepare` with the same recipe first."
        )
    given = list(read_file(data, path, needed_columns(data)))
    if not given:
        raise DataError(f"{path} contains no rows. Give a file of new prompts, preferences or demonstrations.")
    if not prepared:  # runs make the recipe's version, and leave the project's pointer to people
        prepare_version(context)
    known = project_added(home, place)
    contents = {content(row) for row in known}
    fresh = [row for row in given if content(row) not in contents]
    result = build_data(context, [*known, *fresh])
    changed = bool(fresh) and not _same_tables(context, result)
    if changed:
        versioning.publish(result.path, place, context.recipe.name, home.dvc)
    return Addition(result, len(given), len(fresh), changed)


def _same_tables(context: Context, result: DataStage) -> bool:
    """Whether a version has the same tables as the project's, ignoring its counts."""

    def tables(root: Path) -> dict[str, str]:
        return {k: v for k, v in tree_digests(root).items() if k not in ("summary.json", ADDED.name)}

    home, place = context.home, own_place(context.home, context.recipe)
    with home.workspace("data") as workspace:
        return tables(materialise(home, place, place.text(), workspace)) == tables(result.path / "data")


def project_added(home: Home, place: Place) -> list[dict[str, Any]]:
    """The rows that were added to the project's version, verified; none without a pointer.

    Raises:
        DataError: if the data and the pointer disagree.
    """
    if not place.pointer.is_file() or not added_rows(place.pointer):
        return []
    with home.workspace("data") as workspace:
        rows = read_json_lines(materialise(home, place, place.text(), workspace) / ADDED.name)
    return [{"file": str(ADDED), "row": number, **restored(row)} for number, row in enumerate(rows, 1)]


def materialise(home: Home, place: Place, pointer: str, workspace: Path) -> Path:
    """The verified data of a pointer: the project's own if they are that version, else fetched below ``workspace``."""
    if place.pointer.is_file() and place.data.is_dir() and place.text() == pointer:
        versioning.verify(place)
        return place.data
    versioning.fetch(pointer, home.project, workspace, home.dvc)
    return workspace / "data"


def restore_run(context: Context, run_id: str, fetch: Fetch) -> Place:
    """Make an old run's exact data the recipe's own in the project; returns where. Only the run in MLflow is needed.

    Raises:
        DataError: if neither cache nor remote has the version, or it differs from the run's pointer.
    """
    home, place = context.home, own_place(context.home, context.recipe)
    with home.workspace("data") as workspace:
        versioning.fetch(fetch(_run_id(run_id)), home.project, workspace, home.dvc)
        versioning.publish(workspace, place, context.recipe.name, home.dvc)
    return place


def compare(context: Context, old: str, new: str, fetch: Fetch) -> dict[str, Any]:
    """What differs between two versions, each named by its md5, an MLflow run or a git revision.

    A version of this recipe's data that neither cache nor remote has is rebuilt.
    """
    import polars as pl

    from ratchet.components.data.difference import difference, read_tables
    from ratchet.components.data.lengths import token_counter

    count = token_counter(context.recipe.data.length.tokenizer)
    versions, tables = [], []
    place = own_place(context.home, context.recipe)
    for name in (old, new):
        pointer = pointer_of(context.home, place, name, fetch)
        with context.home.workspace("data") as workspace:
            data = _found_or_made(context, place, pointer, workspace)
            versions.append({"name": name, "version": versioning.directory_md5(data)})
            tables.append(read_tables(data))
    found = difference(tables[0], tables[1], lambda texts: count(pl.Series(texts, dtype=pl.String)))
    return {"old": versions[0], "new": versions[1], **found}


def _found_or_made(context: Context, place: Place, pointer: str, workspace: Path) -> Path:
    try:
        return materialise(context.home, place, pointer, workspace)
    except DataError:
        out = read_pointer_text(pointer)
        if (out.get("meta") or {}).get("recipe_data") != data_configuration(context.recipe.data):
            raise
        result = build_data(context)
        if result.version != out["outs"][0]["md5"]:
            raise
        return result.path / "data"


def pointer_of(home: Home, place: Place, name: str, fetch: Fetch) -> str:
    """The pointer's text of a version named by its md5 (with or without ``.dir``), an MLflow run or a git revision.

    Raises:
        DataError: if the name is none of these.
    """
    md5 = name if VERSION.fullmatch(name) else f"{name}.dir"
    if VERSION.fullmatch(md5):
        for text in (place.text() if place.pointer.is_file() else None, _committed_pointer(place, "HEAD")[0]):
            if text and read_pointer_text(text)["outs"][0]["md5"] == md5:
                return text
        if name == md5 or versioning.in_cache(md5, home.dvc):
            return versioning.plain_pointer(md5)
        return fetch(name)
    committed, reason = _committed_pointer(place, name)
    if committed is None:
        pointer = place.pointer.name
        raise DataError(
            f"{name!r} is neither a dataset's md5, nor an MLflow run, nor a git revision that has {pointer} ({reason}). "
            f"Use an md5 from {pointer} or a run from `ratchet status`."
        )
    return committed


def _committed_pointer(place: Place, revision: str) -> tuple[str | None, str]:
    """The pointer's text at a git revision, or None and the reason."""
    name = place.pointer.name
    command = ["git", "show", "--end-of-options", f"{revision}:./{name}"]
    try:
        done = subprocess.run(command, cwd=place.root, capture_output=True, text=True, check=False)
    except OSError as error:
        return None, f"git: {error.strerror}"
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ["no message"])[0]
    return relocated(read_pointer_text(done.stdout, name)), ""


def _run_id(name: str) -> str:
    if not RUN.fullmatch(name):
        raise DataError(f"{name!r} is not the id of an MLflow run. Use the 32 hex digits from `ratchet status`.")
    return name
