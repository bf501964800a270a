"""``ratchet doctor``: what a reproduction reads of the commit that it rebuilds."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.code.machine import installed_libraries, machine_class
from ratchet.components.stages.environment import Machine
from ratchet.flows.cli import app


def printed(*arguments: str) -> str:
    return CliRunner().invoke(app, ["doctor", *arguments], catch_exceptions=False).stdout


def test_the_machine_and_the_libraries_are_those_that_a_lineage_records(project: Path) -> None:
    found = json.loads(printed("--json"))
    assert Machine(**found["machine"]) == Machine(**machine_class(0))
    assert found["libraries"] == installed_libraries()
    assert found["lock"] == {"sha256": None, "off_lock": {}}


@pytest.mark.parametrize("option", [[], ["--json"]])
def test_a_library_that_is_not_the_locks_shows(project: Path, option: list[str]) -> None:
    (project / "constraints.txt").write_text("torch==1.0.0\n", encoding="utf-8")
    assert "1.0.0" in printed(*option)
