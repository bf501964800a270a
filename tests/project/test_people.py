"""A decision has a name, and no other recipe than the model's own says who may make it."""

import getpass
from pathlib import Path

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.people import person_of, require_role
from ratchet.components.recipe import Recipe, load_recipe
from tests.places import MICRO
from tests.run.runs import new_run

TEXT = MICRO.read_text(encoding="utf-8")


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite:///:memory:")


def recipe(path: Path, roles: str = "{}") -> Recipe:
    path.write_text(f"{TEXT}\nroles: {roles}\n", encoding="utf-8")
    return load_recipe(path)


# The name


def test_the_person_is_the_one_that_was_named_else_the_machines_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    assert (person_of(None), person_of("ann@example.com")) == ("ada", "ann@example.com")


def test_a_user_without_a_name_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(getpass, "getuser", lambda: {}["no name"])
    assert person_of(None).removeprefix("user ").isdecimal()


@pytest.mark.parametrize("name", ["", "ann\nwho is champion", "\x1b]0;x\x07", " "])
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    with pytest.raises(RecipeError, match="--by: a person's name is 1 to 64 printable characters"):
        person_of(name)


def test_a_credential_is_no_name_and_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_TOKEN", "correct-horse-battery")
    for secret in ("correct-horse-battery", "sk-0123456789abcdefghij"):
        with pytest.raises(RecipeError, match="looks like, a credential") as refused:
            person_of(secret)
        assert secret not in str(refused.value)


# Who may


def test_without_roles_everybody_may(tmp_path: Path, ledger: Ledger) -> None:
    require_role(tmp_path, ledger, "micro", "rollback", "eve", recipe(tmp_path / "ratchet.yaml"))
    require_role(tmp_path, ledger, "micro", "promote", "eve", recipe(tmp_path / "ratchet.yaml", "{rollback: [ann]}"))


def test_the_refusal_says_who_may_by_which_file_and_how(tmp_path: Path, ledger: Ledger) -> None:
    given = recipe(tmp_path / "ratchet.yaml", "{promote: [ann, bob]}")
    require_role(tmp_path, ledger, "micro", "promote", "bob", given)
    with pytest.raises(RecipeError) as refused:
        require_role(tmp_path, ledger, "micro", "promote", "eve", given)
    assert str(refused.value) == (
        "eve may not promote a version without the gate (micro): roles.promote of ratchet.yaml names ann, bob. Ask one of "
        "them; if one of these names is yours, pass --by NAME."
    )


def test_faults_another_recipe_of_the_model_does_not_widen_the_projects(tmp_path: Path, ledger: Ledger) -> None:
    recipe(tmp_path / "ratchet.yaml", "{rollback: [ann]}")
    for roles in ("{}", "{rollback: [eve]}"):
        with pytest.raises(RecipeError, match=r"roles\.rollback of ratchet\.yaml names ann"):
            require_role(tmp_path, ledger, "micro", "rollback", "eve", recipe(tmp_path / "mine.yaml", roles))


def test_the_given_recipe_narrows_the_projects(tmp_path: Path, ledger: Ledger) -> None:
    recipe(tmp_path / "ratchet.yaml", "{rollback: [ann, bob]}")
    given = recipe(tmp_path / "mine.yaml", "{rollback: []}")
    with pytest.raises(RecipeError, match=r"roles\.rollback of the given recipe names nobody\. Have that recipe name you\."):
        require_role(tmp_path, ledger, "micro", "rollback", "ann", given)


def test_faults_from_a_folder_without_the_models_recipe_its_newest_run_says_who_may(tmp_path: Path, ledger: Ledger) -> None:
    ledger.begin_run("i", "micro", "r1", {"stop": ["ann"], "promote": ["ann"]})
    with pytest.raises(RecipeError, match=r"roles\.stop of the recipe of its newest run names ann"):
        require_role(tmp_path, ledger, "micro", "stop", "eve")
    with pytest.raises(RecipeError, match=r"roles\.promote of the recipe of its newest run names ann"):
        require_role(tmp_path, ledger, "micro", "promote", "eve", recipe(tmp_path / "mine.yaml", "{promote: [eve]}"))
    require_role(tmp_path, ledger, "another", "stop", "eve")


def test_the_projects_own_recipe_is_newer_than_any_run(tmp_path: Path, ledger: Ledger) -> None:
    """Whoever is added there need not wait for the next run."""
    ledger.begin_run("i", "micro", "r1", {"rollback": ["ann"]})
    require_role(tmp_path, ledger, "micro", "rollback", "bob", recipe(tmp_path / "ratchet.yaml", "{rollback: [bob]}"))


def test_a_run_records_who_may_by_its_recipe(tmp_path: Path) -> None:
    run = new_run(tmp_path)
    run.project.recipe = recipe(tmp_path / "mine.yaml", "{approve: [ann]}")
    run.begin()
    assert run.ledger.roles("micro") == {"approve": ["ann"]}
