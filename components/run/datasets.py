"""The verbs on dataset versions: prepare, add rows, restore a run's, compare two."""

import re
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ratchet.components.data import versioning
from ratchet.components.data.columns import restored
from ratchet.components.data.pointers import POINTER, added_rows, pinned_version, pointer_md5, read_pointer_text
from ratchet.components.errors import DataError
from ratchet.components.files import read_json_lines, tree_digests
from ratchet.components.home import Home
from ratchet.components.stages.data import ADDED, build_data, data_configuration
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context

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
    added = project_added(context.home) if keep_added else []
    result = build_data(context, added)
    versioning.publish(result.path, context.home.project, context.home.dvc)
    return result


def add_file(context: Context, path: str) -> Addition:
    """Add a file's rows to the project's version; if no table changes, nothing is written.

    Raises:
        DataError: if the project's data are not those of the recipe, or the rows fail their checks.
    """
    from ratchet.components.data.columns import content
    from ratchet.components.data.sources import needed_columns, read_file

    home, data = context.home, context.recipe.data
    if not (home.project / POINTER).is_file() or pinned_version(home.project, data_configuration(data)) is None:
        raise DataError(
            "data.dvc does not belong to this recipe's data. Run `ratchet data prepare` with the same recipe first."
        )
    known = project_added(home)
    contents = {content(row) for row in known}
    given = list(read_file(data, path, needed_columns(data)))
    fresh = [row for row in given if content(row) not in contents]
    if not given:
        raise DataError(f"{path} contains no rows. Give a file of new prompts, preferences or demonstrations.")
    result = build_data(context, [*known, *fresh])
    changed = bool(fresh) and not _same_tables(context, result)
    if changed:
        versioning.publish(result.path, home.project, home.dvc)
    return Addition(result, len(given), len(fresh), changed)


def _same_tables(context: Context, result: DataStage) -> bool:
    """Whether a version has the same tables as the project's, ignoring its counts."""

    def tables(root: Path) -> dict[str, str]:
        return {k: v for k, v in tree_digests(root).items() if k not in ("summary.json", ADDED.name)}

    home = context.home
    with home.workspace("data") as workspace:
        return tables(materialise(home, (home.project / POINTER).read_text(encoding="utf-8"), workspace)) == tables(
            result.path / "data"
        )


def project_added(home: Home) -> list[dict[str, Any]]:
    """The rows that were added to the project's version, verified; none without a pointer.

    Raises:
        DataError: if ``data/`` and the pointer disagree.
    """
    if not (home.project / POINTER).is_file() or not added_rows(home.project / POINTER):
        return []
    with home.workspace("data") as workspace:
        data = materialise(home, (home.project / POINTER).read_text(encoding="utf-8"), workspace)
        rows = read_json_lines(data / ADDED.name)
    return [{"file": str(ADDED), "row": number, **restored(row)} for number, row in enumerate(rows, 1)]


def materialise(home: Home, pointer: str, workspace: Path) -> Path:
    """The verified ``data/`` of a pointer: the project's own if it is that version, else fetched below ``workspace``."""
    own = home.project / POINTER
    if own.is_file() and own.read_text(encoding="utf-8") == pointer and (home.project / "data").is_dir():
        versioning.verify(home.project)
        return home.project / "data"
    versioning.fetch(pointer, home.project, workspace, home.dvc)
    return workspace / "data"


def restore_run(home: Home, run_id: str, fetch: Fetch) -> str:
    """Make an old run's exact data the project's; returns the version. Only its MLflow run is needed.

    Raises:
        DataError: if neither cache nor remote has the version, or it differs from the run's pointer.
    """
    with home.workspace("data") as workspace:
        versioning.fetch(fetch(_run_id(run_id)), home.project, workspace, home.dvc)
        versioning.publish(workspace, home.project, home.dvc)
        return pointer_md5(workspace / POINTER)


def compare(context: Context, old: str, new: str, fetch: Fetch) -> dict[str, Any]:
    """What differs between two versions, each named by its md5, an MLflow run or a git revision.

    A version of this recipe's data that neither cache nor remote has is rebuilt.
    """
    from ratchet.components.data.difference import difference, read_tables
    from ratchet.components.data.lengths import tokenizer

    split = tokenizer(context.recipe.data.length.tokenizer)
    versions, tables = [], []
    for name in (old, new):
        pointer = pointer_of(context.home, name, fetch)
        with context.home.workspace("data") as workspace:
            data = _found_or_made(context, pointer, workspace)
            versions.append({"name": name, "version": versioning.directory_md5(data)})
            tables.append(read_tables(data))
    found = difference(tables[0], tables[1], lambda texts: [len(spans) for spans in split(texts)])
    return {"old": versions[0], "new": versions[1], **found}


def _found_or_made(context: Context, pointer: str, workspace: Path) -> Path:
    try:
        return materialise(context.home, pointer, workspace)
    except DataError:
        out = read_pointer_text(pointer)
        if (out.get("meta") or {}).get("recipe_data") != data_configuration(context.recipe.data):
            raise
        result = build_data(context)
        if result.version != out["outs"][0]["md5"]:
            raise
        return result.path / "data"


def pointer_of(home: Home, name: str, fetch: Fetch) -> str:
    """The pointer's text of a version named by its md5 (with or without ``.dir``), an MLflow run or a git revision.

    Raises:
        DataError: if the name is none of these.
    """
    md5 = name if VERSION.fullmatch(name) else f"{name}.dir"
    if VERSION.fullmatch(md5):
        for text in (_own_pointer(home), _committed_pointer(home, "HEAD")[0]):
            if text and read_pointer_text(text)["outs"][0]["md5"] == md5:
                return text
        if name == md5 or versioning.in_cache(md5, home.dvc):
            return versioning.plain_pointer(md5)
        return fetch(name)
    text, reason = _committed_pointer(home, name)
    if text is None:
        raise DataError(
            f"{name!r} is neither a dataset's md5, nor an MLflow run, nor a git revision that has {POINTER} ({reason}). "
            "Use an md5 from data.dvc or a run from `ratchet status`."
        )
    return text


def _own_pointer(home: Home) -> str | None:
    path = home.project / POINTER
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _committed_pointer(home: Home, revision: str) -> tuple[str | None, str]:
    """The pointer's text at a git revision, or None and the reason."""
    command = ["git", "show", "--end-of-options", f"{revision}:./{POINTER}"]
    try:
        done = subprocess.run(command, cwd=home.project, capture_output=True, text=True, check=False)
    except OSError as error:
        return None, f"git: {error.strerror}"
    return (None, (done.stderr.strip().splitlines() or ["no message"])[0]) if done.returncode else (done.stdout, "")


def _run_id(name: str) -> str:
    if not RUN.fullmatch(name):
        raise DataError(f"{name!r} is not the id of an MLflow run. Use the 32 hex digits from `ratchet status`.")
    return name
