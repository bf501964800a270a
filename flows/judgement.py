"""From a trained candidate to its verdict, and to what the verdict says; the end of every run."""

from typing import Any, NamedTuple

from ratchet.components.errors import StaleChampionError
from ratchet.components.gate.plan import plan_use
from ratchet.components.ledger.ledger import Promotion
from ratchet.components.ledger.promotion import reconcile
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.outcome import STATUS_OF_VERDICT, Status
from ratchet.components.stages.data import dataset_version
from ratchet.components.stages.evaluate import Models, evaluation_summary
from ratchet.components.stages.policy import policy_weights
from ratchet.components.stages.stage import StageResult
from ratchet.components.stages.train import training_stop
from ratchet.flows import stages
from ratchet.flows.cli.views.console import console
from ratchet.flows.events import emit
from ratchet.flows.recording import Recording
from ratchet.flows.unchanged import repeated, verdict_of_this_run

ROUNDS = 3  # how often a challenger is judged again because another won meanwhile
LEFT_TO_RUN = "the gate says PROMOTE; `ratchet run` with this recipe promotes it"


class Trained(NamedTuple):
    """The stages up to a candidate."""

    data: StageResult
    start: StageResult
    reward: StageResult
    candidate: StageResult

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
    models = models_of(candidate, incumbent_policy(recording, champion) if champion else start, start, trained.reward)
    verdict = verdict_of_this_run(recording, models)
    if verdict is None and until in (None, "gate") and (unchanged := repeated(recording, models, data)):
        return unchanged
    dev = stages.evaluate(recording, data, models)
    recording.details["evaluation"] = evaluation_summary(dev)
    if until == "evaluate":
        return conclude(recording, "finished", **trained.published, dev=dev)
    if until == "plan":
        return planned(recording, models, champion is None, **trained.published, dev=dev)
    version = stages.register(recording, data, candidate)
    if verdict is None:
        verdict = stages.gate(recording, data, dev, models, champion is None)
    return carry_out(recording, trained, dev, version, verdict, champion, until)


def carry_out(
    recording: Recording,
    trained: Trained,
    dev: StageResult,
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
    stop = training_stop(trained.candidate)
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
        dataset=dataset_version(made["data"]),
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


def incumbent_policy(recording: Recording, champion: Promotion) -> StageResult:
    """The champion's policy, fetched once a run."""
    fetched = [stage for stage in recording.stages if stage.finished.stage == "champion"]
    known = [stage for stage in fetched if policy_weights(stage) == champion.weights]
    return known[0] if known else stages.fetch_champion(recording, champion.version, champion.weights)


def models_of(candidate: StageResult, incumbent: StageResult, start: StageResult, reward: StageResult) -> Models:
    """The policies to compare."""
    return Models(
        challenger=candidate.path / "model",
        challenger_weights=policy_weights(candidate),
        incumbent=incumbent.path / "model",
        incumbent_weights=policy_weights(incumbent),
        start=start.path / "model",
        start_weights=policy_weights(start),
        reward=reward.path,
        reward_digest=reward.finished.digest,
    )
