"""``task.response.json_schema``: completions are parsed once and checked, and graders read what satisfies the schema."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from ratchet.components.errors import RecipeError
from ratchet.components.graders import response
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.faults import FaultError
from ratchet.components.graders.http_service import Service
from ratchet.components.graders.response import sample_of, schema_text
from ratchet.components.recipe import GraderSettings

ADAPTER: TypeAdapter[Any] = TypeAdapter(GraderSettings)
SCHEMA = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
GOOD, OTHER, TEXT = '{"n": 3}', '{"n": "three"}', "three"
GRADE = "def grade(sample, item):\n    return sample['output_json']['n'] / 4 if 'output_json' in sample else 0.0\n"
SLOW = {"type": "string", "pattern": "^(a|aa)+$"}  # exponential on a long text of a's that ends otherwise


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def scores(grader: dict[str, Any]) -> list[float | None]:
    built = build_grader(ADAPTER.validate_python({"response": SCHEMA, **grader}))
    return [one.score for one in built(["p"] * 3, [GOOD, OTHER, TEXT], [{"id": "r", "item": {"n": 3}}] * 3)]


def test_a_sample_has_json_that_satisfies_the_schema() -> None:
    text = schema_text(SCHEMA)
    assert [sample_of(completion, text).get("output_json") for completion in (GOOD, OTHER, TEXT)] == [{"n": 3}, None, None]
    assert sample_of(OTHER)["output_json"] == {"n": "three"}  # without a schema, whatever is JSON


def test_faults_of_a_function_that_changes_its_sample_stay_with_it() -> None:
    sample_of('{"total": 5}')["output_json"].pop("total")
    assert sample_of('{"total": 5}')["output_json"] == {"total": 5}


def test_faults_of_a_number_beyond_a_float_are_the_completions() -> None:
    schema = json.dumps({"properties": {"a": {"multipleOf": 0.01}}})
    assert "output_json" not in sample_of(f'{{"a": 1{"0" * 400}}}', schema)
    assert "output_json" in sample_of('{"a": 1}', schema)


def test_templates_functions_and_services_read_the_same_sample(project: Path) -> None:
    check = {"type": "string_check", "input": "{{sample.output_json.n}}", "reference": "{{item.n}}", "operation": "ne"}
    assert scores({"openai": {**check, "operation": "eq"}}) == [1, 0, 0]
    assert scores({"openai": check}) == [0, 0, 0]  # the text "three" is unequal to 3, and is not read
    (project / "graders.py").write_text(GRADE, encoding="utf-8")
    assert scores({"file": "graders.py:grade"}) == [0.75, 0, 0]
    sent = [Service("http://x", schema=schema_text(SCHEMA))._body(one, {})["sample"] for one in (GOOD, OTHER)]
    assert ["output_json" in sample for sample in sent] == [True, False]


def test_a_completion_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(response, "parse_json", lambda text: parsed.append(text) or json.loads(text))
    response._output.cache_clear()
    for _ in range(3):
        sample_of(GOOD, schema_text(SCHEMA))
    assert parsed == [GOOD]


def test_the_schemas_bytes_are_in_the_graders_digest(project: Path) -> None:
    def digest(given: Any) -> str:
        return build_grader(ADAPTER.validate_python({"http": "http://x", "response": given})).digest

    (project / "n.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    assert digest("n.json") == digest(SCHEMA) != digest(None)
    (project / "n.json").write_text(json.dumps({**SCHEMA, "required": []}), encoding="utf-8")
    assert digest("n.json") != digest(SCHEMA)


def test_a_pattern_that_takes_too_long_is_a_fault_of_that_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.components.graders.json_schema.SECONDS", 0.05)
    with pytest.raises(FaultError, match=r"task\.response\.json_schema") as raised:
        sample_of(json.dumps("a" * 40 + "b"), schema_text(SLOW))
    assert raised.value.kind == "timeout"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"type": "objekt"}, r"task\.response\.json_schema is not a JSON Schema at type: 'objekt'.*Correct it"),
        ({"$ref": "https://example.org/s.json"}, r"refers to https://example\.org/s\.json.*Nothing is fetched"),
        ({"$ref": "#/$defs/absent"}, r"refers to /\$defs/absent"),
        ("absent.json", r"absent\.json cannot be read as JSON: .*No such file"),
        ("text.json", r"text\.json cannot be read as JSON"),
        ("list.json", r"list\.json is not a JSON Schema"),
    ],
)
def test_faults_a_schema_that_cannot_be_used_is_refused_by_its_key(project: Path, given: Any, message: str) -> None:
    (project / "text.json").write_text("type: object", encoding="utf-8")
    (project / "list.json").write_text("[1]", encoding="utf-8")
    with pytest.raises(RecipeError, match=message):
        schema_text(given)
