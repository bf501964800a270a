"""The schema of recipes for editors: it takes every recipe that loads, in all short forms, and notices slips."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from ratchet.components.recipe import build_recipe, parse_yaml
from ratchet.components.scaffold.schema import recipe_schema
from ratchet.components.scaffold.templates import KINDS, template
from tests.places import RECIPES, ROOT

FILES = sorted([*RECIPES.glob("*.yaml"), *(ROOT / "tests" / "recipes").glob("*.yaml")])
VALIDATOR = Draft202012Validator(recipe_schema())
BASE: dict[str, Any] = {
    "name": "r",
    "gate": {"rules": {}},
    "graders": {"right": {"type": "exact"}},
    "gold": {"grader": "right"},
}
EXACT = {"type": "exact"}


def faults(values: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(values)]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_shipped_recipe_is_valid(path: Path) -> None:
    assert faults(parse_yaml(path.read_text(encoding="utf-8"), str(path))) == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_template_is_valid(kind: str) -> None:
    assert faults(parse_yaml(template(kind).recipe.replace("{name}", kind), kind)) == []


@pytest.mark.parametrize(
    "values",
    [
        {"data": {"source": "rows.jsonl"}},
        {"data": {"source": {"kind": "mix", "sources": [{"source": "a.csv"}, {"source": {"kind": "word_problems"}}]}}},
        {
            "data": {"source": "rows.jsonl"},
            "task": {"prompt": "{{item.x}}", "answer": "{{item.y}}", "response": {"json_schema": {"type": "object"}}},
        },
        {"graders": {"right": {"file": "graders.py:grade"}}},
        {"graders": {"right": EXACT, "other": {"http": "http://127.0.0.1:9/grade"}}},
        {"graders": {"right": EXACT, "old": {"openai": "grader.json"}}},
        {
            "graders": {
                "right": {
                    "type": "json_match",
                    "fields": {"a": "date", "b": {"number": {"abs": 0.1}}, "c": {"list": "unordered"}},
                }
            }
        },
        {"graders": {"right": EXACT, "near": {"type": "text_similarity"}}, "reward": {"formula": "right + near"}},
        {
            "graders": {"right": EXACT, "other": EXACT},
            "gate": {"rules": {"primary": {"all_of": ["right", {"grader": "other"}]}}},
        },
        {
            "graders": {"right": EXACT, "other": EXACT},
            "gate": {"rules": {"guards": [{"grader": "other", "margin": 0.1}, {"measure": "length", "max_ratio": 2}]}},
        },
        {
            "graders": {"right": {"type": "text_similarity", "metric": "chrf"}},
            "gold": {"grader": "right", "allow_similarity": True},
            "gate": {"rules": {"primary": {"measure": "chrf"}}},
        },
        {"reward": {"verifier": {"form": "lenient"}}},
        {"policy": {"warmup": {"steps": 9}}},
        {"policy": {"model": "a/b", "warmup": {"steps": 9, "lora": {"rank": 4}}}},
        {"graders": {"right": {"type": "label", "labels": ["a", "b"], "weights": "balanced"}}},
        {"notify": [{"to": "env:SLACK_URL"}, {"to": "https://hooks.example/x", "on": ["stale"], "hours_without_run": 48.5}]},
    ],
)
def test_every_short_form_that_loads_is_valid(values: dict[str, Any]) -> None:
    build_recipe({**BASE, **values}, "test")
    assert faults({**BASE, **values}) == []


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"trian": {}}, "trian"),
        ({"train": {"algorithm": "gpro"}}, "gpro"),
        ({"data": {"split": {"dev": 2}}}, "dev"),
        ({"graders": {"right": {"type": "exactly"}}}, "right"),
        ({"gate": {}}, "rules"),
        ({"gate": {"rules": {"guards": [{"margin": 0.1}]}}}, "guards"),
    ],
)
def test_slips_are_noticed(values: dict[str, Any], place: str) -> None:
    assert any(place in fault for fault in faults({**BASE, **values}))
