"""``ratchet grader``: what a stranger sees of a function of theirs, without a recipe."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.components.errors import RatchetError
from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import load_recipe
from ratchet.flows.cli import app

GRADERS = """
import helper

def grade(sample, item):
    return float(sample["output_text"] == helper.right(item))

def both(completion, completions): ...
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "graders.py").write_text(GRADERS, encoding="utf-8")
    (tmp_path / "helper.py").write_text("def right(item):\n    return item['town']\n", encoding="utf-8")
    (tmp_path / "rows.jsonl").write_text('{"prompt": "p", "completion": "Oslo", "town": "Oslo", "id": 7}\n', encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def grader(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["grader", *arguments], catch_exceptions=False)


def test_show_prints_protocol_arguments_grade_limits_and_digest(project: Path) -> None:
    facts = json.loads(grader("show", "graders.py:grade", "--row", "rows.jsonl", "--json").stdout)
    assert (facts["protocol"], facts["signature"], facts["called"]) == ("openai", "grade(sample, item)", "once per completion")
    assert facts["arguments"]["positional"][1] == {"id": 7, "prompt": "p", "town": "Oslo"}
    assert (facts["grade"]["score"], facts["limits"]["seconds"]) == (1.0, 60.0)
    assert sorted(facts["sources"]) == ["graders.py", "helper.py"]
    assert len(facts["digest"]) == 64


def test_export_writes_the_same_bytes_with_the_digest_that_show_prints(project: Path) -> None:
    manifest = json.loads(grader("export", "graders.py:grade", "--to", "out", "--json").stdout)
    assert sorted(path.name for path in (project / "out").iterdir()) == ["grader.json", "graders.py", "helper.py"]
    assert (project / "out" / "helper.py").read_bytes() == (project / "helper.py").read_bytes()
    assert json.loads((project / "out" / "grader.json").read_text()) == manifest
    shown = json.loads(grader("show", "graders.py:grade", "--json").stdout)
    assert (shown["digest"], shown["sources"]) == (manifest["digest"], manifest["sources"])
    with pytest.raises(RatchetError, match="out exists"):
        grader("export", "graders.py:grade", "--to", "out")


RECIPE = """
name: r
gate: {rules: {}}
graders:
  right: {type: exact}
  mine: {file: "graders.py:grade", passes_at: 0.5}
gold: {grader: right}
"""


def test_a_recipes_graders_are_shown_and_exported_by_their_names(project: Path) -> None:
    (project / "ratchet.yaml").write_text(RECIPE, encoding="utf-8")
    facts = json.loads(grader("show", "right", "--recipe", "ratchet.yaml", "--json").stdout)
    assert (facts["type"], facts["measure"], facts["settings"]["ignore_case"]) == ("exact", "binary", True)
    manifest = json.loads(grader("export", "mine", "--recipe", "ratchet.yaml", "--to", "out", "--json").stdout)
    assert (manifest["settings"]["passes_at"], manifest["protocol"]) == (0.5, "openai")
    assert manifest["digest"] == build_grader(load_recipe(Path("ratchet.yaml")).graders["mine"]).digest
    assert (project / "out" / "helper.py").is_file()
    with pytest.raises(RatchetError, match=r"has no grader 'left'\. Its graders are: right, mine"):
        grader("show", "left", "--recipe", "ratchet.yaml")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["graders.py:both"], r"is ambiguous: it fits trl and names\. Add the key protocol: trl"),
        (["graders.py:none"], "has no 'none'"),
        (["none.py:grade"], r"^the function 'none\.py:grade': there is no 'none\.py'"),
        (["graders.py"], "names no function"),
        (["graders.py:grade", "--protocol", "magic"], "--protocol 'magic'"),
        (["graders.py:grade", "--protocol", "trl"], "is not called as protocol: trl"),
        (["graders.py:grade", "--row", "none.jsonl"], r"cannot read none\.jsonl"),
    ],
)
def test_grader_faults_are_said_with_their_remedy(project: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(RatchetError, match=message):
        grader("show", *arguments)
