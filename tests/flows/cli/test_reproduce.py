"""A version is rebuilt from its number, in a clone of this repository and beside it; uncommitted code is refused."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.code.constraints import installed_constraints
from tests import commands
from tests.commands import environment
from tests.places import ROOT
from tests.provenance.repository import git

RECIPE = "tests/recipes/micro.yaml"
SMALL = ("policy.warmup.steps=40", "reward.model.steps=20", "train.steps=4", "train.evaluate_every=4", "threads=1")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def ratchet(project: Path, *arguments: str, recipe: str = RECIPE) -> tuple[int, dict[str, Any], str]:
    command = commands.ratchet(*arguments, "--recipe", recipe, "--json")
    variables = environment(PYTHONPATH=str(project))  # the clone's code is to run
    done = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, json.loads(done.stdout) if done.stdout.strip() else {}, done.stderr


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which this tree's files are committed, with one version."""
    clone = tmp_path_factory.mktemp("clone") / "project"
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() or (ROOT / name).is_symlink():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, clone / name, follow_symlinks=False)
    git(clone, "init", "--quiet")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "one")
    code, result, errors = ratchet(clone, "run", *(f"--set={override}" for override in SMALL))
    assert code in (0, 3), errors[-2000:]  # so little training may well be refused; it is a version all the same
    assert result["version"] == "1"
    return clone


def test_the_weights_come_out_the_same(clone: Path) -> None:
    code, found, errors = ratchet(clone, "reproduce", "1", "--environment", "current")
    assert code == 0, errors[-2000:]
    assert (found["match"], found["same_class"], found["first_difference"]) == ("equal", True, None)
    assert "RL training" in errors
    assert "ratchet run" not in errors  # which would end what training began
    assert [stage["name"] for stage in found["stages"]] == ["data", "gold", "warmup", "reward", "train"]
    assert list((clone / ".ratchet" / "workspaces").iterdir()) == []
    assert len(git(clone, "worktree", "list").splitlines()) == 1


def test_todays_store_and_registry_are_not_touched_by_it(clone: Path) -> None:
    assert len(list((clone / ".ratchet" / "store" / "train").iterdir())) == 1
    code, found, _ = ratchet(clone, "verify", "1")
    assert code == 0
    assert {check["state"] for check in found["checks"]} == {"ok"}


def test_the_weights_of_two_ranks_come_out_the_same(clone: Path) -> None:
    named = ("--set", "name=ranks")  # a model of its own
    two = ("--set", "seed=4", "--set", "launch={kind: torchrun, workers: 2}")
    _, made, errors = ratchet(clone, "run", *(f"--set={override}" for override in SMALL), *named, *two)
    assert made["version"] == "1", errors[-2000:]
    _, lineage, _ = ratchet(clone, "lineage", "1", *named)
    assert lineage["chain"][0]["lineage"]["launch"] == {"kind": "torchrun", "ranks": 2, "sharded": False}
    code, found, errors = ratchet(clone, "reproduce", "1", "--environment", "current", *named)
    assert code == 0, errors[-2000:]
    assert (found["match"], found["same_class"], found["first_difference"]) == ("equal", True, None)


def test_a_version_from_an_uncommitted_recipe_is_refused_with_the_reason(clone: Path) -> None:
    recipe = clone / "dirty.yaml"
    committed = (clone / RECIPE).read_text(encoding="utf-8")  # whose training would come from the store, with its own commit
    recipe.write_text(committed.replace("name: micro", "name: dirty").replace("seed: 3", "seed: 5"), encoding="utf-8")
    _, made, errors = ratchet(clone, "run", *(f"--set={override}" for override in SMALL), recipe=recipe.name)
    assert made["version"] == "1", errors[-2000:]
    code, _, errors = ratchet(clone, "reproduce", "1", "--environment", "current", recipe=recipe.name)
    assert code == 1
    assert "uncommitted recipe (dirty.yaml)" in errors


def test_the_weights_come_out_the_same_in_a_project_that_has_ratchet_installed(tmp_path: Path) -> None:
    shutil.copy(ROOT / RECIPE, tmp_path / "ratchet.yaml")
    (tmp_path / "constraints.txt").write_text(installed_constraints(), encoding="utf-8")
    (tmp_path / ".gitignore").write_text(".ratchet/\nmlflow/\n/data/\n", encoding="utf-8")
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "--quiet", "-m", "one")
    code, made, errors = ratchet(tmp_path, "run", *(f"--set={override}" for override in SMALL), recipe="ratchet.yaml")
    assert made["version"] == "1", errors[-2000:]
    code, found, errors = ratchet(tmp_path, "reproduce", "1", "--environment", "current", recipe="ratchet.yaml")
    assert code == 0, errors[-2000:]
    assert (found["match"], found["same_class"], found["first_difference"]) == ("equal", True, None)
    code, found, _ = ratchet(tmp_path, "verify", "1", recipe="ratchet.yaml")
    assert {check["item"]: check["state"] for check in found["checks"]}["code"] == "ok"
