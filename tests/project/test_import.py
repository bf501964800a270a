"""``ratchet import openai``: from a job's JSON to a project whose gold judges as the job's grader did."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import load_recipe
from ratchet.components.scaffold.judged import judged_rows
from ratchet.flows.cli import app, options
from tests.scaffold.rows import write_jsonl

GRADER = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_text}}",
    "reference": "{{item.queue}}",
    "operation": "ilike",
}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a job's rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(options, "invocation", options.Invocation())
    rows = [{"messages": [{"role": "user", "content": f"Ticket {n}"}], "queue": ("late", "lost")[n % 2]} for n in range(60)]
    (tmp_path / "mine" / "rows").mkdir(parents=True)
    write_jsonl(tmp_path / "mine" / "rows" / "all.jsonl", rows)
    return tmp_path


def call(place: Path, grader: Any) -> Any:
    job = {"model": "o4-mini", "method": {"type": "reinforcement", "reinforcement": {"grader": grader}}}
    (place / "job.json").write_text(json.dumps(job))
    arguments = ["import", "openai", "job.json", "mine", "--data", "mine/rows/all.jsonl"]
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


def test_the_project_judges_as_the_jobs_grader_does(place: Path) -> None:
    done = call(place, GRADER)
    assert done.exit_code == 0, done.stderr
    assert "says right of 50 of 50 references, 0 of 50 empty answers" in done.stderr
    assert "note: o4-mini cannot be trained outside of OpenAI: choose policy.model" in done.stderr
    assert json.loads((place / "mine" / "openai" / "grader.json").read_text()) == GRADER
    assert load_recipe(place / "mine" / "ratchet.yaml").data.source.path == "rows/all.jsonl"  # type: ignore[union-attr]
    assert all(row.reference is not None and row.reference.right for row in judged_rows(place / "mine", 4))


def test_a_second_import_changes_nothing_and_another_grader_is_refused(place: Path) -> None:
    call(place, GRADER)
    assert "everything is there already" in call(place, GRADER).stderr
    with pytest.raises(RecipeError, match=r"openai/grader\.json"):
        call(place, {**GRADER, "operation": "eq"})


def test_a_grader_that_cannot_run_here_writes_nothing(place: Path) -> None:
    with pytest.raises(RecipeError, match="needs a judge"):
        call(place, {"type": "score_model", "model": "gpt-5"})
    assert not (place / "mine" / "ratchet.yaml").exists()
