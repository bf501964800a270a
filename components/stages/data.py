"""Stage *data*: raw rows become a dataset version in the run's own workspace."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.components.data import versioning
from ratchet.components.data.columns import content
from ratchet.components.data.dvc_config import init_workspace
from ratchet.components.data.pointers import (
    POINTER,
    Place,
    added_rows,
    pinned_version,
    place_of,
    pointer_md5,
    restoring,
    write_pointer,
)
from ratchet.components.errors import DataError
from ratchet.components.recipe import Data, Recipe
from ratchet.components.stages.results import STEPS, DataStage
from ratchet.components.stages.stage import Context, finish, key_of
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.files import read_json, write_json, write_text
from ratchet.components.storage.home import Home

ADDED = Path("data") / "added.jsonl"
REPORT = "report.html"


def data_configuration(data: Data) -> str:
    """Digest of the recipe's data section, which the tracked pointer carries."""
    values = data.model_dump(mode="json")
    if values["task"] is not None and values["task"]["answer"] is None:
        del values["task"]["answer"]
    new: dict[str, Any] = {
        "keep": "small",
        "group": None,
        "task": None,
        "distinct": [],
    }  # left out while they have their defaults: older pointers stay valid
    return digest_of({name: value for name, value in values.items() if name not in new or value != new[name]})


def own_place(home: Home, recipe: Recipe) -> Place:
    """Where the project has the recipe's dataset version."""
    return place_of(home.project, recipe.name, data_configuration(recipe.data))


def own_pin(home: Home, recipe: Recipe) -> str | None:
    """The md5 that the recipe's tracked pointer gives; None if it has none for the recipe's data section."""
    return pinned_version(own_place(home, recipe), data_configuration(recipe.data))


def prepare_data(context: Context) -> DataStage:
    """The dataset version of a run: built from the recipe's source, or restored if the project's version also has added rows.

    Raises:
        DataError: if the source is invalid, or the version is not the one that the recipe's tracked pointer pins.
    """
    place, expected = own_place(context.home, context.recipe), own_pin(context.home, context.recipe)
    if (version := _pinned_with_added(place, expected)) is not None:
        return _restored(context, place, version)
    result, pointer = build_data(context), place.pointer.name
    if expected is not None and expected != result.version:
        raise DataError(
            f"this recipe builds data {result.version}, but {pointer} pins {expected}: the source, the code or a library "
            f"changed. Run `ratchet data prepare` and commit {pointer} to adopt the new version."
        )
    return result


def _pinned_with_added(place: Place, pinned: str | None) -> str | None:
    """The pinned version if rows were added to it, which exist nowhere else."""
    return pinned if pinned is not None and added_rows(place.pointer) else None


def made_from(home: Home, recipe: Recipe, digest: Callable[[Path], str]) -> dict[str, str]:
    """What decides a run's dataset version beside the recipe: each file of the source, or the version that is restored.

    Args:
        digest: gives the sha256 of a file.

    Raises:
        DataError: if a file is missing.
    """
    version = _pinned_with_added(own_place(home, recipe), own_pin(home, recipe))
    return {"version": version} if version else {str(file): digest(file) for file in input_files(recipe.data)}


def build_data(context: Context, added: Sequence[Mapping[str, Any]] = ()) -> DataStage:
    """``data/``, its pointer ``data.dvc`` and its report, from the recipe's source and added raw rows."""
    data = context.recipe.data
    contents = sorted(list(content(row)) for row in added)  # whichever file they came from
    inputs = {
        **{str(file): context.seen.digest(file) for file in input_files(data)},
        **({"added": digest_of(contents)} if added else {}),
    }
    key = key_of(DataStage, __name__, data.model_dump(mode="json"), inputs)
    return finish(context, DataStage, key, lambda path: _build(context, path, added))


def input_files(data: Data) -> list[Path]:
    """Every local file that preparation reads.

    Raises:
        DataError: if one is missing.
    """
    from ratchet.components.data.lengths import tokenizer_file
    from ratchet.components.data.sources import source_files
    from ratchet.components.recipe import Weighted, parts

    sources = [*parts(data.source)]
    if data.decontamination_rule is not None:
        sources += [Weighted.model_validate({"source": path}) for path in data.decontamination_rule.benchmarks]
    files = [file for part in sources for file in source_files(part.source)]
    files += [Path(file) for file in (data.task.files if data.task is not None else [])]
    if data.length.tokenizer is not None:
        files.append(tokenizer_file(data.length.tokenizer))
    return files


def _build(context: Context, path: Path, added: Sequence[Mapping[str, Any]]) -> None:
    from ratchet.components.data.prepare import prepare
    from ratchet.components.report.data import render

    data, configuration, state = context.recipe.data, data_configuration(context.recipe.data), context.home.dvc
    with context.home.workspace("data") as workspace:
        (workspace / "data").mkdir(mode=0o700)
        context.observer.progress("data", 0, 2, "reading and checking")
        prepared = prepare(data, workspace / "data", [dict(row) for row in added], configuration)
        context.observer.progress("data", 1, 2, "adding the version to DVC")
        init_workspace(workspace, state, context.home.project)
        version = versioning.add(workspace, state)
        count = prepared.summary.get("added_rows")
        meta = {"recipe_data": configuration, "sha256": versioning.content_sha256(workspace / "data")}
        write_pointer(workspace / POINTER, **meta, **({"added": count} if count else {}))
        shutil.copytree(workspace / "data", path / "data")
        shutil.copy(workspace / POINTER, path / POINTER)
        write_text(path / REPORT, render(context.recipe.name, version, prepared.facts))
        write_json(path / STEPS, prepared.facts["steps"])
        context.observer.progress("data", 2, 2, "done")


def _restored(context: Context, place: Place, version: str) -> DataStage:
    """The pinned version itself: added rows exist nowhere else."""
    inputs = {"version": version}
    configuration = data_configuration(context.recipe.data)
    key = key_of(DataStage, __name__, configuration, inputs)
    result = finish(context, DataStage, key, lambda path: _restore(context, place, path))
    if result.summary.get("recipe_data") != configuration:
        name = place.pointer.name
        raise DataError(f"{name} was edited: its version was made by another recipe. {restoring(name)}")
    return result


def _restore(context: Context, place: Place, path: Path) -> None:
    from ratchet.components.data.journal import profile, table_texts
    from ratchet.components.report.data import recalled, render

    with context.home.workspace("data") as workspace:
        versioning.fetch(place.text(), context.home.project, workspace, context.home.dvc)
        shutil.copytree(workspace / "data", path / "data")
        shutil.copy(workspace / POINTER, path / POINTER)
    counts = read_json(path / "data" / "summary.json")
    tables = {name: table_texts(path / "data" / f"{name}.jsonl") for name in counts["rows"]}
    facts = {**profile(tables, context.recipe.data.length), **recalled(counts)}
    write_text(path / REPORT, render(context.recipe.name, pointer_md5(path / POINTER), facts))
