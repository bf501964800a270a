"""``ratchet lock`` writes the lock of a project, and leaves a clone's alone."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.code import source_code
from ratchet.components.code.constraints import installed_constraints
from ratchet.components.errors import RecipeError
from ratchet.flows.cli import app


def test_the_installed_versions_replace_those_of_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ratchet.yaml").touch()
    (tmp_path / "constraints.txt").write_text("numpy==0.1\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, ["lock", "--json"], catch_exceptions=False)
    found = json.loads(done.stdout)
    text = (tmp_path / "constraints.txt").read_text(encoding="utf-8")
    assert text == installed_constraints()
    assert (found["file"], found["pinned"]) == (str(tmp_path / "constraints.txt"), text.count("=="))


def test_a_clone_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "ROOT", tmp_path / "components")
    (tmp_path / "ratchet.yaml").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="make constraints"):
        CliRunner().invoke(app, ["lock"], catch_exceptions=False)
    assert not (tmp_path / "constraints.txt").exists()
