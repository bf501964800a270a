"""Templates fill in paths, and refuse everything else."""

from typing import Any

import pytest

from ratchet.components.templates import AbsentError, parse_template

SPACES = {
    "item": {"city": "Ålesund", "lines": [{"total": 3.5}], "none": None, "rest-day": "Sun", "many": {"b": 1, "a": True}},
    "sample": {"output_text": "{{item.city}}", "choices": [{"message": {"content": "hi"}}]},
}


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("to {{item.city}}!", "to Ålesund!"),
        ("{{ item.lines[0].total }} and {{item.rest-day}}", "3.5 and Sun"),
        ("{{item.none}}", "null"),
        ("{{item.many}}", '{"a": true, "b": 1}'),
        ("{{sample.choices[0].message.content}}", "hi"),
        ("{{sample.output_text}}", "{{item.city}}"),  # a text that looks like a template is not one
        ("no place, { one } brace", "no place, { one } brace"),
    ],
)
def test_paths_are_filled_in(template: str, text: str) -> None:
    assert parse_template(template).text(SPACES) == text


def test_one_path_alone_stands_for_its_value() -> None:
    assert parse_template("{{item.lines}}").value(SPACES) == [{"total": 3.5}]
    assert parse_template(" {{item.none}}").value(SPACES) == " null"


@pytest.mark.parametrize(("template", "space"), [("{{item.town}}", "item"), ("{{sample.output_json.x}}", "sample")])
def test_a_path_to_nothing_says_whose_it_is(template: str, space: str) -> None:
    with pytest.raises(AbsentError) as absent:
        parse_template(template).text(SPACES)
    assert absent.value.namespace == space


@pytest.mark.parametrize("path", ["item.lines[1]", "item.city[0]", "item.lines.total", "item.city.upper"])
def test_a_path_reads_data_and_no_attributes(path: str) -> None:
    with pytest.raises(AbsentError, match=path.replace("[", r"\[")):
        parse_template(f"{{{{{path}}}}}").text(SPACES)


@pytest.mark.parametrize(
    "template",
    [
        "{{item}}",
        "{{item.x | upper}}",
        "{{item['x']}}",
        "{{item.x()}}",
        "{{7 * 7}}",
        "{{row.x}}",
        "{{sample.text}}",
        "{{item.x",
        "item.x}}",
        "{{}}",
        "{% if item.x %}{{item.x}}{{% endif %}}",
    ],
)
def test_template_faults_what_is_not_a_path_is_refused(template: Any) -> None:
    with pytest.raises(ValueError, match=r"is not a path|a sample has|without their partner"):
        parse_template(template)
