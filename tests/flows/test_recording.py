"""A run's identity."""

from pathlib import Path

from ratchet.components.home import Home
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.stage import Context
from ratchet.flows.recording import flatten, identity_of
from tests.places import MICRO


def identity(tmp_path: Path, *overrides: str) -> str:
    return identity_of(Context(load_recipe(MICRO, overrides), Home(tmp_path, tmp_path)))


def test_the_identity_depends_on_every_value_of_the_recipe(tmp_path: Path) -> None:
    same = identity(tmp_path), identity(tmp_path, "train.lr=2e-3")
    assert same[0] == same[1]  # the value that the recipe has already
    assert identity(tmp_path, "train.lr=1e-3") != same[0]


def test_flatten_joins_sections_with_dots() -> None:
    assert flatten({"a": 1, "b": {"c": [2], "d": {"e": None}}}) == {"a": 1, "b.c": [2], "b.d.e": None}
