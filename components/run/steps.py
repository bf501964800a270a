"""The steps of a run, without Prefect. Each looks in the store, else takes the lock to compute and calls one function."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from ratchet.components.errors import StaleChampionError
from ratchet.components.gate.items import Trained
from ratchet.components.gate.judge import judge
from ratchet.components.gate.plan import Challenge, Plan, plan_before_training, plan_use
from ratchet.components.ledger.approvals import approved, run_of, void
from ratchet.components.ledger.clock import uptime
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.ledger.promotion import promote, reconcile
from ratchet.components.records import Outcome, Verdict
from ratchet.components.registry.outage import ask, is_outage
from ratchet.components.run.outcome import STATUS_OF_VERDICT, Status
from ratchet.components.run.progress import APPROVAL
from ratchet.components.run.publish import publish_candidate, publish_outcome
from ratchet.components.run.record import Ending, Run
from ratchet.components.run.repeats import has_to_train
from ratchet.components.stages import champion as champion_stage
from ratchet.components.stages import data as data_stage
from ratchet.components.stages import evaluate as evaluate_stage
from ratchet.components.stages import gold as gold_stage
from ratchet.components.stages import reward as reward_stage
from ratchet.components.stages import train as train_stage
from ratchet.components.stages import warmup as warmup_stage
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import ChampionStage, DataStage, GoldStage, PolicyStage, RewardStage, WarmupStage
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import Context, NotFinished, Stage, StageResult
from ratchet.components.stages.train import TrainStage

POLL_SECONDS = 2.0
LONGEST = 24 * 365 * 1000.0  # hours that a calendar has room for
LEFT_TO_RUN = "the gate says PROMOTE; `ratchet run` with this recipe promotes it"

Made = TypeVar("Made", bound=StageResult)


def run_stage(run: Run, stage: Stage, make: Callable[[Context], Made]) -> Made:
    """The finished stage: from the store if it is there, else made while this run has the machine."""
    try:
        result = make(replace(run.context, compute=False))
    except NotFinished:
        run.check_pause()
        if stage is Stage.DATA:  # cheap, and before the run has anything to record in MLflow
            result = make(run.context)
        else:
            with run.child(stage), computing(run):
                result = make(run.context)
    run.add(result)
    return result


def in_store(run: Run, make: Callable[[Context], StageResult]) -> bool:
    """Whether a stage is finished."""
    try:
        make(replace(run.context, compute=False))
    except NotFinished:
        return False
    return True


@contextmanager
def computing(run: Run) -> Iterator[None]:
    """The right to compute, for a run that did not lose its claim while waiting for it."""
    with run.project.locks.computing(run.check_pause):
        run.confirm()
        run.check_pause()
        configure_torch(run.recipe.threads)
        yield


def configure_torch(threads: int) -> None:
    """CPU threads (0 leaves torch's choice), and quiet model loading."""
    import torch
    from transformers.utils import logging

    if threads:
        torch.set_num_threads(threads)
    logging.set_verbosity_error()
    logging.disable_progress_bar()


def prepare_data(run: Run) -> DataStage:
    """Dataset preparation and its version."""
    run.made.data = run_stage(run, Stage.DATA, data_stage.prepare_data)
    return run.made.data


def validate_gold(run: Run, data: DataStage) -> GoldStage:
    """The gold, judged by references and planted wrong answers."""
    run.made.gold = run_stage(run, Stage.GOLD, lambda context: gold_stage.validated_gold(context, data))
    return run.made.gold


def warm_up(run: Run, data: DataStage) -> WarmupStage:
    """The starting policy when ``policy.start`` is ``base``, or before there is a champion."""
    return run_stage(run, Stage.WARMUP, lambda context: warmup_stage.starting_policy(context, data))


def fetch_champion(run: Run, champion: Promotion) -> ChampionStage:
    """The champion's policy, from the registry into the store, verified. One of an earlier release gets its digest recorded."""
    name = run.recipe.name

    def make(context: Context) -> ChampionStage:
        return champion_stage.fetched_policy(
            context, champion.weights, lambda target: run.tracker.download(name, champion.version, target)
        )

    def fetch() -> ChampionStage:
        return run_stage(run, Stage.CHAMPION, make)

    # As a whole, so that it does not hold the machine while it waits for MLflow.
    stage = fetch() if in_store(run, make) else run.insist(fetch)
    if stage.policy_digest != champion.weights and run.recorded:
        run.insist(lambda: run.tracker.identify(name, champion.version, stage.policy_digest))
        run.ledger.identify(name, champion.weights, stage.policy_digest)
    return stage


def fetched(run: Run, champion: Promotion) -> ChampionStage | None:
    """The champion's policy, if this run fetched it before."""
    found = (stage for stage in run.made.stages if isinstance(stage, ChampionStage))
    return next((stage for stage in found if champion.weights in (stage.policy_digest, stage.weights)), None)


def validate_reward(run: Run, data: DataStage, start: PolicyStage, gold: GoldStage) -> RewardStage:
    """Reward-model training and validation."""
    run.made.reward = run_stage(run, Stage.REWARD, lambda context: reward_stage.validated_reward(context, data, start, gold))
    return run.made.reward


def train(run: Run, data: DataStage, start: PolicyStage, reward: RewardStage) -> TrainStage:
    """The RL loop."""
    run.made.candidate = run_stage(
        run, Stage.TRAIN, lambda context: train_stage.trained_candidate(context, data, start, reward)
    )
    return run.made.candidate


def evaluate(run: Run, data: DataStage, models: Models) -> EvaluateStage:
    """Challenger and incumbent on dev."""
    run.made.dev = run_stage(run, Stage.EVALUATE, lambda context: evaluate_stage.dev_evaluation(context, data, models))
    return run.made.dev


def register(run: Run, data: DataStage, candidate: TrainStage) -> str:
    """One registered version for these weights."""
    run.open()
    run.made.version = run.insist(lambda: publish_candidate(run, data, candidate))
    return run.made.version


def refused_before_training(run: Run, data: DataStage, start: PolicyStage | None) -> Plan | None:
    """The gate's refusal that training cannot change: no sealed fold is left. None if there is one, or nothing to train.

    A finished candidate may have a use of its own, and its fold although that is spent: the gate itself decides on it.

    Args:
        start: the champion's policy if training starts from it.
    """
    seen = run.trained_on.at_once(data, Trained())  # a run trains during an outage of MLflow, and the gate asks again
    refusal = plan_before_training(run.context, run.ledger, data, seen)
    return refusal if refusal is not None and has_to_train(run.context, data, start) else None


def plan(run: Run, data: DataStage, dev: EvaluateStage, models: Models, first_champion: bool) -> Plan:
    """What the gate would do; counts no use and reads no sealed item."""
    return plan_use(_challenge(run, data, dev, models, first_champion))


def _challenge(run: Run, data: DataStage, dev: EvaluateStage, models: Models, first_champion: bool) -> Challenge:
    trained = run.insist(lambda: run.trained_on(data, models.start.policy_digest))
    return Challenge(run.context, run.ledger, data, dev, models, trained, first_champion)


def gate(run: Run, data: DataStage, dev: EvaluateStage, models: Models, first_champion: bool) -> Verdict:
    """The verdict, recorded in the ledger before anything acts on it."""
    run.check_pause()
    run_id, challenge = run.open(), _challenge(run, data, dev, models, first_champion)
    with run.child(Stage.GATE), computing(run):
        began = uptime()
        verdict = judge(challenge, run_id)
    seconds = uptime() - began
    run.tell(Stage.GATE, None, False, seconds)
    run.display.finished(Stage.GATE, False, seconds)
    return verdict


def await_approval(run: Run, verdict: Verdict) -> str | None:
    """Wait for an approval, holding nothing that another run needs; returns the reason if there was none.

    Raises:
        StaleChampionError: if the verdict became void meanwhile.
    """
    rules, model, ledger = run.recipe.gate.rules, run.recipe.name, run.ledger
    if rules.approval == "none" or approved(ledger, model, verdict):
        return None
    run_id = run_of(ledger, model, verdict)
    run.project.locks.say(f"waiting for `ratchet approve {run_id}` (at most {rules.approval_hours:g} h)")
    deadline = ledger.clock.time() + 3600 * rules.approval_hours
    until = datetime.now(UTC) + timedelta(hours=min(rules.approval_hours, LONGEST))
    told = f"waits for approval until {until:%Y-%m-%d %H:%M} UTC: `ratchet approve {run_id[:12]}`"
    run.observer.file.note(APPROVAL, 0, 1, told)
    while ledger.clock.time() < deadline:
        if approved(ledger, model, verdict):
            run.observer.file.note("promotion", 0, 0, "")
            return None
        if void(ledger, model, verdict):
            raise StaleChampionError(model)
        run.claim.check()
        run.check_pause()
        ledger.clock.sleep(POLL_SECONDS)
    return f"not approved in time; `ratchet approve {run_id}` and the same run again promote it, while the champion is the same"


def move_champion(run: Run, version: str, verdict: Verdict, expected: int) -> str | None:
    """Promotion by the ledger's compare-and-set; returns the version that was champion before.

    Args:
        expected: number of promotions when the challenger was judged.
    """
    run_id, model = run.open(), run.recipe.name

    def moved() -> Promotion:
        by = approved(run.ledger, model, verdict)
        return promote(
            run.ledger, run.tracker, model, verdict, expected=expected, version=version, run_id=run_id, approved_by=by
        )

    return run.insist(moved).previous


def publish(run: Run) -> str | None:
    """Report, plots, samples and the version's card; sealed figures only once their fold is retired."""
    run.open()
    return run.insist(lambda: publish_outcome(run))


def incumbent_of(run: Run) -> Promotion | None:
    """The champion that this run's candidate is judged against; a promotion interrupted by a kill is completed first.

    If this run had promoted its candidate before it was killed, that is the previous champion. A dry run completes nothing, nor
    does a run during an outage of MLflow: who is champion is the ledger's to say, and a promotion looks at the alias again.
    """
    model = run.recipe.name
    champion = run.ledger.champion(model)
    if run.recorded:
        try:
            ask(run.project.home.tracking_uri)
            champion = reconcile(run.ledger, run.tracker, model)
        except Exception as error:
            if not is_outage(error):
                raise
    if champion is None or champion.by != "gate" or champion.run_id != run.begun:
        return champion
    before = run.ledger.history(model)[:-1]
    return before[-1] if before else None


def ending_of(verdict: Verdict, *, promotes: bool, previous: str | None, remark: str | None = None) -> Ending:
    """The ending of a run with a verdict.

    Args:
        promotes: whether the run may promote.
        previous: the champion before.
        remark: why a PROMOTE verdict was not carried out.
    """
    if verdict.outcome is Outcome.PROMOTE and not promotes:
        return Ending(Status.FINISHED, verdict, previous, [LEFT_TO_RUN])
    if remark is not None:
        return Ending(Status.REFUSED, verdict, previous, [*verdict.reasons, remark], remark)
    return Ending(STATUS_OF_VERDICT[verdict.outcome], verdict, previous, verdict.reasons)
