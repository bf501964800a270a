"""Each template from rows to champion, by the command, in a project of its own. ``maths`` is the quickstart, which CI runs."""

import json
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from mlflow.tracking import MlflowClient

from ratchet.components.graders.build import grader_digests
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import load_recipe
from ratchet.components.storage.files import read_json, read_json_lines
from ratchet.components.storage.home import Home
from tests.commands import environment, ratchet
from tests.templates.projects import write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

Meaning = Callable[[Path, str], Any]  # of a completion, in a project: equal for equally right ones


@dataclass(frozen=True)
class Kind:
    """A template: its rows, how they are asked, and what a completion of it means."""

    name: str
    rows: str
    asked: str
    meaning: Meaning


def text(_: Path, completion: str) -> str:
    return completion


def parsed(_: Path, completion: str) -> Any:
    try:
        return json.loads(completion)
    except ValueError:
        return completion


def result(project: Path, query: str) -> str:
    """What a query gives, or why it gives nothing."""
    with closing(sqlite3.connect(project / "shop.sqlite")) as connection:
        try:
            return repr(connection.execute(query).fetchall())
        except (sqlite3.Error, sqlite3.Warning) as error:
            return f"{type(error).__name__}: {query}"


KINDS = (
    Kind("classify", "tickets.jsonl", "{question}", text),
    Kind("extract", "invoices.jsonl", "As JSON: {text}", parsed),
    Kind("sql", "questions.jsonl", "As SQL: {text}", result),
)


@dataclass(frozen=True)
class Ran:
    """A template's project after a run, and what the run printed."""

    kind: Kind
    home: Home
    outcome: Mapping[str, Any]

    def stage(self, name: str) -> Path:
        keys = {one["name"]: one["key"] for one in self.outcome["stages"]}
        return self.home.store / name / str(keys[name])

    def answers(self) -> dict[str, str]:
        """The right answer of each prompt."""
        rows = read_json_lines(self.home.project / self.kind.rows)
        return {self.kind.asked.format(**row): row["answer"] for row in rows}


@pytest.fixture(scope="module", params=KINDS, ids=lambda kind: kind.name)
def ran(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    kind: Kind = request.param
    project = write(kind.name, tmp_path_factory.mktemp(kind.name))
    done = subprocess.run(ratchet("run", "--json"), cwd=project, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return Ran(kind, Home(project, project / ".ratchet"), json.loads(done.stdout))


def test_it_promotes_for_more_right_answers(ran: Ran) -> None:
    assert (ran.outcome["status"], ran.outcome["verdict"]) == ("promoted", "PROMOTE")
    figures = read_json(ran.stage("evaluate") / "summary.json")
    before, after = (figures[f"{arm}_sampled"]["accuracy"]["value"] for arm in ("incumbent", "challenger"))
    assert before + 0.1 < after
    assert "format_rate" not in figures["challenger_sampled"]  # which is for numbers
    rows = read_json_lines(ran.stage("evaluate") / "challenger_sampled.jsonl")
    assert any(row["slices"] for row in rows)


def test_its_gold_passes_every_reference_and_no_planted_answer(ran: Ran) -> None:
    checks = {check["name"]: check for check in read_json(ran.stage("gold") / "report.json")["checks"]}
    assert (checks["gold_references"]["value"], checks["gold_planted"]["value"]) == (1.0, 0.0)


def test_every_judgement_is_that_of_the_reference(ran: Ran) -> None:
    right, project = ran.answers(), ran.home.project
    arms = [f"{arm}_sampled.jsonl" for arm in ("incumbent", "challenger")]
    rows = [row for arm in arms for row in read_json_lines(ran.stage("evaluate") / arm)]
    assert {row["passed"] for row in rows} == {True, False}
    same = [ran.kind.meaning(project, row["completion"]) == ran.kind.meaning(project, right[row["prompt"]]) for row in rows]
    assert [row["passed"] for row in rows] == same


def test_the_golds_digest_stands_in_verdict_card_and_lineage(ran: Ran, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ran.home.project)
    digest = grader_digests(load_recipe(Path("ratchet.yaml")))["gold"]
    (verdict,) = Ledger(ran.home.ledger).verdicts(ran.kind.name)
    assert verdict["record"]["gold"] == digest
    client = MlflowClient(ran.home.tracking_uri, ran.home.tracking_uri)
    version = client.get_model_version_by_alias(ran.kind.name, "champion")
    assert digest in version.description
    assert read_json(Path(client.download_artifacts(version.run_id, "lineage.json")))["gold"] == digest


def test_training_is_paid_the_gold(ran: Ran) -> None:
    points = [point["values"] for point in read_json_lines(ran.stage("train") / "metrics.jsonl")]
    assert all(0 < point["eval_sampled_accuracy"] <= 1 for point in points if "eval_proxy" in point)
    steps = [point for point in points if "reward" in point]
    assert len(steps) == load_recipe(ran.home.project / "ratchet.yaml").train.steps
    assert [point["reward"] for point in steps] == pytest.approx([point["accuracy"] for point in steps])
