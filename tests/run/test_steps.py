"""The steps of a run: what is taken from the store, what is held while something is made, and what a verdict leads to."""

import re
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock, Timeout

from ratchet.components.errors import ClaimLostError, PausedError, RegistryError, StaleChampionError, UnansweredError
from ratchet.components.gate.plan import Plan
from ratchet.components.ledger import claims
from ratchet.components.ledger.approvals import approve
from ratchet.components.ledger.database import now
from ratchet.components.ledger.leases import promotion_lease
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.project import locks
from ratchet.components.project.locks import Locks
from ratchet.components.records import Outcome
from ratchet.components.run import steps
from ratchet.components.run.outcome import Status
from ratchet.components.run.progress import progress_of
from ratchet.components.run.record import Run
from ratchet.components.stages.results import ChampionStage, DataStage, WarmupStage
from ratchet.components.stages.stage import Context, Stage, finish
from tests.run.runs import FakeTracker, lines_of, make_stages, new_run, stage, tracker_of, verdict


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(steps, "configure_torch", lambda threads: None)
    return new_run(tmp_path)


def never_made(context: Context) -> WarmupStage:
    return finish(context, WarmupStage, "key", lambda _: pytest.fail("made"))


def test_a_stage_in_the_store_is_not_made_again_and_mlflow_is_not_opened(run: Run) -> None:
    stage(run, WarmupStage, {"model/x": "w"}, key="key")
    found = steps.run_stage(run, Stage.WARMUP, never_made)
    assert found.cached
    assert run.made.stages == [found]
    assert run.run_id is None


def test_a_stage_is_made_in_a_child_run_with_the_machine_and_a_confirmed_claim(tmp_path: Path, run: Run) -> None:
    confirmed: list[str] = []
    run = new_run(tmp_path, confirm=lambda claim: confirmed.append(claim.run))

    def write(path: Path) -> None:
        with pytest.raises(Timeout):
            FileLock(run.project.locks.file("computing")).acquire(timeout=0)
        assert confirmed == [run.identity]
        (path / "x").write_text("made", encoding="utf-8")

    found = steps.run_stage(run, Stage.WARMUP, lambda context: finish(context, WarmupStage, "key", write))
    assert not found.cached
    run.open()
    assert tracker_of(run).status == {"run0/warmup": "FINISHED"}
    assert lines_of(run) == ["warmup made"]


def test_a_run_that_is_to_end_begins_no_stage_and_takes_finished_ones(run: Run) -> None:
    run.claim.stop_asked_by = "ann"
    with pytest.raises(PausedError, match="ann asked"):
        steps.run_stage(run, Stage.WARMUP, never_made)
    assert (run.run_id, tracker_of(run).status) == (None, {})
    stage(run, WarmupStage, {"model/x": "w"}, key="key")
    assert steps.run_stage(run, Stage.WARMUP, never_made).cached


def test_a_run_that_waits_for_the_machine_ends_when_it_is_asked_to(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "POLL_SECONDS", 0.01)
    with run.project.locks.computing():
        run.claim.stop_asked_by = "ann"
        with pytest.raises(PausedError), Locks(run.project.home.locks).computing(run.check_pause):
            pytest.fail("it has no machine")


def test_data_are_prepared_without_the_machine_and_without_mlflow(run: Run) -> None:
    def write(path: Path) -> None:
        FileLock(run.project.locks.file("computing")).acquire(timeout=0).lock.release()
        (path / "x").write_text("rows", encoding="utf-8")

    run.project.home.locks.mkdir(parents=True)
    steps.run_stage(run, Stage.DATA, lambda context: finish(context, DataStage, "key", write))
    assert run.run_id is None


def test_a_run_that_lost_its_claim_while_it_waited_computes_nothing(tmp_path: Path, run: Run) -> None:
    def lost(claim: claims.Claim) -> None:
        raise ClaimLostError("taken over")

    run = new_run(tmp_path, confirm=lost)
    with pytest.raises(ClaimLostError):
        steps.run_stage(run, Stage.WARMUP, never_made)
    assert run.made.stages == []


