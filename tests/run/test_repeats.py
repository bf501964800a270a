"""When a candidate counts as judged."""

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from ratchet.components.gate.plan import rules_digest
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Ledger, Promotion
from ratchet.components.recipe import Gate, Recipe, load_recipe
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run import repeats
from ratchet.components.run.outcome import Status
from ratchet.components.run.record import Run
from ratchet.components.run.repeats import (
    FinishedStages,
    finished_stages,
    has_to_train,
    repeated_run,
    standing_verdict,
    unchanged_candidate,
    unchanged_run,
    verdict_of_this_run,
)
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import NotFinished, Stage
from tests.places import MICRO
from tests.run.runs import CHECK, lines_of, make_stages, new_run, tracker_of

RECIPE = load_recipe(MICRO)


@pytest.fixture
def ledger() -> Ledger:
    return Ledger("sqlite:///:memory:")


def record(ledger: Ledger, outcome: Outcome, incumbent: str = "start", recipe: Recipe = RECIPE) -> Verdict:
    verdict = Verdict(outcome, ["reason"], "candidate", incumbent, rules_digest(recipe))
    ledger.record_verdict(RECIPE.name, verdict.as_json(), verdict.digest, "run")
    return verdict


def promote(ledger: Ledger, weights: str, verdict: str | None) -> None:
    number = len(ledger.history(RECIPE.name))
    row = Promotion(number + 1, weights, None, weights, "gate", verdict, None, "run", now())
    with promotion_lease(ledger, RECIPE.name) as token:
        ledger.promote(RECIPE.name, row, token=token)


def test_a_candidate_that_was_never_judged_has_no_verdict(ledger: Ledger) -> None:
    assert standing_verdict(ledger, RECIPE, "candidate", "start") is None


@pytest.mark.parametrize("outcome", [Outcome.REJECT, Outcome.UNDERPOWERED])
def test_a_refusal_against_todays_incumbent_stands(ledger: Ledger, outcome: Outcome) -> None:
    verdict = record(ledger, outcome)
    assert standing_verdict(ledger, RECIPE, "candidate", "start").verdict == verdict  # type: ignore[union-attr]


def test_a_refusal_against_another_incumbent_does_not_stand(ledger: Ledger) -> None:
    record(ledger, Outcome.REJECT)
    promote(ledger, "other", "v")
    assert standing_verdict(ledger, RECIPE, "candidate", "start") is None


def test_a_refusal_by_other_rules_does_not_stand(ledger: Ledger) -> None:
    rules = RECIPE.gate.rules.model_copy(update={"target_effect": 0.01})
    record(ledger, Outcome.UNDERPOWERED, recipe=RECIPE.model_copy(update={"gate": Gate(rules=rules)}))
    assert standing_verdict(ledger, RECIPE, "candidate", "start") is None


@pytest.mark.parametrize("outcome", [Outcome.INVALID, Outcome.ERROR])
def test_what_could_not_be_judged_may_be_judged_again(ledger: Ledger, outcome: Outcome) -> None:
    record(ledger, outcome)
    assert standing_verdict(ledger, RECIPE, "candidate", "start") is None


def test_a_verdict_to_promote_stands_only_once_it_was_carried_out(ledger: Ledger) -> None:
    verdict = record(ledger, Outcome.PROMOTE)
    assert standing_verdict(ledger, RECIPE, "candidate", "start") is None
    promote(ledger, "candidate", verdict.digest)
    assert standing_verdict(ledger, RECIPE, "candidate", "start").verdict == verdict  # type: ignore[union-attr]


def test_a_candidate_that_was_rolled_back_is_not_promoted_again(ledger: Ledger) -> None:
    promote(ledger, "old", None)
    verdict = record(ledger, Outcome.PROMOTE, incumbent="old")
    promote(ledger, "candidate", verdict.digest)
    promote(ledger, "old", None)  # the rollback
    assert standing_verdict(ledger, RECIPE, "candidate", "start").verdict == verdict  # type: ignore[union-attr]


def test_a_champion_without_a_verdict_counts_as_judged(ledger: Ledger) -> None:
    promote(ledger, "candidate", None)
    found = standing_verdict(ledger, RECIPE, "candidate", "start")
    assert found is not None
    assert (found.verdict, found.run_id) == (None, "run")


