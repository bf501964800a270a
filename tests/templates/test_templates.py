"""What a template is: a recipe that loads, files that repeat byte for byte, a test of its grader that passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ratchet.components.data.examples import generate
from ratchet.components.recipe import load_recipe
from ratchet.components.scaffold.templates import KINDS, template
from ratchet.components.storage.files import read_json_lines
from tests.places import RECIPES
from tests.templates.projects import write


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_loads_under_the_projects_name(kind: str, tmp_path: Path) -> None:
    assert load_recipe(write(kind, tmp_path) / "ratchet.yaml").name == kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_is_short(kind: str) -> None:
    assert len(template(kind).recipe.splitlines()) <= 60


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_has_the_same_bytes_again(kind: str) -> None:
    assert template(kind) == template(kind)


def test_maths_is_the_quickstart_under_another_name(tmp_path: Path) -> None:
    maths, quickstart = load_recipe(write("maths", tmp_path) / "ratchet.yaml"), load_recipe(RECIPES / "quickstart.yaml")
    assert maths.model_dump() == {**quickstart.model_dump(), "name": "maths"}


@pytest.mark.parametrize(("kind", "rows", "task"), [("classify", "tickets", "tickets"), ("extract", "invoices", "bills")])
def test_a_third_of_the_demonstrations_is_wrong(kind: str, rows: str, task: str, tmp_path: Path) -> None:
    written = read_json_lines(write(kind, tmp_path) / f"{rows}.jsonl")
    assert [row["answer"] for row in written] == [row["answer"] for row in generate(task, demo_noise=0.0, seed=1)]
    assert 0.3 < sum(row["answer"] != row["demonstration"] for row in written) / len(written) < 0.38


@pytest.mark.parametrize("kind", KINDS)
def test_the_graders_test_passes_from_any_directory(kind: str, tmp_path: Path) -> None:
    write(kind, tmp_path / "project")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "project"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=240)
    assert (done.returncode, done.stdout.splitlines()[-1].split(" in ")[0]) == (0, "4 passed"), done.stdout
