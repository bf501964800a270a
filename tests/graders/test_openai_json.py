"""OpenAI's grader JSON, unchanged: what each type scores, and what is refused, with its place."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import GraderSettings

ADAPTER: TypeAdapter[Any] = TypeAdapter(GraderSettings)
ROW = {"id": "r1", "prompt": "p", "answer": "Oslo", "item": {"town": "Oslo", "n": 3}}
SOURCE = "def grade(sample, item):\n    return len(sample['output_text']) / 10\n"


def check(operation: str, reference: str = "{{item.town}}", text: str = "{{sample.output_text}}") -> dict[str, Any]:
    return {"type": "string_check", "name": "c", "input": text, "reference": reference, "operation": operation}


def similar(metric: str) -> dict[str, Any]:
    texts = {"input": "{{sample.output_text}}", "reference": "{{ item.town }}"}
    return {"type": "text_similarity", "name": "s", **texts, "evaluation_metric": metric, "pass_threshold": 0.8}


def graded(grader: Any, *completions: str, **options: Any) -> list[Any]:
    built = build_grader(ADAPTER.validate_python({"openai": grader, **options}))
    return [grade.fault or grade.score for grade in built(["p"] * len(completions), completions, [ROW] * len(completions))]


@pytest.mark.parametrize(
    ("operation", "scores"),  # of: the reference; in another case; with more around it; something else
    [("eq", [1, 0, 0, 0]), ("ne", [0, 1, 1, 1]), ("like", [1, 0, 1, 0]), ("ilike", [1, 1, 1, 0])],
)
def test_string_check_compares_or_contains(operation: str, scores: list[float]) -> None:
    assert graded(check(operation), "Oslo", "OSLO", "in Oslo.", "Bergen") == scores


def test_templates_read_json_of_the_completion_and_columns_of_the_row() -> None:
    grader = check("eq", "{{item.n}} in {{item.town}}", "{{sample.output_json.lines[0].n}} in {{sample.output_json.town}}")
    assert graded(grader, '{"lines": [{"n": 3}], "town": "Oslo"}', '{"lines": [], "town": "Oslo"}', "3 in Oslo") == [1, 0, 0]


def test_openai_faults_a_column_that_the_row_lacks_is_a_fault_and_never_a_zero() -> None:
    assert graded(check("ne", "{{item.nowhere}}"), "x") == ["missing_item"]


def test_text_similarity_has_its_metric_and_threshold() -> None:
    built = build_grader(ADAPTER.validate_python({"openai": similar("fuzzy_match")}))
    grades = built(["p"] * 2, ["Oslo", "Osla"], [ROW] * 2)
    assert [(grade.score, grade.passed) for grade in grades] == [(1.0, True), (0.75, False)]  # one in, one out, of 8


def test_multi_calculates_over_python_and_checks() -> None:
    graders = {"right": check("ilike"), "long": {"type": "python", "name": "p", "source": SOURCE, "image_tag": "2025-05-08"}}
    multi = {"type": "multi", "name": "m", "graders": graders, "calculate_output": "0.8 * right + 0.2 * min(long, 1)"}
    assert graded(multi, "in Oslo", "x") == pytest.approx([0.8 + 0.2 * 0.7, 0.02])


def test_a_formula_without_a_value_is_a_fault() -> None:
    multi = {"type": "multi", "graders": {"right": check("eq")}, "calculate_output": "1 / right"}
    assert graded(multi, "Oslo", "x") == [1.0, "protocol"]


def test_a_range_of_scores_becomes_0_to_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "grader.json").write_text(json.dumps({"type": "python", "source": SOURCE.replace("/ 10", "")}))
    monkeypatch.chdir(tmp_path)
    assert graded("grader.json", "abc", "abcdef", range=[0.0, 5.0]) == [0.6, "protocol"]


@pytest.mark.parametrize("kind", ["score_model", "label_model"])
def test_openai_faults_a_judge_comes_later(kind: str) -> None:
    for grader in ({"type": kind}, {"type": "multi", "graders": {"a": {"type": kind}}, "calculate_output": "a"}):
        with pytest.raises(ValidationError, match=f"{kind} comes later"):
            ADAPTER.validate_python({"openai": grader})


@pytest.mark.parametrize(
    ("grader", "message"),
    [
        (similar("cosine"), "needs an embedding model"),
        ({**check("eq"), "input": "{{sample.output_text | upper}}"}, "is not a path"),
        ({**check("eq"), "input": "{{sample.final_answer}}"}, "a sample has output_text"),
        (check("contains"), "'eq', 'ne', 'like' or 'ilike'"),
        ({"type": "multi", "graders": {"a": check("eq")}, "calculate_output": "a + b"}, "calculate_output names b"),
        ({"type": "multi", "graders": {"a": check("eq")}, "calculate_output": "a +"}, "is not a formula"),
        ({"type": "python", "source": "x" * 300_000}, "256000"),
        ({"type": "string"}, "does not match any of the expected tags"),
    ],
)
def test_openai_faults_what_cannot_be_run_is_refused_in_the_recipe_and_in_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grader: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python({"openai": grader})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grader.json").write_text(json.dumps(grader))
    with pytest.raises(RecipeError, match=rf"grader\.json is not a grader(.|\n)*{message}"):
        graded("grader.json", "x")


@pytest.mark.parametrize("text", [None, "{", "\xff", "[" * 100_000])
def test_openai_faults_a_file_that_is_no_json_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "grader.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RecipeError, match=r"grader\.json cannot be read as JSON"):
        graded("grader.json", "x")


def test_openais_own_types_hold_the_same_keys() -> None:
    graders = pytest.importorskip("openai.types.graders", reason="the openai package is not installed")
    for ours, theirs in ((check("eq"), graders.StringCheckGrader), (similar("rouge_l"), graders.TextSimilarityGrader)):
        assert set(theirs.model_fields) - set(ours) == set()
