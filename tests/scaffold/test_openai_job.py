"""A job of OpenAI's becomes a project that its own grader judges."""

import json
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import build_recipe
from ratchet.components.scaffold.guess import guess_columns
from ratchet.components.scaffold.openai_job import GRADER, RESPONSE, imported, read_job
from ratchet.components.scaffold.own import Own, values_of
from ratchet.components.scaffold.project import own_project
from ratchet.components.scaffold.table import read_table
from tests.scaffold.rows import write_jsonl

SCHEMA = {"type": "object", "properties": {"queue": {"type": "string"}}, "required": ["queue"]}
IN_JSON = {
    "type": "string_check",
    "name": "same",
    "input": "{{sample.output_json.queue}}",
    "reference": "{{item.queue}}",
    "operation": "eq",
}
IN_TEXT = {**IN_JSON, "input": "{{sample.output_text}}"}


def written(path: Path, value: Any) -> Path:
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def job(grader: Any, **settings: Any) -> dict[str, Any]:
    return {"model": "o4-mini", "method": {"type": "reinforcement", "reinforcement": {"grader": grader, **settings}}}


def project(tmp_path: Path, given: Any, **more: Any) -> Own:
    rows = [{"messages": [{"role": "user", "content": f"Ticket {n}"}], "queue": ("late", "lost")[n % 2]} for n in range(60)]
    table = read_table(write_jsonl(tmp_path / "rows.jsonl", rows))
    own = Own("mine", table, "rows.jsonl", guess_columns(table, function=True, right=more.get("right")), "own")
    return imported(own, read_job(written(tmp_path / "job.json", given)), named="right" in more)


def test_the_grader_and_the_schema_stay_as_they_are(tmp_path: Path) -> None:
    response = {"type": "json_schema", "json_schema": {"name": "q", "strict": True, "schema": SCHEMA}}
    found = read_job(written(tmp_path / "job.json", job(IN_JSON, response_format=response)))
    assert {path: json.loads(text) for path, text in found.files.items()} == {GRADER: IN_JSON, RESPONSE: SCHEMA}


def test_a_text_that_is_no_unicode_is_written_as_it_was(tmp_path: Path) -> None:
    odd = {**IN_TEXT, "name": "\ud800 ü"}
    assert json.loads(read_job(written(tmp_path / "job.json", odd)).files[GRADER]) == odd


def test_the_recipe_is_one_and_names_both_files(tmp_path: Path) -> None:
    response = {"type": "json_schema", "json_schema": {"schema": SCHEMA}}
    values = values_of(project(tmp_path, job(IN_JSON, response_format=response)))
    assert values["graders"] == {"right": {"openai": GRADER}}
    assert values["task"] == {"answer": "{{item.queue}}", "response": {"json_schema": RESPONSE}}
    assert build_recipe(values, "mine").gold_settings.type == "openai"


def test_a_part_of_an_answer_is_a_reference_and_not_to_be_learnt_from(tmp_path: Path) -> None:
    # The grader's right answer is {"queue": "late"}, and a policy that writes "late" alone would be wrong.
    own = project(tmp_path, IN_JSON)
    assert own.columns.right == "queue"
    assert "model" in values_of(own)["policy"]


def test_a_column_whose_values_the_grader_takes_for_right_is_to_be_learnt_from(tmp_path: Path) -> None:
    own = project(tmp_path, IN_TEXT)
    assert "warmup" in values_of(own)["policy"]
    assert b"OpenAI's grader decides" in own_project(own).files["ratchet.yaml"]


def test_a_column_that_makes_no_right_answer_is_for_the_grader_alone(tmp_path: Path) -> None:
    source = "def grade(sample, item):\n    return float('Why' in sample['output_text'])"
    longer = {"type": "python", "name": "p", "source": source}
    assert project(tmp_path, longer).columns.right is None
    assert values_of(project(tmp_path, longer))["data"]["checks"] == {"answers": "optional"}
    assert project(tmp_path, longer, right="queue").columns.right == "queue"  # a person said so


def test_what_is_not_taken_over_is_said(tmp_path: Path) -> None:
    given = {"n_epochs": 2, "batch_size": "auto", "learning_rate_multiplier": 1.5}
    notes = read_job(written(tmp_path / "job.json", job(IN_TEXT, hyperparameters=given))).notes
    assert [note.split()[0] for note in notes] == ["o4-mini", "n_epochs", "learning_rate_multiplier"]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"method": {"type": "supervised", "supervised": {}}}, "is a job of the method supervised"),
        ({"method": {"type": "reinforcement", "reinforcement": {}}}, "no method.reinforcement.grader"),
        ({"status": "succeeded"}, "has no method.reinforcement and is not a grader"),
        (job({"type": "score_model", "model": "gpt-5"}), "score_model comes later: it needs a judge"),
        ({**IN_JSON, "operation": "same"}, "operation"),
        ([IN_JSON], "is not a JSON object"),
    ],
)
def test_what_cannot_run_here_is_refused_with_the_reason(tmp_path: Path, given: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        read_job(written(tmp_path / "job.json", given))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, "\x00"])
def test_what_is_not_json_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "job.json").write_text(text)
    with pytest.raises(RecipeError, match="cannot be read as JSON"):
        read_job(tmp_path / "job.json")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"job\.json cannot be read as JSON: .*No such file"):
        read_job(tmp_path / "job.json")
