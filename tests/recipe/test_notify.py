"""Receivers: where a secret address may be, and what is refused."""

from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import build_recipe, load_recipe
from ratchet.components.recipe.notify import USUAL
from tests.places import MICRO


def built(**entry: Any) -> Any:
    (found,) = build_recipe({"name": "m", "gate": {"rules": {}}, "notify": [entry]}, "recipe").notify
    return found


@pytest.mark.parametrize(
    ("to", "variable", "block"),
    [
        ("env:SLACK_URL", "SLACK_URL", None),
        ("${SLACK_URL}", "SLACK_URL", None),
        ("block:slack-webhook/team", None, "slack-webhook/team"),
        ("https://hooks.example/ratchet", None, None),
        ("http://127.0.0.1:8080", None, None),
    ],
)
def test_the_forms_of_an_address(to: str, variable: str | None, block: str | None) -> None:
    assert (built(to=to).variable, built(to=to).block) == (variable, block)


@pytest.mark.parametrize(
    "to",
    ["slack://T1/B2/hunter2x", "https://ada:hunter2x@hooks.example/x", "https://hooks.example/x?key=hunter2x",
     "ada@example.com", "https://hooks.slack.com/services/T1/B2/hunter2x", "block:../x", "env:1X", ""],
)  # fmt: skip
def test_a_secret_or_unknown_address_is_refused_with_the_remedy(to: str) -> None:
    with pytest.raises(RecipeError, match=r"write env:NAME|variable of the environment") as refused:
        built(to=to)
    assert "hunter2x" not in str(refused.value)


def test_what_is_told_by_default() -> None:
    assert built(to="env:X").on == list(USUAL)


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        ({"on": ["stale"]}, "hours_without_run or hours_without_promotion"),
        ({"hours_without_run": 48.0}, "need one another"),
        ({"on": ["won"]}, "notify.0.on"),
    ],
)
def test_faults_are_refused(entry: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RecipeError, match=complaint):
        built(to="env:X", **entry)


def test_receivers_make_no_other_run() -> None:
    told = load_recipe(MICRO, ["notify=[{to: env:X, on: [promoted, stale], hours_without_run: 48}]"])
    assert told.digest == load_recipe(MICRO).digest
