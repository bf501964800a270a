"""The recipes that docs/examples explain: each is what its page says it is, and `ratchet check` accepts it."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.recipe import Recipe, build_recipe, load_recipe, parse_yaml
from ratchet.flows.cli import app
from tests.places import ROOT
from tests.templates.projects import write

PAGES = ROOT / "docs" / "examples"
BLOCK = re.compile(r"## The recipe\n.*?```yaml\n(.*?)```", re.DOTALL)
TEMPLATES = {"quickstart": "maths", "extraction": "extract"}


def shown(page: str) -> Recipe:
    """The recipe in a page."""
    found = BLOCK.search((PAGES / f"{page}.md").read_text(encoding="utf-8"))
    assert found is not None
    return build_recipe(parse_yaml(found[1], page), page)


def project(page: str, folder: Path) -> Path:
    """The project of a page, as its commands make it."""
    if page in TEMPLATES:
        return write(TEMPLATES[page], folder)
    spec = importlib.util.spec_from_file_location("replies", PAGES / "replies.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(folder / "rows")
    shutil.copy(PAGES / "reply_gold.py", folder)
    shutil.copy(PAGES / "preference.yaml", folder / "ratchet.yaml")
    return folder


@pytest.mark.parametrize("page", ["quickstart", "extraction", "preference"])
def test_a_page_shows_the_recipe_that_its_commands_run(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project(page, tmp_path))
    run, said = (recipe.model_dump(mode="json") for recipe in (load_recipe(tmp_path / "ratchet.yaml"), shown(page)))
    assert {**run, "name": ""} == {**said, "name": ""}  # a template takes the name of its folder


@pytest.mark.slow
@pytest.mark.parametrize("page", ["quickstart", "extraction", "preference"])
def test_check_accepts_it(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project(page, tmp_path))
    done = CliRunner().invoke(app, ["check"])
    assert (done.exit_code, "all fine" in done.output) == (0, True)
