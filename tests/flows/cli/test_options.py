"""Which project and which recipe a command is about."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.errors import RecipeError, StoreError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.storage.home import Home
from ratchet.flows.cli import app, options
from tests.places import MICRO, ROOT


@pytest.fixture(autouse=True)
def invocation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(options, "invocation", options.Invocation())


def write_recipe(path: Path, name: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(MICRO.read_text(encoding="utf-8").replace("name: micro", f"name: {name}"), encoding="utf-8")


def shown(*arguments: str) -> str:
    """The name in the recipe that the command line shows from the working directory."""
    options.enter_project()
    done = CliRunner().invoke(app, ["recipe", "show", "--json", *arguments], catch_exceptions=False)
    return str(json.loads(done.stdout)["name"])


def test_the_default_recipe_is_the_nearest_projects_own_else_the_quickstart(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(project / "recipes" / "quickstart.yaml", "embedded")
    assert shown() == "embedded"
    write_recipe(project / "ratchet.yaml", "own")
    (project / "inner" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "inner" / "deep")
    assert shown() == "own"


def test_a_path_on_the_command_line_is_relative_to_where_it_was_typed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_recipe(project / "ratchet.yaml", "own")
    write_recipe(project / "inner" / "other.yaml", "other")
    monkeypatch.chdir(project / "inner")
    assert shown("--recipe", "other.yaml") == "other"
    assert Path.cwd() == project
    assert options.as_given(Path("rows.jsonl")) == project / "inner" / "rows.jsonl"
    assert options.as_given(Path("/rows.jsonl")) == Path("/rows.jsonl")


def test_faults_a_deleted_working_directory_is_an_error_with_its_remedy(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "gone").mkdir()
    monkeypatch.chdir(project / "gone")
    (project / "gone").rmdir()
    with pytest.raises(StoreError, match=r"was deleted\. Change to another one"):
        options.enter_project()


@pytest.fixture
def with_runs(project: Path) -> Ledger:
    """A project with the quickstart's recipe, and a run of another one."""
    write_recipe(project / "recipes" / "quickstart.yaml", "quickstart")
    ledger = Ledger(Home.here().ledger)
    ledger.begin_run("i1", "micro", "r1")
    return ledger


@pytest.mark.parametrize(
    "verb",
    [["history"], ["rollback"], ["lineage", "1"], ["verify", "1"], ["reproduce", "1"], ["gate", "power"], ["gc"]],
)
def test_faults_a_verb_about_versions_does_not_take_the_quickstart_for_another(with_runs: Ledger, verb: list[str]) -> None:
    options.enter_project()
    with pytest.raises(RecipeError, match=r"runs of micro, and no recipe was named.*--recipe FILE"):
        CliRunner().invoke(app, verb, catch_exceptions=False)
    with_runs.begin_run("i2", "quickstart", "r2")
    with pytest.raises(RecipeError, match="runs of micro, quickstart, and no recipe"):
        CliRunner().invoke(app, verb, catch_exceptions=False)


def test_a_named_model_is_answered_about(with_runs: Ledger) -> None:
    options.enter_project()
    for named in (["--set", "name=micro"], ["--recipe", str(ROOT / "tests" / "recipes" / "micro.yaml")]):
        done = CliRunner().invoke(app, ["history", *named], catch_exceptions=False)
        assert "micro has no champion yet" in done.output


def test_the_only_model_of_a_project_need_not_be_named(project: Path) -> None:
    write_recipe(project / "recipes" / "quickstart.yaml", "quickstart")
    Ledger(Home.here().ledger).begin_run("i1", "quickstart", "r1")
    options.enter_project()
    assert "quickstart has no champion yet" in CliRunner().invoke(app, ["history"], catch_exceptions=False).output
    write_recipe(project / "ratchet.yaml", "own")  # the project's own recipe says which is meant
    assert "own has no champion yet" in CliRunner().invoke(app, ["history"], catch_exceptions=False).output


@pytest.mark.parametrize("verb", [["history"], ["gate", "replay"], ["gate", "power", "--items", "100"]])
def test_a_verb_that_only_looks_creates_no_ledger(project: Path, verb: list[str]) -> None:
    write_recipe(project / "ratchet.yaml", "own")
    options.enter_project()
    assert CliRunner().invoke(app, verb, catch_exceptions=False).exit_code == 0
    assert list(project.rglob("*.db")) == []
