"""The Prefect tasks. Each confirms the run's claim, asks the store, holds the machine's lease while it computes, and calls one
function.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import Completed, State

from ratchet.components.errors import RatchetError, StaleChampionError
from ratchet.components.gate.judge import judge
from ratchet.components.ledger.approvals import approved, run_of, void
from ratchet.components.ledger.promotion import promote
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.publish import publish_candidate, publish_outcome
from ratchet.components.stages import champion as champion_stage
from ratchet.components.stages import data as data_stage
from ratchet.components.stages import evaluate as evaluate_stage
from ratchet.components.stages import reward as reward_stage
from ratchet.components.stages import train as train_stage
from ratchet.components.stages import warmup as warmup_stage
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import Context, NotFinished, Stage, StageResult
from ratchet.components.stages.train import TrainStage
from ratchet.components.user_code import check_process
from ratchet.flows.claims import confirm
from ratchet.flows.cli.views.console import console
from ratchet.flows.recording import Recording
from ratchet.flows.settings import configure_torch

POLL_SECONDS = 2.0
P = ParamSpec("P")
PASSING = ("mlflow", "sqlalchemy", "requests", "urllib3", "httpx")


def worth_retrying(_task: Any, _run: Any, state: Any) -> bool:
    """Retry what may pass by itself (a server that is down, a busy disk), not what a person must fix."""
    try:
        state.result()
    except RatchetError:
        return False
    except OSError:
        return True
    except Exception as error:
        return type(error).__module__.partition(".")[0] in PASSING
    return False


Step = Callable[Concatenate[Recording, P], Any]


def stage_task(name: str) -> Callable[[Step[P]], Step[P]]:
    """A Prefect task for a stage: no result cache of Prefect's own, because a hit would skip the store's hash check.

    A stage begins only while this process may continue the run.
    """

    def decorate(function: Step[P]) -> Step[P]:
        @wraps(function)
        def confirmed(recording: Recording, *args: P.args, **kwargs: P.kwargs) -> Any:
            confirm(recording.claim)
            return function(recording, *args, **kwargs)

        prefect_task = task(
            confirmed,
            name=name,
            task_run_name=name,
            retries=2,
            retry_delay_seconds=[2, 15],
            retry_condition_fn=worth_retrying,
            cache_policy=NO_CACHE,
            persist_result=False,
        )

        @wraps(function)
        def call(recording: Recording, *args: P.args, **kwargs: P.kwargs) -> Any:
            check_process()
            value = prefect_task(recording, *args, **kwargs)
            return value.result() if isinstance(value, State) else value  # a stage from the store comes as its state

        return call

    return decorate


def run_stage(recording: Recording, stage: Stage, function: Callable[[Context], StageResult]) -> Any:
    """The finished stage: a state named ``Cached`` if the store has it, else made under the lease."""
    context = recording.context
    try:
        result = function(replace(context, compute=False))
    except NotFinished:
        result = _compute(recording, stage, function)
    recording.add(result)
    return Completed(name="Cached", data=result) if result.cached else result


def _compute(recording: Recording, stage: Stage, function: Callable[[Context], StageResult]) -> StageResult:
    context = recording.context
    if stage is Stage.DATA:
        return function(context)
    with recording.stage(stage), computing(recording):
        return function(context)


@contextmanager
def computing(recording: Recording) -> Iterator[None]:
    """The machine, for a run that did not lose its claim while it waited for it."""
    with recording.project.locks.machine():
        confirm(recording.claim)
        configure_torch(recording.context.recipe.threads)
        yield


@stage_task("prepare data")
def prepare_data(recording: Recording) -> Any:
    """Dataset preparation and its version."""
    return run_stage(recording, Stage.DATA, data_stage.prepare_data)


@stage_task("warm up policy")
def warm_up(recording: Recording, data: DataStage) -> Any:
    """The starting policy when ``policy.start`` is ``base``, or before there is a champion."""
    return run_stage(recording, Stage.WARMUP, lambda context: warmup_stage.starting_policy(context, data))


@stage_task("fetch champion")
def fetch_champion(recording: Recording, version: str, weights: str) -> Any:
    """The champion's policy, from the registry into the store, verified."""
    tracker = recording.tracker
    return run_stage(
        recording,
        Stage.CHAMPION,
        lambda context: champion_stage.fetched_policy(
            context, weights, lambda target: tracker.download(context.recipe.name, version, target)
        ),
    )


