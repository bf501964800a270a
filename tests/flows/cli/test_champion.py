"""``ratchet promote``, ``rollback``, ``approve`` and ``stop``: who decides, and who may."""

import getpass
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from ratchet.components.errors import RecipeError
from ratchet.components.gate.plan import rules_digest
from ratchet.components.ledger.claims import acquired
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.project.locks import Locks
from ratchet.components.project.project import Project
from ratchet.components.recipe import load_recipe
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.all_runs import INDEX
from ratchet.components.storage.home import Home
from ratchet.flows.cli import app
from tests.ledger.fakes import Registry
from tests.places import MICRO

OVERRIDE = ["promote", "--override", "--reason", "why"]


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Of every project that is opened."""
    found = Registry()
    monkeypatch.setattr(Project, "tracker", found)
    monkeypatch.setattr(getpass, "getuser", lambda: "eve")
    return found


def write_recipe(path: Path, roles: str) -> None:
    path.write_text(f"{MICRO.read_text(encoding='utf-8')}\nroles: {roles}\n", encoding="utf-8")


def ratchet(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0
    return done.stdout


def refusal(*arguments: str) -> str:
    with pytest.raises(RecipeError) as refused:
        CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    return str(refused.value)


def test_history_says_who_decided(project: Path, registry: Registry) -> None:
    write_recipe(project / "ratchet.yaml", "{}")
    assert "version 1 of micro is champion (before: none), by override (eve)" in ratchet(*OVERRIDE, "1")
    ratchet(*OVERRIDE, "2", "--by", "ann")
    assert "version 1 of micro is champion (before: 2), by rollback (bob)" in ratchet("rollback", "--by", "bob")
    assert [row["person"] for row in json.loads(ratchet("history", "--json"))] == ["eve", "ann", "bob"]
    lines = ratchet("history").splitlines()
    assert [line.partition("  by ")[2].partition("  run")[0] for line in lines] == [
        "override (eve): why", "override (ann): why", "rollback (bob): no reason given",
    ]  # fmt: skip
    assert "by rollback (bob)" in ratchet("status")


def test_the_page_over_all_runs_has_the_new_champion(project: Path, registry: Registry) -> None:
    write_recipe(project / "ratchet.yaml", "{}")
    ledger = Ledger(Home.here().ledger)
    ledger.begin_run("i", "micro", "r2")
    page = Home.here().reports / INDEX
    for command, champion in (([*OVERRIDE, "1"], 1), ([*OVERRIDE, "2"], 2), (["rollback"], 1)):
        ratchet(*command)
        assert f"Version {champion} has been " in page.read_text(encoding="utf-8")


def test_nothing_is_deleted_while_a_champion_is_chosen(
    project: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_recipe(project / "ratchet.yaml", "{}")
    deleting: list[bool] = []

    def check_artifact(name: str, version: str) -> None:
        with Locks(Home.here().locks).deleting() as alone:
            deleting.append(alone)

    monkeypatch.setattr(registry, "check_artifact", check_artifact)
    for command in ([*OVERRIDE, "1"], [*OVERRIDE, "2"], ["rollback"]):
        ratchet(*command)
    assert deleting == [False, False, False]


def test_who_may_not_changes_nothing(project: Path, registry: Registry) -> None:
    write_recipe(project / "ratchet.yaml", "{promote: [ann], rollback: [ann], approve: []}")
    ratchet(*OVERRIDE, "1", "--by", "ann")
    ratchet(*OVERRIDE, "2", "--by", "ann")
    before = Ledger(Home.here().ledger).history("micro")
    assert "eve may not promote a version without the gate (micro): roles.promote of ratchet.yaml" in refusal(*OVERRIDE, "3")
    assert "eve may not" in refusal(*OVERRIDE, "--checkpoint", "abcdef")  # before it is looked for
    assert "eve may not roll back (micro): roles.rollback of ratchet.yaml names ann" in refusal("rollback")
    assert "ann may not approve (micro): roles.approve of ratchet.yaml names nobody" in refusal("approve", "r", "--by", "ann")
    assert Ledger(Home.here().ledger).history("micro") == before
    assert registry.alias("micro", "champion") == "2"


def test_faults_another_recipe_or_a_set_is_no_way_around(project: Path, registry: Registry) -> None:
    write_recipe(project / "ratchet.yaml", "{promote: [ann]}")
    write_recipe(project / "mine.yaml", "{promote: [eve]}")
    for way in (["--recipe", "mine.yaml"], ["--recipe", str(MICRO)]):
        assert "roles.promote of ratchet.yaml names ann" in refusal(*OVERRIDE, "1", *way)
    assert "not a matter of the command line" in refusal(*OVERRIDE, "1", "--set", "roles.promote=[eve]")
    assert Ledger(Home.here().ledger).history("micro") == []


def test_an_approval_says_who_gave_it_first(project: Path, registry: Registry) -> None:
    write_recipe(project / "ratchet.yaml", "{}")
    rules = rules_digest(load_recipe(project / "ratchet.yaml"))
    found = Verdict(Outcome.PROMOTE, ["why"], "candidate", "start", rules=rules)
    Ledger(Home.here().ledger).record_verdict("micro", found.as_json(), found.digest, "r1")
    for person, run in (("ann", "r1"), ("bob", "r")):
        said = ratchet("approve", run, "--by", person)
        assert said.endswith(", by ann\n")
        assert said.startswith("already approved") == (person == "bob")


def test_a_stop_has_a_name_and_may_need_one(project: Path, registry: Registry) -> None:
    write_recipe(project / "ratchet.yaml", "{stop: [ann]}")
    ledger = Ledger(Home.here().ledger)
    claim = acquired(ledger, "i", "another machine", lambda *_: None)
    ledger.begin_run("i", "micro", "abc123")
    assert "eve may not stop a run (micro): roles.stop of ratchet.yaml names ann" in refusal("stop", "abc")
    claim.confirm()
    assert claim.stop_asked_by is None
    ratchet("stop", "abc", "--by", "ann")
    claim.confirm()
    assert str(claim.stop_asked_by).startswith("ann on ")
