"""Who may decide by hand, as a recipe says it: names that can be shown, and nothing that changes a run."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.recipe import Decision, Recipe, Roles, build_recipe, load_recipe, roles_in
from tests.places import MICRO

TEXT = MICRO.read_text(encoding="utf-8")


def built(**roles: Any) -> Recipe:
    return build_recipe({"name": "m", "gate": {"rules": {}}, "roles": roles}, "recipe")


def write(path: Path, name: str, roles: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{TEXT.replace('name: micro', f'name: {name}')}\nroles: {roles}\n", encoding="utf-8")


def test_without_a_list_everybody_may_and_by_an_empty_one_nobody() -> None:
    roles = built(promote=["ann", "Bob Øst"], stop=[]).roles
    decisions: list[Decision] = ["promote", "rollback", "approve", "stop"]
    assert [roles.may(decision) for decision in decisions] == [["ann", "Bob Øst"], None, None, []]


@pytest.mark.parametrize("name", ["", " ann", "ann\n", "a\nb", "a\x1b[31mb", "a\u202eb", "x" * 65])
def test_a_name_that_cannot_be_shown_on_one_line_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match=r"roles\.rollback\.0: a person's name is 1 to 64 printable characters"):
        built(rollback=[name])


def test_an_unknown_decision_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"roles\.deploy: unknown key"):
        built(deploy=["ann"])


def test_roles_do_not_change_a_run() -> None:
    assert built(promote=["ann"]).digest == built().digest


@pytest.mark.parametrize("override", ["roles.promote=[eve]", "roles=null", "roles={}"])
def test_the_command_line_does_not_say_who_may(override: str) -> None:
    with pytest.raises(RecipeError, match=r"--set roles.*not a matter of the command line\. Write it in the recipe"):
        load_recipe(MICRO, [override])


def test_the_roles_of_a_model_are_those_of_every_recipe_with_its_name(tmp_path: Path) -> None:
    write(tmp_path / "ratchet.yaml", "m", "{promote: [ann]}")
    write(tmp_path / "recipes" / "big.yaml", "m", "{stop: [bob]}")
    write(tmp_path / "recipes" / "other.yaml", "other", "{promote: [eve]}")
    assert roles_in(tmp_path, "m") == {"ratchet.yaml": Roles(promote=["ann"]), "recipes/big.yaml": Roles(stop=["bob"])}
    assert roles_in(tmp_path / "recipes", "m") == {}


def test_faults_a_draft_that_says_nothing_of_roles_stands_in_nobodys_way(tmp_path: Path) -> None:
    write(tmp_path / "ratchet.yaml", "m", "{promote: [ann]}\nno_such_key: 1")  # it names people all the same
    (tmp_path / "recipes").mkdir()
    for name, text in {"draft": "name: [m", "notes": "- a list", "alias": "a: &a 1\nb: *a", "bytes": "\xff"}.items():
        (tmp_path / "recipes" / f"{name}.yaml").write_bytes(text.encode("latin-1"))
    assert roles_in(tmp_path, "m") == {"ratchet.yaml": Roles(promote=["ann"])}


def test_faults_a_recipe_that_cannot_be_read_may_be_the_one_that_names_people(tmp_path: Path) -> None:
    write(tmp_path / "ratchet.yaml", "m", "{}")
    write(tmp_path / "recipes" / "broken.yaml", "m", "{promote: [ann")
    with pytest.raises(RecipeError, match=r"broken\.yaml is not valid YAML"):
        roles_in(tmp_path, "m")
    (tmp_path / "recipes" / "broken.yaml").write_text("- roles", encoding="utf-8")
    with pytest.raises(RecipeError, match=r"broken\.yaml does not contain a mapping"):
        roles_in(tmp_path, "m")
    write(tmp_path / "recipes" / "broken.yaml", "m", "{promote: ann}")
    with pytest.raises(RecipeError, match=r"recipes/broken\.yaml is not a valid recipe:\n  roles\.promote"):
        roles_in(tmp_path, "m")
