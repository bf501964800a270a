"""Rollback, override, approval and lost races, through the command line and whole runs on the micro recipe."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient
from typer.testing import CliRunner

from ratchet.components.errors import RegistryError
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.storage.home import Home
from ratchet.flows.cli import app
from tests.places import MICRO

Run = Callable[..., dict[str, Any]]
# Hardly trained, from a start of its own: a step this small may leave the weights of the start that others are compared with.
WORSE = ("policy.warmup.steps=240", "train.lr=1e-6", "train.steps=1")
USES = ("gate.rules.uses_per_epoch=3", "gate.rules.alpha_epoch=0.99")


def ledger() -> Ledger:
    return Ledger(Home.here().ledger)


def alias(name: str) -> str:
    return str(MlflowClient(Home.here().tracking_uri).get_model_version_by_alias(name, "champion").version)


def ratchet(name: str, *arguments: str) -> str:
    """The command's stdout, with the recipe under another name."""
    recipe = Home.here().project / f"{name}.yaml"
    text = MICRO.read_text(encoding="utf-8")
    recipe.write_text(text.replace("name: micro", f"name: {name}"), encoding="utf-8")
    result = CliRunner().invoke(app, [*arguments, "--recipe", str(recipe)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_override_rollback_and_history(promoted: dict[str, Any], run: Run) -> None:
    assert run("name=succession")["status"] == "promoted"
    assert run("name=succession", *WORSE)["status"] == "refused"
    row = json.loads(ratchet("succession", "promote", "2", "--override", "--reason", "second champion", "--json"))
    assert (row["version"], row["previous"], row["by"], row["verdict"]) == ("2", "1", "override", None)
    assert alias("succession") == "2"
    rolled = ratchet("succession", "rollback", "--by", "ann")
    assert "version 1 of succession is champion (before: 2), by rollback (ann)" in rolled
    assert alias("succession") == "1"
    history = json.loads(ratchet("succession", "history", "--json"))
    assert [(r["version"], r["previous"], r["by"]) for r in history] == [
        ("1", None, "gate"), ("2", "1", "override"), ("1", "2", "rollback"),
    ]  # fmt: skip
    assert set(history[0]) == {"version", "previous", "at", "by", "verdict", "run_id", "person"}
    assert "second champion" in ratchet("succession", "history")
    assert run("name=succession")["status"] == "unchanged"


def test_a_rolled_back_version_is_not_promoted_again(promoted: dict[str, Any], run: Run) -> None:
    run("name=fallback", *WORSE, *USES)
    ratchet("fallback", "promote", "1", "--override", "--reason", "a first champion")
    assert run("name=fallback", *USES)["status"] == "promoted"
    ratchet("fallback", "rollback")
    again = run("name=fallback", *USES)
    assert (again["status"], alias("fallback")) == ("unchanged", "1")


def test_a_promotion_waits_for_its_approval(promoted: dict[str, Any], run: Run) -> None:
    rules = ("name=approved", "gate.rules.approval=required", "gate.rules.approval_hours=1e-9")
    waited = run(*rules)
    assert (waited["status"], waited["verdict"]) == ("refused", "PROMOTE")
    assert ledger().history("approved") == []
    report = Path(waited["report"]).read_text(encoding="utf-8")
    assert f"ratchet approve {waited['run_id']}" in report
    assert "p_value" not in report  # the fold is not retired yet
    assert "approved: PROMOTE" in ratchet("approved", "approve", waited["run_id"], "--by", "ada")
    result = run(*rules)
    assert (result["status"], result["version"], alias("approved")) == ("promoted", waited["version"], "1")
    assert ledger().history("approved")[-1].decided == "gate (approved by ada)"


def test_a_challenger_whose_champion_changed_is_judged_again(promoted: dict[str, Any], run: Run) -> None:
    assert run("name=raced", *WORSE, *USES, until="gate")["version"] == "1"
    results: list[dict[str, Any]] = []
    waiting = threading.Thread(target=lambda: results.append(run("name=raced", "gate.rules.approval=required", *USES)))
    waiting.start()
    stale = _verdict(lambda record: record["incumbent"] != _policy("raced", "1"))
    ratchet("raced", "promote", "1", "--override", "--reason", "meanwhile")
    fresh = _verdict(lambda record: record["incumbent"] == _policy("raced", "1"))
    with pytest.raises(RegistryError, match="no verdict PROMOTE"):
        ratchet("raced", "approve", "another run")
    with pytest.raises(RegistryError, match="under rules other than"):
        ratchet("raced", "approve", fresh["run_id"])
    ratchet("raced", "approve", fresh["run_id"], *(f"--set={override}" for override in USES))
    waiting.join(120)
    (result,) = results
    assert fresh["digest"] != stale["digest"]
    assert (result["status"], result["version"], result["previous"]) == ("promoted", "2", "1")


def _policy(name: str, version: str) -> str:
    return str(MlflowClient(Home.here().tracking_uri).get_model_version(name, version).tags["policy_sha256"])


def _verdict(wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """The verdict on version 2 of ``raced`` that is wanted, once it is there."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        for run in ledger().latest_runs():
            found = ledger().verdict_of_run("raced", run["run_id"]) if run["model"] == "raced" else None
            if found and found["record"]["challenger"] != _policy("raced", "1") and wanted(found["record"]):
                return found
        time.sleep(0.5)
    raise AssertionError("no such verdict came")
