"""The story's turns, with steps that are told what to say: no Prefect, no training."""

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ratchet.components.errors import RecipeError, StaleChampionError
from ratchet.components.gate.plan import Plan
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run import steps
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Run
from ratchet.components.run.told import KEPT
from ratchet.components.stages.stage import Stage
from ratchet.flows import finetune as story
from ratchet.flows import running
from tests.run.runs import CHECK, make_stages, new_run, verdict

CHAMPION = Promotion(4, "7", "6", "weights", "gate", "v", None, "other", "then")


class Steps:
    """Tasks that note that they ran and give what a finished run made."""

    def __init__(self, run: Run, decided: Verdict) -> None:
        make_stages(run)
        self.made, run.made = run.made, type(run.made)()
        self.ran: list[str] = []
        self.decided = decided
        self.approval: list[str | Exception | None] = [None]
        self.run = run

    def _give(self, name: str, kept: str | None = None) -> Any:
        self.ran.append(name)
        if kept is None:
            return next(s for s in self.made.stages if s.name == name)
        setattr(self.run.made, kept, getattr(self.made, kept))
        return getattr(self.made, kept)

    def prepare_data(self, run: Run) -> Any:
        return self._give("data", "data")

    def warm_up(self, run: Run, data: Any) -> Any:
        return self._give("warmup")

    def fetch_champion(self, run: Run, champion: Promotion) -> Any:
        self.ran.append("champion")
        return next(s for s in self.made.stages if s.name == "warmup")

    def validate_gold(self, run: Run, data: Any) -> Any:
        return self._give("gold", "gold")

    def validate_reward(self, run: Run, data: Any, start: Any, gold: Any) -> Any:
        return self._give("reward", "reward")

    def train(self, run: Run, data: Any, start: Any, reward: Any) -> Any:
        return self._give("train", "candidate")

    def evaluate(self, run: Run, data: Any, models: Any) -> Any:
        return self._give("evaluate", "dev")

    def register(self, run: Run, data: Any, candidate: Any) -> str:
        self.ran.append("register")
        run.made.version = "8"
        return "8"

    def gate(self, run: Run, data: Any, dev: Any, models: Any, first_champion: bool) -> Verdict:
        self.ran.append("gate, first" if first_champion else "gate")
        return self.decided

    def await_approval(self, run: Run, decided: Verdict) -> str | None:
        self.ran.append("approval")
        answer = self.approval.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def move_champion(self, run: Run, version: str, decided: Verdict, expected: int) -> str | None:
        self.ran.append(f"promote {version} after {expected}")
        return "7"

    def publish(self, run: Run) -> str:
        assert run.ending is not None
        self.ran.append(f"publish {run.ending.status}")
        return "report.html"


Tell = Callable[..., tuple[RunResult, Steps]]


@pytest.fixture
def tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tell:
    def call(
        outcome: Outcome = Outcome.REJECT,
        until: Stage | None = None,
        champion: Promotion | None = None,
        change: Callable[[Steps], None] = lambda _: None,
        *overrides: str,
        refusal: Plan | None = None,
    ) -> tuple[RunResult, Steps]:
        run = new_run(tmp_path, *overrides, recorded=until is not Stage.PLAN)
        fake = Steps(run, verdict(outcome))
        change(fake)
        monkeypatch.setattr(story, "tasks", fake)
        monkeypatch.setattr(steps, "incumbent_of", lambda _: champion)
        monkeypatch.setattr(steps, "refused_before_training", lambda *_: refusal)
        return story.tell(run, until), fake

    return call


UP_TO_CANDIDATE = ["data", "gold", "warmup", "reward", "train"]


def test_a_first_champion_is_promoted_at_the_end_of_the_whole_story(tell: Tell) -> None:
    result, fake = tell(Outcome.PROMOTE)
    assert fake.ran == [
        *UP_TO_CANDIDATE, "evaluate", "register", "gate, first", "approval", "promote 8 after 0", "publish promoted",
    ]  # fmt: skip
    assert (result.status, result.version, result.previous, result.report) == (Status.PROMOTED, "8", "7", "report.html")


def test_a_refusal_names_the_champion_that_stays(tell: Tell) -> None:
    result, fake = tell(champion=CHAMPION)
    assert fake.ran == [*UP_TO_CANDIDATE, "champion", "evaluate", "register", "gate", "publish refused"]
    assert (result.status, result.verdict, result.previous) == (Status.REFUSED, Outcome.REJECT, "7")


