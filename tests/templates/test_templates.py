"""What a template writes: a recipe that loads, files that repeat byte for byte, a grader's test that passes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ratchet.components.recipe import load_recipe
from ratchet.components.scaffold.templates import KINDS, Template, template
from tests.places import RECIPES


def write(made: Template, project: Path) -> Path:
    """The project's files, as `ratchet init` leaves them; its recipe."""
    texts = {"ratchet.yaml": made.recipe.replace("{name}", made.kind).encode()}
    for path, content in {**texts, **made.files}.items():
        (project / path).parent.mkdir(parents=True, exist_ok=True)
        (project / path).write_bytes(content)
    return project / "ratchet.yaml"


@pytest.mark.parametrize("kind", KINDS)
def test_a_recipe_loads_under_the_projects_name(kind: str, tmp_path: Path) -> None:
    assert load_recipe(write(template(kind), tmp_path)).name == kind


@pytest.mark.parametrize("kind", KINDS)
def test_a_template_has_the_same_bytes_again(kind: str) -> None:
    assert template(kind) == template(kind)


def test_maths_is_the_quickstart_under_another_name(tmp_path: Path) -> None:
    maths, quickstart = load_recipe(write(template("maths"), tmp_path)), load_recipe(RECIPES / "quickstart.yaml")
    assert maths.model_dump() == {**quickstart.model_dump(), "name": "maths"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_graders_test_passes_from_any_directory(kind: str, tmp_path: Path) -> None:
    write(template(kind), tmp_path / "project")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "project"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.splitlines()[-1].split(" in ")[0]) == (0, "3 passed"), done.stdout
