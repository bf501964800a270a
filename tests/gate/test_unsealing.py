"""A retired fold tells everything, to every run that used it; a fold in use tells nobody."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from ratchet.components.gate.unsealing import is_retired, metric_name, publish_retired, publish_verdict
from tests.gate.staged import Project


class Runs:
    """What a tracker was told, by run."""

    def __init__(self, *gone: str) -> None:
        self.gone = gone
        self.records: dict[str, dict[str, object]] = {}
        self.figures: dict[str, Mapping[str, float]] = {}

    def versions(self, name: str) -> list[object]:
        return []

    def has_run(self, run_id: str) -> bool:
        return run_id not in self.gone

    def artifact(self, run_id: str, path: Path, folder: str | None = None) -> None:
        self.records[run_id] = json.loads(path.read_text(encoding="utf-8"))

    def metrics(self, run_id: str, points: Sequence[tuple[int, Mapping[str, float]]]) -> None:
        self.figures[run_id] = points[0][1]


def retire(project: Project) -> None:
    for digest in project.ledger.items_of_folds("m"):
        project.ledger.retire("m", digest, "promoted")


def test_nothing_sealed_leaves_before_the_fold_is_retired(tmp_path: Path) -> None:
    project, runs = Project(tmp_path), Runs()
    verdict = project.judge("a", 157)
    assert not is_retired(project.ledger, "m", verdict)
    publish_verdict(project.context, runs, "run-a", verdict, retired=False)  # type: ignore[arg-type]
    assert publish_retired(project.context, runs, project.ledger) == 0  # type: ignore[arg-type]
    assert runs.figures == {}
    told = json.dumps(runs.records)
    secret = {name: value for name, value in verdict.figures.items() if name != "items"}
    assert not [name for name, value in secret.items() if name in told or (repr(value) in told and value % 1)]
    assert verdict.digest not in told  # it could confirm a guess


def test_every_verdict_on_a_retired_fold_is_published_once(tmp_path: Path) -> None:
    project, runs = Project(tmp_path), Runs()
    verdicts = [project.judge(name, right) for name, right in (("a", 152), ("b", 140), ("c", 220))]
    retire(project)
    assert publish_retired(project.context, runs, project.ledger) == 3  # type: ignore[arg-type]
    assert [runs.records[f"run-{name}"]["digest"] for name in "abc"] == [verdict.digest for verdict in verdicts]
    assert runs.figures["run-b"]["sealed/losses"] == 10
    assert publish_retired(project.context, runs, project.ledger) == 0  # type: ignore[arg-type]


def test_a_run_that_is_gone_does_not_hold_up_the_others(tmp_path: Path) -> None:
    project, runs = Project(tmp_path), Runs("run-a")
    project.judge("a", 152)
    project.judge("b", 152)
    retire(project)
    publish_retired(project.context, runs, project.ledger)  # type: ignore[arg-type]
    assert list(runs.records) == ["run-b"]


def test_metrics_have_names_that_mlflow_takes() -> None:
    assert metric_name("sealed/challenger_pass@4 on sealed, slice x") == "sealed/challenger_pass_4 on sealed_ slice x"
