"""Stage *data*: raw rows become a dataset version in the run's own workspace."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ratchet.components.data import versioning
from ratchet.components.data.columns import COLUMNS as ADDED_COLUMNS
from ratchet.components.data.dvc_config import init_workspace
from ratchet.components.data.pointers import POINTER, added_rows, pinned_version, pointer_md5, write_pointer
from ratchet.components.digests import digest_of
from ratchet.components.errors import DataError
from ratchet.components.files import read_json, read_json_lines, write_text
from ratchet.components.recipe import Data
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context, finish, key_of

ADDED = Path("data") / "added.jsonl"
REPORT = "report.html"


def data_configuration(data: Data) -> str:
    """Digest of the recipe's data section, which the tracked pointer carries."""
    return digest_of(data.model_dump(mode="json"))


def prepare_data(context: Context) -> DataStage:
    """The dataset version of a run: built from the recipe's source, or restored if the project's version also has added rows.

    Raises:
        DataError: if the source is invalid, or the version is not the one that the project's ``data.dvc`` pins.
    """
    project, configuration = context.home.project, data_configuration(context.recipe.data)
    expected = pinned_version(project, configuration)
    if expected is not None and added_rows(project / POINTER):
        return _restored(context, expected)
    result = build_data(context)
    if expected is not None and expected != result.version:
        raise DataError(
            f"this recipe builds data {result.version}, but data.dvc pins {expected}: the source, the code or a library "
            "changed. Run `ratchet data prepare` and commit data.dvc to adopt the new version."
        )
    return result


def build_data(context: Context, added: Sequence[Mapping[str, Any]] = ()) -> DataStage:
    """``data/``, its pointer ``data.dvc`` and its report, from the recipe's source and added raw rows."""
    data = context.recipe.data
    contents = sorted([row[name] or "" for name in ADDED_COLUMNS] for row in added)  # whichever file they came from
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
        context.observer.progress("data", 2, 2, "done")


def _restored(context: Context, version: str) -> DataStage:
    """The pinned version itself: added rows exist nowhere else."""
    inputs = {"version": version}
    configuration = data_configuration(context.recipe.data)
    key = key_of(DataStage, __name__, configuration, inputs)
    result = finish(context, DataStage, key, lambda path: _restore(context, path))
    if result.summary.get("recipe_data") != configuration:
        raise DataError("data.dvc was edited: its version was made by another recipe. Restore it: git checkout -- data.dvc.")
    return result


def _restore(context: Context, path: Path) -> None:
    from ratchet.components.data.journal import profile
    from ratchet.components.report.data import recalled, render

    text = (context.home.project / POINTER).read_text(encoding="utf-8")
    with context.home.workspace("data") as workspace:
        versioning.fetch(text, context.home.project, workspace, context.home.dvc)
        shutil.copytree(workspace / "data", path / "data")
        shutil.copy(workspace / POINTER, path / POINTER)
    counts = read_json(path / "data" / "summary.json")
    tables = {name: read_json_lines(path / "data" / f"{name}.jsonl") for name in counts["rows"]}
    facts = {**profile(tables, context.recipe.data.length), **recalled(counts)}
    write_text(path / REPORT, render(context.recipe.name, pointer_md5(path / POINTER), facts))