@pytest.mark.parametrize(
    ("until", "ran"),
    [
        (Stage.DATA, ["data"]),
        (Stage.REWARD, ["data", "gold", "warmup", "reward", "publish finished"]),
        (Stage.TRAIN, [*UP_TO_CANDIDATE, "publish finished"]),
        (Stage.EVALUATE, [*UP_TO_CANDIDATE, "evaluate", "publish finished"]),
        (Stage.GATE, [*UP_TO_CANDIDATE, "evaluate", "register", "gate, first", "publish finished"]),
    ],
)
def test_a_run_stops_after_the_stage_that_was_asked_for(tell: Tell, until: Stage, ran: list[str]) -> None:
    result, fake = tell(Outcome.PROMOTE, until)
    assert fake.ran == ran
    assert result.status is Status.FINISHED


def refuse_reward(fake: Steps) -> None:
    assert fake.made.reward is not None
    report = replace(fake.made.reward.report, passed=False, failed=["range"])
    fake.made.reward.__dict__["report"] = report


def test_a_refused_reward_ends_the_run_before_training(tell: Tell) -> None:
    result, fake = tell(change=refuse_reward)
    assert fake.ran == ["data", "gold", "warmup", "reward", "publish reward_refused"]
    assert (result.status, result.failed_checks) == (Status.REWARD_REFUSED, ["range"])


def refuse_gold(fake: Steps) -> None:
    assert fake.made.gold is not None
    check = replace(CHECK, value=0.5, passed=False)
    fake.made.gold.__dict__["_report"] = {"checks": [asdict(check)], "mutation_score": 0.75}


def test_a_refused_gold_ends_the_run_before_the_warm_up(tell: Tell) -> None:
    result, fake = tell(change=refuse_gold)
    assert fake.ran == ["data", "gold", "publish reward_refused"]
    assert (result.status, result.failed_checks) == (Status.REWARD_REFUSED, ["gold_references"])


def test_a_gold_whose_failure_the_recipe_waives_is_used(tell: Tell) -> None:
    waive = "reward.validation.waive.gold_references=labels are noisy"
    _, fake = tell(Outcome.REJECT, None, None, refuse_gold, waive)
    assert fake.ran[:3] == ["data", "gold", "warmup"]


def test_a_training_that_never_was_finite_is_not_judged(tell: Tell) -> None:
    def stopped(fake: Steps) -> None:
        assert fake.made.candidate is not None
        facts = replace(fake.made.candidate.facts, stopped="nonfinite")
        fake.made.candidate.__dict__["facts"] = facts

    result, fake = tell(change=stopped)
    assert fake.ran[-1] == "publish stopped"
    assert "evaluate" not in fake.ran
    assert result.status is Status.STOPPED


def test_training_may_start_from_the_champion(tell: Tell) -> None:
    _, fake = tell(Outcome.REJECT, None, CHAMPION, lambda _: None, "policy.start=champion")
    assert fake.ran[:4] == ["data", "champion", "gold", "reward"]
    assert "warmup" not in fake.ran


def test_a_promotion_that_nobody_approves_is_a_refusal(tell: Tell) -> None:
    result, fake = tell(Outcome.PROMOTE, None, CHAMPION, lambda fake: setattr(fake, "approval", ["not approved in time"]))
    assert fake.ran[-2:] == ["approval", "publish refused"]
    assert (result.status, result.verdict, result.previous) == (Status.REFUSED, Outcome.PROMOTE, "7")
    assert list(result.reasons) == ["a reason", "not approved in time"]


def test_a_challenger_whose_champion_changed_is_judged_again(tell: Tell) -> None:
    def stale(fake: Steps) -> None:
        fake.approval = [StaleChampionError("micro"), None]

    result, fake = tell(Outcome.PROMOTE, None, CHAMPION, stale)
    assert fake.ran.count("gate") == 2
    assert fake.ran[-2:] == ["promote 8 after 4", "publish promoted"]
    assert result.status is Status.PROMOTED


def test_a_challenger_is_not_judged_for_ever(tell: Tell) -> None:
    counted: list[Steps] = []

    def stale(fake: Steps) -> None:
        counted.append(fake)
        fake.approval = [StaleChampionError("micro") for _ in range(10)]

    with pytest.raises(StaleChampionError):
        tell(Outcome.PROMOTE, None, CHAMPION, stale)
    assert counted[0].ran.count("gate") == story.ROUNDS


