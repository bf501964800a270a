"""``ratchet lineage`` and ``ratchet verify`` on a version that the flow made, and the tree that a person reads."""

import io
import json
from pathlib import Path
from typing import Any

from rich.console import Console
from typer.testing import CliRunner

from ratchet.components.provenance.ancestry import Ancestor
from ratchet.flows.cli import app
from ratchet.flows.cli.views.provenance import tree_of
from tests.places import MICRO
from tests.provenance.records import ONE, TWO, lineage


def drawn(*versions: Ancestor) -> str:
    console = Console(width=120, file=io.StringIO())
    console.print(tree_of("m", list(versions)))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_the_tree_goes_from_a_version_to_its_first_policy() -> None:
    child = lineage(policy={"kind": "version", "version": "1", "weights_sha256": TWO})
    text = drawn(Ancestor("2", {"verdict": "PROMOTE"}, child), Ancestor("1", {}, lineage()))
    lines = [line.strip(" │├└─") for line in text.splitlines()]
    order = ["m version 2  PROMOTE", "started from", "m version 1  unknown", "started from"]
    assert [line for line in lines if line in order] == order
    assert lines[-1] == "policy warmed up on the dataset, weights 222222222222"


def test_the_tree_says_that_a_model_was_fine_tuned_and_on_how_much() -> None:
    policy = {"kind": "model", "source": "org/m", "weights_sha256": TWO, "base_sha256": ONE, "demonstrations": 7}
    text = drawn(Ancestor("1", {}, lineage(policy=policy)))
    assert "existing model org/m 111111111111, fine-tuned on 7 demonstrations, weights 222222222222" in text
    text = drawn(Ancestor("1", {}, lineage(policy={"kind": "model", "source": "org/m", "weights_sha256": TWO})))
    assert "existing model org/m, weights 222222222222" in text


def test_the_tree_names_the_gold_where_it_was_recorded() -> None:
    assert "gold      222222222222\n" in "\n".join(map(str.rstrip, drawn(Ancestor("1", {}, lineage(gold=TWO))).splitlines()))
    assert "gold      not recorded" in drawn(Ancestor("1", {}, lineage()))


def test_the_tree_says_why_it_ends() -> None:
    assert "older release [bold]" in drawn(Ancestor("1", {}, None, "older release [bold]"))


def test_uncommitted_code_and_a_lock_that_was_not_followed_show() -> None:
    code = {**lineage().code.model_dump(), "changed": ["a.py"], "diff_sha256": TWO}
    text = drawn(Ancestor("1", {}, lineage(code=code, off_lock={"torch": "2.10.0"})))
    assert "with 1 uncommitted files" in text
    assert "not followed by torch" in text


def ratchet(*arguments: str) -> tuple[int, Any]:
    done = CliRunner().invoke(app, [*arguments, "--recipe", str(MICRO), "--json"], catch_exceptions=False)
    return done.exit_code, json.loads(done.stdout)


def test_the_champions_lineage_is_one_version_long(promoted: dict[str, Any]) -> None:
    code, found = ratchet("lineage", "champion")
    (version,) = found["chain"]
    assert (code, version["version"], version["problem"]) == (0, "1", None)
    assert version["lineage"]["dataset"]["md5"] == promoted["dataset"]


def test_everything_that_the_champion_records_is_as_recorded(promoted: dict[str, Any]) -> None:
    code, found = ratchet("verify", "1")
    states = {check["item"]: check["state"] for check in found["checks"]}
    assert (code, found["ok"]) == (0, True)
    assert {name for name, state in states.items() if state != "ok"} == {"commit"}  # the test's project is no repository
    assert {"record", "model", "weights", "dataset", "stage train", "verdict"} <= set(states)


def test_a_damaged_stage_is_exit_1(promoted: dict[str, Any], shared_project: Path) -> None:
    (key,) = [stage["key"] for stage in promoted["stages"] if stage["name"] == "reward"]
    place = shared_project / ".ratchet" / "store" / "reward" / key / "report.json"
    original = place.read_bytes()
    place.write_bytes(original + b" ")
    try:
        code, found = ratchet("verify", "1")
    finally:
        place.write_bytes(original)
    assert (code, [c["item"] for c in found["checks"] if c["state"] == "differs"]) == (1, ["stage reward"])
