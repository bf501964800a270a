"""The gate's steps in order: what is counted, what is asked, what a verdict says, what is written when."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from ratchet.components.errors import RegistryError
from ratchet.components.gate.folds import is_last_use
from ratchet.components.gate.judge import judge
from ratchet.components.gate.levels import past_tests
from ratchet.components.records import Outcome, Verdict
from ratchet.components.stages.sealed import SealedStage
from tests.gate.staged import Project, ids, models

MODELS = models("challenger")


def judge_now(project: Project, score: Any) -> Verdict:
    return judge(project.challenge(MODELS), "r", score)


def uses(project: Project, fold: int = 0) -> int:
    return len(project.ledger.past("m").uses_on({project.data.fold_digest(f"sealed_{fold}")}))


def test_a_better_challenger_is_promoted_with_a_whole_record(tmp_path: Path) -> None:
    project = Project(tmp_path)
    verdict = project.judge("a", 200)
    assert verdict.outcome is Outcome.PROMOTE
    assert (verdict.fold, verdict.use, verdict.items) == ("sealed_0", 1, 300)
    assert verdict.alpha == pytest.approx(0.05 / 26)
    assert verdict.method == "accuracy: exact McNemar, one sample per item"
    assert verdict.figures["wins"] == 50
    assert all([verdict.data, verdict.recipe, verdict.code, verdict.evidence, verdict.dev_evidence, verdict.rules])


def test_what_is_shown_before_retirement_depends_on_the_outcome_alone(tmp_path: Path) -> None:
    shown = []
    for number, right in enumerate((151, 40)):
        project = Project(tmp_path / str(number))
        public = project.judge("a", right).public()
        shown.append({k: v for k, v in public.items() if k not in ("evidence", "dev_evidence")})
    assert shown[0] == shown[1]


def test_a_use_is_counted_before_scoring_and_once_a_challenger(tmp_path: Path) -> None:
    project = Project(tmp_path)

    def killed(*_: object) -> None:
        assert uses(project) == 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        judge_now(project, killed)
    assert project.judge("challenger", 150).use == 1
    assert project.judge("other", 150).use == 2
    assert uses(project) == 2


def test_a_ledger_that_was_altered_is_not_judged_by(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 150)
    with project.ledger.transaction() as connection:
        connection.execute(sa.text("UPDATE verdicts SET record = replace(record, 'REJECT', 'PROMOTE')"))
    with pytest.raises(RegistryError, match="the verdict of run run-a"):
        project.judge("b", 200)
    assert (uses(project), project.scorings) == (1, 1)


def test_the_last_use_retires_the_fold_after_its_verdict_is_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path, uses_per_epoch=2)
    project.judge("a", 150)
    assert project.ledger.retired("m") == {}

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(project.ledger, "retire", killed)
        with pytest.raises(KeyboardInterrupt):
            project.judge("b", 150)
    recorded = project.ledger.verdict_of_run("m", "run-b")
    assert recorded is not None
    assert project.judge("b", 150).use == recorded["record"]["use"] == 2
    assert list(project.ledger.retired("m").values()) == ["spent"]


def test_a_gain_that_could_not_be_seen_uses_nothing(tmp_path: Path) -> None:
    project = Project(tmp_path, target_effect=0.01)
    verdict = project.judge("a", 200)
    assert verdict.outcome is Outcome.UNDERPOWERED
    assert "items are needed" in verdict.reasons[0]
    assert (uses(project), project.scorings, verdict.use) == (0, 0, 1)


def test_a_model_against_itself_is_rejected_without_a_use(tmp_path: Path) -> None:
    project = Project(tmp_path)
    assert project.judge("same", 200, incumbent="same").outcome is Outcome.REJECT
    assert (uses(project), project.scorings) == (0, 0)


def test_other_weights_than_those_to_judge_are_invalid(tmp_path: Path) -> None:
    project = Project(tmp_path)
    verdict = judge_now(project, lambda _, __, ___, fold: project.scored(SealedStage, fold.items, 200, 100, "another"))
    assert verdict.outcome is Outcome.INVALID
    assert verdict.figures == {}


def test_a_level_for_each_run_says_what_to_expect(tmp_path: Path) -> None:
    reasons = Project(tmp_path, error_mode="per_run").judge("a", 100).reasons
    assert "about 1 false promotions in 100" in reasons[-1]


def test_the_false_discovery_rate_takes_a_fresh_fold_each_time_and_earns_from_promotions(tmp_path: Path) -> None:
    project = Project(tmp_path, folds=3, error_mode="fdr", target_effect=0.2)
    first = project.judge("a", 200)
    assert (first.fold, first.outcome) == ("sealed_0", Outcome.PROMOTE)
    assert is_last_use(first, project.context.recipe.gate.rules)
    second = project.judge("b", 150)
    assert second.fold == "sealed_1"
    assert second.alpha == pytest.approx(0.0218745, rel=1e-4)  # 1/2 x 0.1 x g(1) after one promotion
    assert [test.rejected for test in past_tests(project.ledger.past("m"), "")] == [True, False]
    assert project.judge("c", 150).fold == "sealed_2"
    assert project.judge("d", 150).outcome is Outcome.INVALID


def test_a_first_champion_must_clear_the_floor(tmp_path: Path) -> None:
    # 170 of 300 right: lower bound at 0.0019 is 0.48
    assert Project(tmp_path / "a", floor=0.5).judge("a", 170, before=100, first=True).outcome is Outcome.REJECT
    assert Project(tmp_path / "b", floor=0.5).judge("a", 170, before=100).outcome is Outcome.PROMOTE


def test_items_are_those_of_the_fold(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.judge("a", 150)
    assert list(project.ledger.items_of_folds("m").values()) == [ids(0, 300)]