def test_faults_a_dry_run_says_what_the_gate_would_do_and_leaves_nothing(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = SimpleNamespace(said=["no use was counted"], as_json=lambda: {"fold": "sealed_0"})
    monkeypatch.setattr(steps, "plan", lambda *_: plan)
    result, fake = tell(until=Stage.PLAN)
    assert fake.ran == [*UP_TO_CANDIDATE, "evaluate"]
    assert (result.gate, list(result.reasons)) == ({"fold": "sealed_0"}, ["no use was counted"])
    assert (result.status, result.run_id, result.report) == (Status.FINISHED, None, None)


def test_faults_a_dry_run_whose_reward_is_refused_leaves_nothing(tell: Tell) -> None:
    result, fake = tell(Outcome.REJECT, Stage.PLAN, None, refuse_reward)
    assert (fake.ran, result.status, result.report) == (["data", "gold", "warmup", "reward"], Status.REWARD_REFUSED, None)


NO_FOLD = Plan(None, {}, refusal=(Outcome.INVALID, "no sealed fold is left. Add data"))


@pytest.mark.parametrize("until", [None, Stage.GATE])
def test_faults_a_run_for_which_no_fold_is_left_ends_before_it_trains(tell: Tell, until: Stage | None) -> None:
    result, fake = tell(Outcome.PROMOTE, until, CHAMPION, refusal=NO_FOLD)
    assert fake.ran == ["data", "publish invalid"]
    assert (result.status, result.verdict, result.previous) == (Status.INVALID, Outcome.INVALID, "7")
    assert list(result.reasons) == ["no sealed fold is left. Add data"]
    assert result.status.exit_code == 5


def test_faults_a_dry_run_for_which_no_fold_is_left_says_so_before_it_trains(tell: Tell) -> None:
    result, fake = tell(Outcome.PROMOTE, Stage.PLAN, refusal=NO_FOLD)
    assert (fake.ran, result.status) == (["data"], Status.FINISHED)
    assert result.gate == {"power": None, "refused": "INVALID", "reason": "no sealed fold is left. Add data"}


@pytest.mark.parametrize("until", [Stage.REWARD, Stage.TRAIN, Stage.EVALUATE])
def test_a_run_that_does_not_ask_the_gate_needs_no_fold(tell: Tell, until: Stage) -> None:
    result, fake = tell(until=until, refusal=NO_FOLD)
    assert (result.status, fake.ran[-1]) == (Status.FINISHED, "publish finished")


def test_a_verdict_that_this_run_reached_before_it_was_killed_is_not_asked_for_again(
    tell: Tell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(story, "verdict_of_this_run", lambda *_: verdict(Outcome.PROMOTE))
    monkeypatch.setattr(story, "unchanged_candidate", lambda *_: pytest.fail("asked"))
    _, fake = tell(Outcome.REJECT)
    assert not [name for name in fake.ran if name.startswith("gate")]
    assert "promote 8 after 0" in fake.ran


def test_a_candidate_that_was_judged_before_is_not_evaluated(tell: Tell, monkeypatch: pytest.MonkeyPatch) -> None:
    known = RunResult(Status.UNCHANGED)
    monkeypatch.setattr(story, "unchanged_candidate", lambda *_: known)
    result, fake = tell()
    assert result is known
    assert fake.ran == UP_TO_CANDIDATE


def kept(fake: Steps) -> None:
    """Training from the champion kept its weights."""
    candidate, (place, start) = fake.made.candidate, next((n, s) for n, s in enumerate(fake.made.stages) if s.name == "warmup")
    assert candidate is not None
    fake.made.stages[place] = replace(start, finished=candidate.finished)


def test_faults_a_night_that_found_nothing_better_than_the_champion_says_so_and_registers_nothing(tell: Tell) -> None:
    result, fake = tell(Outcome.PROMOTE, None, CHAMPION, kept, "policy.start=champion")
    assert fake.ran == ["data", "champion", "gold", "reward", "train", "champion", "publish unchanged"]
    assert (result.status, result.verdict, result.version, result.previous) == (Status.UNCHANGED, None, None, "7")
    assert list(result.reasons) == [KEPT]


@pytest.mark.parametrize(("until", "last"), [(Stage.EVALUATE, "publish finished"), (Stage.PLAN, "evaluate")])
def test_a_run_that_does_not_judge_evaluates_a_candidate_that_was_judged_before(
    tell: Tell, monkeypatch: pytest.MonkeyPatch, until: Stage, last: str
) -> None:
    monkeypatch.setattr(story, "unchanged_candidate", lambda *_: RunResult(Status.UNCHANGED))
    monkeypatch.setattr(steps, "plan", lambda *_: SimpleNamespace(said=[], as_json=dict))
    result, fake = tell(until=until)
    assert (result.status, fake.ran[-1]) == (Status.FINISHED, last)
    assert "evaluate" in fake.ran


def test_a_stage_that_no_run_stops_at_is_named_with_those_it_can() -> None:
    with pytest.raises(RecipeError, match=r"unknown stage 'champion'\. Use one of data, reward, train, evaluate, plan, gate"):
        running.stop_named("champion")
    assert running.stop_named(None) is None
    assert running.stop_named("plan") is Stage.PLAN
