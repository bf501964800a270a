"""Stage *data*: raw rows become a dataset version in a workspace of the run's own."""

import shutil
from pathlib import Path
from typing import Any

from components.data import versioning
from components.errors import DataError
from components.files import file_digest, read_json, read_json_lines, scratch_directory
from components.pipeline.context import Context, StageResult, finish
from components.recipe import Data, JsonLines, digest_of
from components.store import code_digest, stage_key


def data_configuration(data: Data) -> str:
    """Digest of the recipe's data section, which the tracked pointer carries."""
    return digest_of(data.model_dump(mode="json"))


def prepare_data(context: Context, pinned: bool = True) -> StageResult:
    """The dataset version of a recipe: ``data/`` and its pointer ``data.dvc``.

    Args:
        pinned: whether the version must be the one that the project's ``data.dvc`` names for this configuration.

    Raises:
        DataError: if the source is bad, or the version is not the one that the project's ``data.dvc`` pins.
    """
    data = context.recipe.data
    key = stage_key("data", data.model_dump(mode="json"), _source_digests(data), code_digest("data", "randomness"))
    result = finish(context, "data", key, lambda path: _build(context, path))
    expected = versioning.pinned_version(context.home.project, data_configuration(data)) if pinned else None
    version = dataset_version(result)
    if expected is not None and expected != version:
        raise DataError(
            f"this recipe's data came out as {version}, but data.dvc pins {expected}: the source, the code or a library "
            "changed. Run `ratchet data prepare` and commit data.dvc to adopt the new version."
        )
    return result


def dataset_version(result: StageResult) -> str:
    """The DVC md5 of a finished data stage."""
    return versioning.pointer_md5(result.path / versioning.POINTER)


def table(result: StageResult, name: str) -> list[dict[str, Any]]:
    """Rows of one table of the version."""
    return read_json_lines(result.path / "data" / f"{name}.jsonl")


def fold_digest(result: StageResult, fold: str) -> str:
    """sha256 of a sealed fold's table."""
    return str(result.finished.facts["files"][f"data/{fold}.jsonl"])


def summary(result: StageResult) -> dict[str, Any]:
    """Counts through each step of preparation."""
    return dict(read_json(result.path / "data" / "summary.json"))


def _source_digests(data: Data) -> dict[str, str]:
    if not isinstance(data.source, JsonLines):
        return {}
    paths = [Path(p) for p in (data.source.path, data.source.pairs) if p is not None]
    missing = [str(p) for p in paths if not p.is_file()]
    if missing:
        raise DataError(f"there is no file {missing[0]}. Check data.source in the recipe.")
    return {str(p): file_digest(p) for p in paths}


def _build(context: Context, path: Path) -> None:
    from components.data.prepare import prepare

    state = context.home.dvc
    workspace = scratch_directory(context.home.workspaces, "data")
    (workspace / "data").mkdir(mode=0o700)
    try:
        context.observer.progress("data", 0, 2, "reading and checking")
        prepare(context.recipe.data, workspace / "data")
        context.observer.progress("data", 1, 2, "adding the version to DVC")
        versioning.init_workspace(workspace, state, context.home.project)
        versioning.add(workspace, state)
        versioning.write_pointer(workspace / versioning.POINTER, data_configuration(context.recipe.data))
        shutil.copytree(workspace / "data", path / "data")
        shutil.copy(workspace / versioning.POINTER, path / versioning.POINTER)
        context.observer.progress("data", 2, 2, "done")
    finally:
        shutil.rmtree(workspace, ignore_errors=True)