# The run


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run all of whose stages are finished."""
    found = new_run(tmp_path)
    make_stages(found)
    made, found.made = found.made, type(found.made)()
    data, gold, start, reward, candidate = made.stages[:5]
    for name, stage in [
        ("prepare_data", data), ("validated_gold", gold), ("starting_policy", start), ("validated_reward", reward),
        ("trained_candidate", candidate),
    ]:  # fmt: skip
        monkeypatch.setattr(repeats, name, lambda *_, stage=stage: stage)
    return found


def stages_of(run: Run) -> FinishedStages:
    found = finished_stages(run.context)
    assert found is not None
    return found


def judged(run: Run, outcome: Outcome, run_id: str = "before") -> Models:
    """The candidate's verdict is in the ledger."""
    found = stages_of(run)
    models = Models(found.candidate, found.start, found.start)
    verdict = Verdict(outcome, ["reason"], found.candidate.policy_digest, found.start.policy_digest, rules_digest(run.recipe))
    run.ledger.record_verdict("micro", verdict.as_json(), verdict.digest, run_id)
    return models


def test_faults_the_same_weights_with_another_template_are_another_candidate(run: Run) -> None:
    found = stages_of(run)
    judged(run, Outcome.REJECT)
    assert unchanged_run(run) is not None
    (found.candidate.model / "chat_template.jinja").write_text("{{ messages }}", encoding="utf-8")
    files = {**found.candidate.files, "model/chat_template.jinja": "t" * 64}
    other = replace(found.candidate, finished=replace(found.candidate.finished, facts={"files": files}))
    assert other.weights == found.candidate.weights
    assert standing_verdict(run.ledger, run.recipe, other.policy_digest, found.start.policy_digest) is None


def test_a_run_whose_candidate_was_judged_is_unchanged_and_does_not_touch_mlflow(run: Run) -> None:
    judged(run, Outcome.REJECT)
    run.project.home.reports.mkdir(parents=True)
    (run.project.home.reports / "before.html").write_text("report", encoding="utf-8")
    result = unchanged_run(run)
    assert result is not None
    assert (result.status, result.verdict, result.run_id) == (Status.UNCHANGED, Outcome.REJECT, "before")
    assert result.report is not None
    assert result.report.endswith("before.html")
    assert [stage["name"] for stage in result.stages] == ["data", "gold", "warmup", "reward", "train"]
    assert len(lines_of(run)) == 5
    assert (run.run_id, tracker_of(run).opened) == (None, [])


def test_an_unchanged_run_names_the_version_that_was_judged_and_the_champion_it_was_judged_against(run: Run) -> None:
    promote(run.ledger, "1", None)  # version 1; its policy's digest here is its version
    found = stages_of(run)
    verdict = Verdict(Outcome.REJECT, ["reason"], found.candidate.policy_digest, "1", rules_digest(run.recipe))
    run.ledger.begin_run("other", "micro", "before")
    run.ledger.record_verdict("micro", verdict.as_json(), verdict.digest, "before")
    run.ledger.finish_run("other", {"status": "refused", "version": "7", "previous": "1", "stages": []})
    result = unchanged_run(run)
    assert result is not None
    assert (result.verdict, result.version, result.previous) == (Outcome.REJECT, "7", "1")


def test_a_run_whose_candidate_was_not_judged_goes_on(run: Run) -> None:
    assert unchanged_run(run) is None
    assert run.made.stages == []


def test_a_run_that_was_killed_has_something_to_finish(run: Run) -> None:
    judged(run, Outcome.REJECT)
    run.ledger.begin_run(run.identity, "micro", "killed")
    assert repeated_run(run, None) is None


def test_a_run_that_stops_early_is_not_unchanged(run: Run) -> None:
    judged(run, Outcome.REJECT)
    assert repeated_run(run, Stage.TRAIN) is None
    assert repeated_run(run, None) is not None


def refuse_reward(run: Run, **result: object) -> None:
    """The reward is refused, as an earlier run found that ended with ``result``."""
    reward = stages_of(run).reward
    reward.__dict__["report"] = replace(reward.report, passed=False, failed=["range", "length"])
    run.ledger.begin_run("other", "micro", "before")
    stages = [{"name": "data", "key": "key"}, {"name": "reward", "key": reward.key}]
    run.ledger.finish_run("other", {"status": "reward_refused", "stages": stages, **result})


@pytest.mark.parametrize("until", [None, Stage.REWARD, Stage.TRAIN, Stage.GATE])
def test_faults_a_run_whose_reward_was_refused_before_ends_with_that_runs_report(run: Run, until: Stage | None) -> None:
    refuse_reward(run)
    run.project.home.reports.mkdir(parents=True)
    (run.project.home.reports / "before.html").write_text("report", encoding="utf-8")
    result = repeated_run(run, until)
    assert result is not None
    assert (result.status, result.failed_checks, result.run_id) == (Status.REWARD_REFUSED, ["range", "length"], "before")
    assert str(result.report).endswith("before.html")
    assert [stage["name"] for stage in result.stages] == ["data", "gold", "warmup", "reward"]
    assert (run.run_id, tracker_of(run).opened) == (None, [])


