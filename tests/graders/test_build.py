"""Each rule judges a completion as a person would, and None where there is nothing to judge it against."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.components.code.source_code import ROOT, closure
from ratchet.components.errors import RecipeError
from ratchet.components.graders import json_schema, regex
from ratchet.components.graders.build import build_grader, verifier_digests
from ratchet.components.graders.protocol import Measure
from ratchet.components.recipe import Choice, Exact, GraderSettings, JsonSchema, Length, Numbers, Pattern, Reward

OBJECT = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def judged(settings: GraderSettings, completion: str, answer: str | None = None) -> float | None:
    (grade,) = build_grader(settings)(["p"], [completion], [{"answer": answer}])
    return grade.score


@pytest.mark.parametrize("text", ["#### 1,000", "A: 1000.00", "so \\boxed{1000}", "The answer is $1,000.", "####1000"])
def test_the_lenient_form_takes_every_marker(text: str) -> None:
    assert judged(Numbers(), text, "#### 1000") == 1.0


def test_the_strict_form_takes_one_marker_alone() -> None:
    strict = Numbers(form="strict")
    assert [judged(strict, text, "5") for text in ("#### 5", "A: 5")] == [1.0, 0.0]


def test_the_last_number_counts_only_by_option() -> None:
    assert judged(Numbers(), "first 3, then 5", "5") == 0.0
    assert judged(Numbers(last_number=True), "first 3, then 5", "5") == 1.0
    assert judged(Numbers(form="strict", last_number=True), "first 3, then 5", "5") == 0.0


@pytest.mark.parametrize("settings", [Numbers(), Exact(type="exact"), Choice(type="choice")])
def test_without_a_reference_nothing_is_judged(settings: GraderSettings) -> None:
    assert judged(settings, "#### 5", None) is None


def test_a_reference_without_a_number_judges_nothing() -> None:
    assert judged(Numbers(), "#### 5", "five") is None


def test_an_exact_match_ignores_case_and_outer_white_space_only() -> None:
    assert [judged(Exact(type="exact"), text, "Paris") for text in (" paris\n", "Paris, France")] == [1.0, 0.0]
    assert judged(Exact(type="exact", ignore_case=False), "paris", "Paris") == 0.0


def test_a_form_is_found_or_must_be_the_whole() -> None:
    text = "<think>so\n</think> 5"
    pattern = r"<think>.*</think>"
    assert judged(Pattern(type="regex", pattern=pattern), text) == 1.0
    assert judged(Pattern(type="regex", pattern=pattern, whole=True), text) == 0.0


@pytest.mark.parametrize(
    ("text", "right"), [("B", 1.0), ("(B)", 1.0), ("Not A but B.", 1.0), ("B or A", 0.0), ("Banana", 0.0), ("", 0.0)]
)
def test_the_last_option_named_is_the_choice(text: str, right: float) -> None:
    assert judged(Choice(type="choice"), text, "B") == right


@pytest.mark.parametrize(
    ("text", "right"),
    [('{"n": 1}', 1.0), ('{"n": "1"}', 0.0), ("{}", 0.0), ("n=1", 0.0), ('{"n": NaN}', 0.0), ("[" * 9999, 0.0)],
)
def test_json_must_fulfil_its_schema(text: str, right: float) -> None:
    assert judged(JsonSchema(type="json_schema", document=OBJECT), text) == right


def test_a_schema_that_is_none_is_refused() -> None:
    with pytest.raises(RecipeError, match="json_schema grader"):
        build_grader(JsonSchema(type="json_schema", document={"type": "thing"}))


SLOW = "^(?:.*?,){20}P"  # tries every way to choose 20 of the commas


def test_pattern_faults_an_expression_without_an_end_is_a_fault_and_never_a_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (regex, json_schema):
        monkeypatch.setattr(module, "SECONDS", 0.2)
    schema = {"properties": {"a": {"pattern": SLOW}}, "patternProperties": {SLOW: {}}}
    key, text = '{"%s": 1}' % ("1," * 60), '{"a": "%s"}' % ("1," * 60)
    for settings, completion in [
        (Pattern(type="regex", pattern=SLOW), "1," * 60),
        (JsonSchema(type="json_schema", document=schema), key),
        (JsonSchema(type="json_schema", document=schema), text),
    ]:
        (grade,) = build_grader(settings)(["p"], [completion], [{}])
        assert (grade.score, grade.fault) == (None, "timeout")


def test_patterns_of_a_schema_hold_for_texts_and_keys() -> None:
    schema = {"properties": {"a": {"pattern": "^x"}}, "patternProperties": {"^n_": {"type": "integer"}}}
    settings = JsonSchema(type="json_schema", document=schema)
    texts = ('{"a": "x1", "n_1": 2}', '{"a": "1x"}', '{"n_1": "2"}', '{"a": 3}', '{"m": "2"}')
    assert [judged(settings, text) for text in texts] == [1.0, 0.0, 0.0, 1.0, 1.0]


@pytest.mark.parametrize("reference", ["http://127.0.0.1:9/schema.json", "other.json", "#/$defs/none", "file:///etc/passwd"])
def test_schema_faults_what_a_schema_refers_to_must_be_in_it(reference: str) -> None:
    with pytest.raises(RecipeError, match=r"not in it\. Nothing is fetched: put it under \$defs"):
        judged(JsonSchema(type="json_schema", document={"properties": {"a": {"$ref": reference}}}), "{}")


def test_a_schema_may_refer_to_its_own_parts() -> None:
    parts = {"$defs": {"n": {"type": "integer"}, "s": {"$id": "http://x.test/s", "type": "string"}}}
    schema = {**parts, "items": {"anyOf": [{"$ref": "#/$defs/n"}, {"$ref": "http://x.test/s"}]}}
    settings = JsonSchema(type="json_schema", document=schema)
    assert [judged(settings, text) for text in ('[1, "a"]', "[1.5]")] == [1.0, 0.0]


@pytest.mark.parametrize(("length", "reward"), [(10, 1.0), (20, 1.0), (25, 0.5), (5, 0.5), (30, 0.0), (99, 0.0)])
def test_length_falls_off_linearly_outside_its_range(length: int, reward: float) -> None:
    # From 10 to 20 characters, slope 10: five too many or too few cost 5 / 10.
    assert judged(Length(type="length", shortest=10, longest=20, slope=10.0), "x" * length) == reward


@pytest.mark.parametrize(
    ("model", "values"),
    [(Pattern, {"type": "regex", "pattern": "("}), (Length, {"type": "length", "shortest": 9, "longest": 3})],
)
def test_settings_that_cannot_work_are_refused(model: Any, values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=r"is not a regular expression|is above longest"):
        model(**values)


def test_a_row_too_few_is_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        build_grader(Numbers())(["a", "b"], ["1", "2"], [{"answer": "1"}])


def test_a_grader_says_what_its_scores_are_and_passes_what_is_right() -> None:
    assert build_grader(Exact(type="exact")).measure == Measure("binary")
    assert build_grader(Length(type="length", longest=3)).measure == Measure("bounded")
    (grade,) = build_grader(Choice(type="choice"))(["p"], ["so B"], [{"answer": "B"}])
    assert (grade.passed, grade.answer) == (True, "B")


def test_the_digest_changes_with_the_parameters_and_the_kind() -> None:
    made = [Exact(type="exact"), Exact(type="exact"), Exact(type="exact", ignore_case=False), Choice(type="choice")]
    same, again, other, another = (build_grader(settings).digest for settings in made)
    assert same == again
    assert len({same, other, another}) == 3


def test_the_digest_does_not_depend_on_the_other_kinds_or_the_recipe() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in closure("ratchet.components.graders.exact")}
    assert names == {"__init__.py", "graders/__init__.py", "graders/exact.py", "graders/protocol.py", "graders/rule.py",
                     "errors.py",
                     "code/__init__.py", "code/source_code.py",
                     "storage/__init__.py", "storage/digests.py", "storage/json_text.py"}  # fmt: skip


def test_the_schema_that_a_rewards_function_is_told_is_among_its_digests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    schema = tmp_path / "schema.json"
    schema.write_text('{"type": "object"}', encoding="utf-8")
    told = Reward(kind="custom", function="mine:score", response="schema.json")
    before = verifier_digests(told)
    assert verifier_digests(told) == before
    schema.write_text('{"type": "array"}', encoding="utf-8")
    assert verifier_digests(told) != before
    assert verifier_digests(Reward(kind="custom", function="mine:score")) == {}
