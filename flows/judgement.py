"""From a trained candidate to its verdict, and to what the verdict says; the end of every run."""

from typing import Any, NamedTuple

from ratchet.components.errors import StaleChampionError
from ratchet.components.gate.plan import plan_use
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.ledger.promotion import reconcile
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.outcome import STATUS_OF_VERDICT, Status
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import ChampionStage, DataStage, PolicyStage, RewardStage
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import Stage, StageResult
from ratchet.components.stages.train import TrainStage
from ratchet.flows import stages
from ratchet.flows.cli.views.console import console
from ratchet.flows.events import emit
from ratchet.flows.recording import Recording
from ratchet.flows.unchanged import repeated, verdict_of_this_run

ROUNDS = 3  # how often a challenger is judged again because another won meanwhile
LEFT_TO_RUN = "the gate says PROMOTE; `ratchet run` with this recipe promotes it"


class Trained(NamedTuple):
    """The stages up to a candidate."""

    data: DataStage
    start: PolicyStage
    reward: RewardStage
    candidate: TrainStage

    @property
    def published(self) -> dict[str, StageResult]:
        """What a report is made from."""
        return {"data": self.data, "reward": self.reward, "candidate": self.candidate}


def settle(recording: Recording, trained: Trained, champion: Promotion | None, until: str | None) -> dict[str, Any]:
    """Judge a candidate, again where the champion changes meanwhile, and carry the verdict out."""
    for _ in range(ROUNDS):
        try:
            return judge(recording, trained, champion, until)
        except StaleChampionError:
            console.print("the champion changed meanwhile; judging this challenger against the new one", highlight=False)
            champion = incumbent_of(recording)
    raise StaleChampionError(recording.context.recipe.name)


def judge(recording: Recording, trained: Trained, champion: Promotion | None, until: str | None) -> dict[str, Any]:
    """Evaluate a candidate beside the incumbent, register it, ask the gate.

    Raises:
        StaleChampionError: if another candidate became champion meanwhile.
    """
    data, start, candidate = trained.data, trained.start, trained.candidate
    models = Models(candidate, incumbent_policy(recording, champion) if champion else start, start, trained.reward)
    verdict = verdict_of_this_run(recording, models)
    if verdict is None and until in (None, Stage.GATE) and (unchanged := repeated(recording, models, data)):
        return unchanged
    dev = stages.evaluate(recording, data, models)
    recording.details["evaluation"] = dev.summary
    if until == Stage.EVALUATE:
        return conclude(recording, "finished", **trained.published, dev=dev)
    if until == Stage.PLAN:
        return planned(recording, models, champion is None, **trained.published, dev=dev)
    version = stages.register(recording, data, candidate)
    if verdict is None:
        verdict = stages.gate(recording, data, dev, models, champion is None)
    return carry_out(recording, trained, dev, version, verdict, champion, until)


def carry_out(
    recording: Recording,
    trained: Trained,
    dev: EvaluateStage,
    version: str,
    verdict: Verdict,
    champion: Promotion | None,
    until: str | None,
) -> dict[str, Any]:
    """Promote if the verdict says so, and a person, where the rules want one; then close the run."""
    status, remark, reasons = STATUS_OF_VERDICT[verdict.outcome], None, verdict.reasons
    previous = champion.version if champion else None
    if verdict.outcome is Outcome.PROMOTE and until is not None:
        status, reasons = "finished", [LEFT_TO_RUN]
    elif verdict.outcome is Outcome.PROMOTE:
        remark = stages.await_approval(recording, verdict)
        if remark is None:
            previous = stages.move_champion(recording, version, verdict, champion.sequence if champion else 0)
        else:
            status, reasons = "refused", [*reasons, remark]
    stop = trained.candidate.stop
    recording.details["reasons"] = [*([stop.text()] if stop else []), *reasons]
    return conclude(recording, status, previous, **trained.published, dev=dev, verdict=verdict, version=version, remark=remark)


def conclude(recording: Recording, status: str, previous: str | None = None, **made: Any) -> dict[str, Any]:
    """Publish what was made, close the run, and give its result."""
    report = stages.publish(recording, status=status, **made)
    verdict: Verdict | None = made.get("verdict")
    if event := Status(status).event:
        emit(event, recording.context.recipe.name, recording.open(), version=made.get("version"), previous=previous)
    result = recording.result(
        status,
        verdict=verdict.outcome.value if verdict else None,
        version=made.get("version"),
        previous=previous,
        dataset=made["data"].version,
        report=report,
    )
    recording.close(result)
    return result


def planned(recording: Recording, models: Models, first_champion: bool, **made: Any) -> dict[str, Any]:
    """What the gate would do: the shape of ``run --json``, and ``gate`` with fold, use, level, test and power."""
    plan = plan_use(recording.context, recording.ledger, made["data"], made["dev"], models, first_champion)
    recording.details["reasons"] = plan.said
    return {**conclude(recording, "finished", **made), "gate": plan.as_json()}


def incumbent_of(recording: Recording) -> Promotion | None:
    """The champion that this run's candidate is judged against.

    Where this very run had promoted its candidate before it was killed, that is the champion before it.
    """
    recipe = recording.context.recipe
    champion = reconcile(recording.ledger, recording.tracker, recipe.name)
    if champion is None or champion.by != "gate" or champion.run_id != recording.begun:
        return champion
    before = recording.ledger.history(recipe.name)[:-1]
    return before[-1] if before else None


def incumbent_policy(recording: Recording, champion: Promotion) -> PolicyStage:
    """The champion's policy, fetched once a run."""
    fetched = [stage for stage in recording.stages if isinstance(stage, ChampionStage) and stage.weights == champion.weights]
    return fetched[0] if fetched else stages.fetch_champion(recording, champion.version, champion.weights)