@stage_task("validate reward")
def validate_reward(recording: Recording, data: DataStage, start: PolicyStage) -> Any:
    """Reward-model training and validation."""
    return run_stage(recording, Stage.REWARD, lambda context: reward_stage.validated_reward(context, data, start))


@stage_task("train policy")
def train(recording: Recording, data: DataStage, start: PolicyStage, reward: RewardStage) -> Any:
    """The RL loop."""
    return run_stage(recording, Stage.TRAIN, lambda context: train_stage.trained_candidate(context, data, start, reward))


@stage_task("evaluate")
def evaluate(recording: Recording, data: DataStage, models: Models) -> Any:
    """Challenger and incumbent on dev."""
    return run_stage(recording, Stage.EVALUATE, lambda context: evaluate_stage.dev_evaluation(context, data, models))


@stage_task("register challenger")
def register(recording: Recording, data: DataStage, candidate: TrainStage) -> str:
    """One registered version for these weights."""
    context, run_id = recording.context, recording.open()
    return publish_candidate(context, recording.tracker, run_id, data, candidate, recording.stages)


@stage_task("gate")
def gate(recording: Recording, data: DataStage, dev: EvaluateStage, models: Models, first_champion: bool) -> Verdict:
    """The verdict, recorded in the ledger before anything is done about it."""
    context, ledger, run_id = recording.context, recording.ledger, recording.open()
    with recording.stage(Stage.GATE), computing(recording):
        return judge(context, ledger, data, dev, models, run_id=run_id, first_champion=first_champion)


@stage_task("promote")
def move_champion(recording: Recording, version: str, verdict: Verdict, expected: int) -> str | None:
    """Promotion by the ledger's compare-and-set; returns the version that was champion before."""
    assert verdict.outcome is Outcome.PROMOTE and verdict.fold_digest is not None
    promotion = promote(
        recording.ledger,
        recording.tracker,
        recording.context.recipe.name,
        expected=expected,
        version=version,
        weights=verdict.challenger,
        verdict=verdict.digest,
        run_id=recording.open(),
        fold=verdict.fold_digest,
    )
    return promotion.previous


@stage_task("await approval")
def await_approval(recording: Recording, verdict: Verdict) -> str | None:
    """Wait until a person approves, holding nothing that another run needs; returns why nobody did, where that is so."""
    rules, model, ledger = recording.context.recipe.gate.rules, recording.context.recipe.name, recording.ledger
    if rules.approval == "none" or approved(ledger, model, verdict):
        return None
    run_id = run_of(ledger, model, verdict)
    console.print(f"waiting for `ratchet approve {run_id}` (at most {rules.approval_hours:g} h)", highlight=False)
    deadline = ledger.clock.time() + 3600 * rules.approval_hours
    while ledger.clock.time() < deadline:
        if approved(ledger, model, verdict):
            return None
        if void(ledger, model, verdict):
            raise StaleChampionError(model)
        recording.claim.check()
        ledger.clock.sleep(POLL_SECONDS)
    return f"nobody approved it; `ratchet approve {run_id}` and the same run again promote it, while the champion is the same"


@stage_task("publish")
def publish(recording: Recording, **stages: Any) -> str:
    """Report, plots, samples, and the version's card; sealed figures only once their fold is retired."""
    return publish_outcome(recording.context, recording.tracker, recording.ledger, recording.open(), recording.stages, **stages)