def test_a_damaged_stage_is_made_again(run: Run) -> None:
    made = stage(run, WarmupStage, {"model/x": "w"}, key="key")
    (made.path / "model" / "x").write_text("v", encoding="utf-8")

    def write(path: Path) -> None:
        (path / "x").write_text("again", encoding="utf-8")

    assert not steps.run_stage(run, Stage.WARMUP, lambda context: finish(context, WarmupStage, "key", write)).cached


def test_each_step_keeps_what_it_made(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    make_stages(run)
    data, gold, start, reward, candidate, dev = made = tuple(run.made.stages)
    new = new_run(run.project.home.project)
    for module, name, result in [
        (steps.data_stage, "prepare_data", data),
        (steps.gold_stage, "validated_gold", gold),
        (steps.warmup_stage, "starting_policy", start),
        (steps.reward_stage, "validated_reward", reward),
        (steps.train_stage, "trained_candidate", candidate),
        (steps.evaluate_stage, "dev_evaluation", dev),
    ]:
        monkeypatch.setattr(module, name, lambda *_, result=result: result)
    assert steps.prepare_data(new) is new.made.data is data
    assert steps.validate_gold(new, data) is new.made.gold is gold  # type: ignore[arg-type]
    assert steps.warm_up(new, data) is start  # type: ignore[arg-type]
    assert steps.validate_reward(new, data, start, gold) is new.made.reward is reward  # type: ignore[arg-type]
    assert steps.train(new, data, start, reward) is new.made.candidate is candidate  # type: ignore[arg-type]
    assert steps.evaluate(new, data, object()) is new.made.dev is dev  # type: ignore[arg-type]
    assert tuple(new.made.stages) == made


# The champion


def promote(run: Run, version: str, by: Any = "gate", run_id: str = "other") -> None:
    history = run.ledger.history("micro")
    previous = history[-1].version if history else None
    row = Promotion(len(history) + 1, version, previous, f"weights {version}", by, f"verdict {version}", None, run_id, now())
    with promotion_lease(run.ledger, "micro") as token:
        run.ledger.promote("micro", row, token=token)
    tracker_of(run).set_alias("micro", "champion", version)


def test_before_the_first_promotion_there_is_no_incumbent(run: Run) -> None:
    assert steps.incumbent_of(run) is None


def test_the_incumbent_is_the_champion(run: Run) -> None:
    promote(run, "1")
    incumbent = steps.incumbent_of(run)
    assert incumbent is not None
    assert incumbent.version == "1"


def test_a_run_whose_ledger_was_lost_ends_before_it_trains(run: Run) -> None:
    tracker_of(run).set_alias("micro", "champion", "1")
    with pytest.raises(RegistryError, match="names version 1 of micro as champion, but the ledger has no promotion"):
        steps.incumbent_of(run)


def test_a_run_that_was_killed_after_its_promotion_is_judged_against_the_champion_before_it(run: Run) -> None:
    run.ledger.begin_run(run.identity, "micro", "mine")
    promote(run, "1")
    promote(run, "2", run_id="mine")
    incumbent = steps.incumbent_of(run)
    assert incumbent is not None
    assert incumbent.version == "1"


def test_a_champion_that_a_person_made_is_the_incumbent_even_of_its_own_run(run: Run) -> None:
    run.ledger.begin_run(run.identity, "micro", "mine")
    promote(run, "1", by="override", run_id="mine")
    incumbent = steps.incumbent_of(run)
    assert incumbent is not None
    assert incumbent.version == "1"


def test_faults_a_dry_run_reads_the_champion_and_completes_no_promotion(tmp_path: Path, run: Run) -> None:
    promote(run, "1")
    promote(run, "2")
    tracker_of(run).set_alias("micro", "champion", "1")  # killed before the alias followed
    dry = new_run(tmp_path, recorded=False)
    incumbent = steps.incumbent_of(dry)
    assert incumbent is not None
    assert incumbent.version == "2"
    assert tracker_of(dry).aliases == {}
    assert steps.incumbent_of(run) == incumbent
    assert tracker_of(run).aliases["champion"] == "2"


@pytest.mark.parametrize(("left", "trains", "refused"), [(False, True, True), (False, False, False), (True, True, False)])
def test_faults_only_training_that_no_fold_could_judge_is_refused(
    run: Run, monkeypatch: pytest.MonkeyPatch, left: bool, trains: bool, refused: bool
) -> None:
    make_stages(run)
    assert run.made.data is not None
    refusal = Plan(None, {}, refusal=(Outcome.INVALID, "no sealed fold is left"))
    monkeypatch.setattr(steps, "plan_before_training", lambda *_: None if left else refusal)
    monkeypatch.setattr(steps, "has_to_train", lambda *_: trains)
    assert (steps.refused_before_training(run, run.made.data, None) is refusal) is refused


def test_the_champion_is_fetched_once_per_run(run: Run) -> None:
    made = stage(run, ChampionStage, {"model/model.safetensors": "w"})
    promotion = Promotion(1, "1", None, made.policy_digest, "gate", "v", None, "other", now())
    assert steps.fetched(run, promotion) is None
    run.add(made)
    assert steps.fetched(run, promotion) is made
    assert steps.fetched(run, replace(promotion, weights="another")) is None


def away(*_: object) -> None:
    raise ConnectionError("refused")


def moved(*_: object) -> None:
    raise RegistryError("moved by hand")


def test_faults_a_run_begins_while_mlflow_is_away_with_the_champion_of_the_ledger(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    promote(run, "1")
    monkeypatch.setattr(FakeTracker, "alias", away)
    incumbent = steps.incumbent_of(run)
    assert incumbent is not None and incumbent.version == "1"
    monkeypatch.setattr(FakeTracker, "alias", moved)
    with pytest.raises(RegistryError, match="moved by hand"):
        steps.incumbent_of(run)


def test_a_champion_that_the_store_has_needs_no_mlflow_and_another_is_waited_for(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RATCHET_MLFLOW_SECONDS", "0")
    monkeypatch.setattr(FakeTracker, "download", away, raising=False)
    made = stage(run, ChampionStage, {"model/model.safetensors": "w"})
    promotion = Promotion(1, "1", None, made.policy_digest, "gate", "v", None, "other", now())
    with pytest.raises(UnansweredError):
        steps.fetch_champion(run, promotion)
    with FileLock(run.project.locks.file("computing"), timeout=0):
        pass  # whoever waits does not hold the machine
    stage(run, ChampionStage, {"model/model.safetensors": "w"}, key=made.policy_digest[:32])
    assert steps.fetch_champion(run, promotion).policy_digest == made.policy_digest


def test_faults_a_champion_of_an_earlier_release_gets_its_digest_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = stage(run, ChampionStage, {"model/model.safetensors": "w", "model/config.json": {}})
    monkeypatch.setattr(steps, "run_stage", lambda *_: made)
    row = Promotion(1, "7", None, made.weights, "gate", "v", None, "other", now())
    with promotion_lease(run.ledger, "micro") as token:
        run.ledger.promote("micro", row, token=token)
    monkeypatch.setattr(run, "recorded", False)
    assert steps.fetch_champion(run, row) is made
    assert tracker_of(run).tagged == {}  # a dry run records nothing
    monkeypatch.setattr(run, "recorded", True)
    steps.fetch_champion(run, row)
    assert tracker_of(run).tagged["version 7"] == {"policy_sha256": made.policy_digest}
    champion = run.ledger.champion("micro")
    assert champion is not None
    assert (champion.weights, champion.version) == (made.policy_digest, "7")
    run.add(made)
    assert steps.fetched(run, row) is steps.fetched(run, champion) is made


# Approval


class Clock:
    """Sleeping moves the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.naps = 0

    def time(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        self.naps += 1


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run whose verdict waits for a person for at most 4 seconds."""
    run = new_run(tmp_path, "gate.rules.approval=required", f"gate.rules.approval_hours={4 / 3600}")
    monkeypatch.setattr(run.ledger, "clock", Clock())
    found = verdict(Outcome.PROMOTE)
    run.ledger.record_verdict("micro", found.as_json(), found.digest, "run9")
    return run


def test_without_the_rule_nobody_is_asked(run: Run) -> None:
    assert steps.await_approval(run, verdict(Outcome.PROMOTE)) is None


def test_an_approval_that_does_not_come_is_a_remark(waiting: Run) -> None:
    said = steps.await_approval(waiting, verdict(Outcome.PROMOTE))
    assert said is not None
    assert said.startswith("not approved in time; `ratchet approve run9`")
    assert waiting.ledger.clock.naps == 2  # type: ignore[attr-defined]
    progress = progress_of(waiting.project.home, waiting.identity)
    assert progress is not None
    found = re.fullmatch(r"waits for approval until (.+) UTC: `ratchet approve run9`", progress.note)
    assert progress.stage == "approval"
    assert found is not None
    until = datetime.strptime(found[1], "%Y-%m-%d %H:%M").replace(tzinfo=UTC)  # in four seconds, without the seconds
    assert abs((datetime.now(UTC) - until).total_seconds()) < 120


def test_an_approval_that_comes_meanwhile_ends_the_wait(waiting: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([None, None, "ada"])
    monkeypatch.setattr(steps, "approved", lambda *_: next(answers))
    assert steps.await_approval(waiting, verdict(Outcome.PROMOTE)) is None
    assert waiting.ledger.clock.naps == 1  # type: ignore[attr-defined]


def test_the_promotion_names_who_approved_its_verdict(run: Run) -> None:
    found = verdict(Outcome.PROMOTE, rules="rules", fold_digest="fold")
    run.ledger.record_verdict("micro", found.as_json(), found.digest, "run9")
    approve(run.ledger, "micro", "run9", "ada", "rules", None)
    assert steps.move_champion(run, "1", found, expected=0) is None
    assert [row.decided for row in run.ledger.history("micro")] == ["gate (approved by ada)"]


def test_another_champion_voids_the_verdict_that_waits(waiting: Run) -> None:
    promote(waiting, "7", by="override")
    with pytest.raises(StaleChampionError):
        steps.await_approval(waiting, verdict(Outcome.PROMOTE))


def test_a_run_that_is_taken_over_while_it_waits_ends(waiting: Run) -> None:
    claims.acquired(waiting.ledger, waiting.identity, "here", lambda *_: None)
    with pytest.raises(ClaimLostError):
        waiting.confirm()
    with pytest.raises(ClaimLostError):
        steps.await_approval(waiting, verdict(Outcome.PROMOTE))


# What a verdict leads to


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome.PROMOTE, Status.PROMOTED),
        (Outcome.REJECT, Status.REFUSED),
        (Outcome.UNDERPOWERED, Status.REFUSED),
        (Outcome.INVALID, Status.INVALID),
        (Outcome.ERROR, Status.ERROR),
    ],
)
def test_a_run_that_carries_its_verdict_out_ends_as_the_verdict_says(outcome: Outcome, status: Status) -> None:
    ending = steps.ending_of(verdict(outcome), promotes=True, previous="1")
    assert (ending.status, ending.previous, list(ending.reasons), ending.remark) == (status, "1", ["a reason"], None)


def test_a_verdict_to_promote_is_left_to_a_run_where_only_the_gate_was_asked() -> None:
    ending = steps.ending_of(verdict(Outcome.PROMOTE), promotes=False, previous=None)
    assert (ending.status, list(ending.reasons)) == (Status.FINISHED, [steps.LEFT_TO_RUN])
    assert steps.ending_of(verdict(Outcome.REJECT), promotes=False, previous=None).status is Status.REFUSED


def test_a_promotion_that_nobody_approved_is_a_refusal_with_a_remark() -> None:
    ending = steps.ending_of(verdict(Outcome.PROMOTE), promotes=True, previous="1", remark="not approved in time")
    assert (ending.status, ending.remark) == (Status.REFUSED, "not approved in time")
    assert list(ending.reasons) == ["a reason", "not approved in time"]