def refuse_gold(run: Run) -> None:
    gold = stages_of(run).gold
    gold.__dict__["_report"] = {"checks": [asdict(replace(CHECK, passed=False))], "mutation_score": None}
    run.ledger.begin_run("other", "micro", "before")
    stages = [{"name": "data", "key": "key"}, {"name": "gold", "key": gold.key}]
    run.ledger.finish_run("other", {"status": "reward_refused", "stages": stages})


def test_faults_a_run_whose_gold_was_refused_before_looks_for_no_policy(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_gold(run)
    monkeypatch.setattr(repeats, "starting_policy", lambda *_: pytest.fail("looked up"))
    result = repeated_run(run, None)
    assert result is not None
    assert (result.status, result.failed_checks, result.run_id) == (Status.REWARD_REFUSED, ["gold_references"], "before")
    assert [stage["name"] for stage in result.stages] == ["data", "gold"]
    assert not has_to_train(run.context, run.made.data, None)  # type: ignore[arg-type]


def test_a_gold_whose_failure_is_waived_by_now_is_no_repetition(run: Run) -> None:
    refuse_gold(run)
    run.project.recipe = load_recipe(MICRO, ["reward.validation.waive.gold_references=labels are noisy"])
    run.context = replace(run.context, recipe=run.project.recipe)
    assert repeated_run(run, None) is None


def test_a_refusal_is_looked_for_beside_the_champions_policy_where_training_starts_from_it(
    run: Run,
) -> None:
    refuse_reward(run)
    run.project.recipe = load_recipe(MICRO, ["policy.start=champion"])
    run.context = replace(run.context, recipe=run.project.recipe)
    assert repeated_run(run, None) is not None  # there is no champion yet
    promote(run.ledger, "w" * 64, None)
    assert repeated_run(run, None) is None  # its policy was never fetched


@pytest.mark.parametrize(
    "result",
    [
        {"status": "promoted"},  # another run with this reward, which passed at the time
        {"stages": [{"name": "reward", "key": "other"}, {"name": "train", "key": "key"}]},
    ],
)
def test_a_refusal_that_no_earlier_run_ended_with_is_not_repeated(run: Run, result: dict[str, object]) -> None:
    refuse_reward(run, **result)
    assert repeated_run(run, None) is None


def test_a_reward_that_passed_refuses_nothing(run: Run) -> None:
    refuse_reward(run)
    del stages_of(run).reward.__dict__["report"]
    assert repeated_run(run, Stage.TRAIN) is None


def test_data_are_prepared_whatever_the_reward(run: Run) -> None:
    refuse_reward(run)
    assert repeated_run(run, Stage.DATA) is None


def test_a_run_that_starts_from_the_champion_always_trains(tmp_path: Path) -> None:
    assert finished_stages(new_run(tmp_path, "policy.start=champion").context) is None


def test_a_run_with_a_finished_candidate_has_nothing_to_train(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stages_of(run)
    assert not has_to_train(run.context, found.data, None)
    monkeypatch.setattr(repeats, "starting_policy", lambda *_: pytest.fail("looked up"))
    assert not has_to_train(run.context, found.data, found.start)  # the champion


def test_a_run_with_an_unfinished_candidate_has_to_train_unless_its_reward_was_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfinished(*_: object) -> None:
        raise NotFinished("train")

    found = stages_of(run)
    monkeypatch.setattr(repeats, "trained_candidate", unfinished)
    assert has_to_train(run.context, found.data, None)
    found.reward.__dict__["report"] = replace(found.reward.report, passed=False)
    assert not has_to_train(run.context, found.data, None)


def test_nothing_is_computed_to_find_out(tmp_path: Path) -> None:
    assert finished_stages(new_run(tmp_path).context) is None


def test_a_candidate_that_was_judged_in_another_run_closes_this_one(run: Run) -> None:
    models = judged(run, Outcome.REJECT)
    run.open()
    result = unchanged_candidate(run, stages_of(run).data, models)
    assert result is not None
    assert result.run_id == "before"
    run.figures.send()
    assert tracker_of(run).status == {"run0": "FINISHED"}
    assert run.ledger.open_run(run.identity) is None


def test_a_verdict_counts_as_this_runs_only_if_this_run_reached_it(run: Run) -> None:
    models = judged(run, Outcome.REJECT, run_id="mine")
    assert verdict_of_this_run(run, models) is None
    run.ledger.begin_run(run.identity, "micro", "mine")
    found = verdict_of_this_run(run, models)
    assert found is not None
    assert found.outcome is Outcome.REJECT
