"""Versions as a person handles them: added rows stay, unchanged input makes none, an old run's data come back."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.difference import read_tables
from ratchet.components.data.pointers import POINTER, added_rows, pointer_md5
from ratchet.components.errors import DataError, RegistryError
from ratchet.components.recipe import build_recipe
from ratchet.components.registry.runs import Tracker
from ratchet.components.run import datasets as versions
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.stage import Context
from ratchet.components.storage.home import Home

pytestmark = pytest.mark.slow


def no_run(run_id: str) -> str:
    raise AssertionError(run_id)


def write(path: Path, *rows: dict[str, Any]) -> str:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return str(path)


def problem(n: int) -> dict[str, Any]:
    return {"question": f"How much is {n} and 3?", "answer": f"#### {n + 3}"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Context:
    """A project whose data were prepared from 200 problems; tests work on copies of it."""
    project = tmp_path_factory.mktemp("prepared")
    source = write(project / "source.jsonl", *map(problem, range(200)))
    recipe = build_recipe({"name": "mine", "gate": {"rules": {}}, "data": {"source": source}}, "recipe")
    found = Context(recipe, Home(project, project / ".ratchet"))
    versions.prepare_version(found)
    return found


@pytest.fixture
def context(prepared: Context, tmp_path: Path) -> Context:
    """A copy of the prepared project, which reads the same source."""
    shutil.copytree(prepared.home.project, tmp_path / "project")
    return Context(prepared.recipe, Home(tmp_path / "project", tmp_path / "project" / ".ratchet"))


def version(context: Context) -> str:
    return pointer_md5(context.home.project / POINTER)


def prompts(context: Context) -> set[str]:
    tables = read_tables(context.home.project / "data").values()
    return {row["prompt"] for rows in tables for row in rows}


def test_added_rows_make_a_version_that_runs_and_preparation_keep(context: Context) -> None:
    before, project = version(context), context.home.project
    new = write(project / "new.jsonl", problem(500), {"prompt": "1 and 3?", "chosen": "#### 4", "rejected": "#### 5"})
    done = versions.add_file(context, new)
    assert (done.changed, done.given, done.fresh) == (True, 2, 2)
    assert version(context) != before
    assert added_rows(project / POINTER) == 2
    assert {"How much is 500 and 3?", "How much is 7 and 3?"} <= prompts(context)
    assert prepare_data(context).version == version(context)  # a run restores it
    added = version(context)
    versions.prepare_version(context)
    assert version(context) == added
    assert versions.add_file(context, new).changed is False
    versions.prepare_version(context, keep_added=False)
    assert version(context) == before


def test_rows_are_added_after_runs_that_left_no_pointer(context: Context) -> None:
    before, project = version(context), context.home.project
    (project / POINTER).unlink()
    shutil.rmtree(project / "data")
    empty = write(project / "empty.jsonl")
    with pytest.raises(DataError, match=r"there is no file missing\.jsonl\. Give the path of the file whose rows"):
        versions.add_file(context, "missing.jsonl")
    with pytest.raises(DataError, match="no rows"):
        versions.add_file(context, empty)
    assert not (project / POINTER).exists()
    done = versions.add_file(context, write(project / "new.jsonl", problem(500)))
    assert (done.changed, done.fresh) == (True, 1)
    assert version(context) != before
    assert {"How much is 500 and 3?", "How much is 7 and 3?"} <= prompts(context)


def test_rows_that_are_there_already_make_no_version(context: Context) -> None:
    before = (context.home.project / POINTER).read_bytes()
    done = versions.add_file(context, write(context.home.project / "new.jsonl", problem(7)))
    assert not done.changed
    assert (context.home.project / POINTER).read_bytes() == before


def test_a_version_of_another_recipe_is_not_added_to(context: Context) -> None:
    other = build_recipe({"name": "mine", "gate": {"rules": {}}}, "recipe")
    with pytest.raises(DataError, match="data prepare"):
        versions.add_file(Context(other, context.home), write(context.home.project / "new.jsonl", problem(500)))


def test_a_runs_data_come_back_from_its_mlflow_run_alone(context: Context) -> None:
    home, before = context.home, (context.home.project / POINTER).read_bytes()
    tracker = Tracker(home.tracking_uri, "mine", home.artifacts)
    run = tracker.open_run("mine", {}, None)
    tracker.artifact(run, home.project / POINTER, "data")
    versions.add_file(context, write(home.project / "new.jsonl", problem(500)))
    shutil.rmtree(home.project / "data")
    versions.restore_run(context, run, lambda run_id: tracker.artifact_text(run_id, "data/data.dvc"))
    assert (home.project / POINTER).read_bytes() == before
    assert prompts(context) == {problem(n)["question"] for n in range(200)}
    with pytest.raises(RegistryError, match=r"has no data/data\.dvc"):
        tracker.artifact_text("0" * 32, "data/data.dvc")


@pytest.mark.parametrize("run", ["latest", "../../etc", "0" * 31])
def test_what_is_no_run_is_refused(context: Context, run: str) -> None:
    with pytest.raises(DataError, match="ratchet status"):
        versions.restore_run(context, run, no_run)


def test_versions_are_compared_by_md5_and_by_run(context: Context) -> None:
    old, pointer = version(context), (context.home.project / POINTER).read_text(encoding="utf-8")
    versions.add_file(context, write(context.home.project / "new.jsonl", problem(500)))
    found = versions.compare(context, old, version(context), no_run)
    assert [(row["what"], row["prompt"]) for row in found["rows"]] in (
        [("came", "How much is 500 and 3?")],
        [("came", "(sealed)")],
    )
    runs: dict[str, str] = {"f" * 32: pointer}
    fetch: Callable[[str], str] = runs.__getitem__
    assert versions.compare(context, "f" * 32, old.removesuffix(".dir"), fetch)["rows"] == []


@pytest.mark.parametrize("name", ["no-such-revision", "--output=x", "0" * 32 + ".dir"])
def test_a_name_of_nothing_is_refused(context: Context, name: str) -> None:
    with pytest.raises(DataError):
        versions.compare(context, name, version(context), no_run)


def test_data_that_were_edited_are_not_added_to(context: Context) -> None:
    project = context.home.project
    versions.add_file(context, write(project / "new.jsonl", problem(500)))
    with (project / "data" / "train.jsonl").open("a", encoding="utf-8") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match="were edited"):
        versions.add_file(context, write(project / "more.jsonl", problem(501)))
