"""A project's root is the nearest ratchet.yaml upwards, with its state in its own ``.ratchet/``, wherever it lies."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.commands import environment, ratchet
from tests.places import MICRO

ODD = ["a b", "a#b", "a?b=c&d", "100% ü"]


def called(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        ratchet(*arguments), cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=280
    )


def checked(folder: Path) -> dict[str, Any]:
    done = called(folder, "check", "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def project(folder: Path, name: str = "micro") -> Path:
    folder.mkdir(parents=True)
    recipe = MICRO.read_text(encoding="utf-8").replace("name: micro\n", f"name: {name}\n")
    assert f"name: {name}\n" in recipe
    (folder / "ratchet.yaml").write_text(recipe, encoding="utf-8")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", ODD)
def test_a_project_may_have_an_odd_name_and_no_git(tmp_path: Path, name: str) -> None:
    root = project(tmp_path / name)
    assert checked(root / "inner" / "deep")["recipe"] == "ratchet.yaml"
    prepared = called(root / "inner", "data", "prepare", "--json")
    assert prepared.returncode == 0, prepared.stderr
    assert {"ratchet.yaml", ".ratchet", "data", "data.dvc", "inner"} <= written(root)
    assert not (root / ".git").exists()
    assert written(root / "inner") == {"deep"}
    assert written(tmp_path) == {name}
    assert called(root, "data", "verify").returncode == 0


@pytest.mark.slow
def test_the_nearer_of_two_recipes_is_the_projects(tmp_path: Path) -> None:
    outer = project(tmp_path / "outer", "outer")
    inner = project(outer / "inner", "nearer")
    digests = [checked(place)["digest"] for place in (inner / "deep", inner, outer)]
    assert digests[0] == digests[1] != digests[2]
    assert (outer / ".ratchet").is_dir()
    assert (inner / ".ratchet").is_dir()
    assert written(inner / "deep") == set()
    assert written(tmp_path) == {"outer"}


@pytest.mark.parametrize("verb", [["check"], ["run"], ["data", "prepare"]])
def test_a_path_that_mlflow_would_decode_is_refused_before_anything_is_written(tmp_path: Path, verb: list[str]) -> None:
    root = project(tmp_path / "a%25b")
    done = called(root, *verb)
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "a%25b' has a percent sign before two hexadecimal digits" in done.stderr
    assert "Rename that folder, or move the project." in done.stderr
    assert written(root) == {"ratchet.yaml"}
