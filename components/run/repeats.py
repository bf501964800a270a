"""Whether a run would only repeat an earlier one: its candidate was judged before (``unchanged``), or its reward was refused.

Such a run computes nothing, uses no fold, opens no run in MLflow and registers no version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ratchet.components.gate.plan import rules_digest
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Recipe
from ratchet.components.records import Outcome, Verdict
from ratchet.components.run.outcome import RunResult, Status
from ratchet.components.run.record import Run
from ratchet.components.stages.champion import fetched_policy
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.gold import gold_report, validated_gold
from ratchet.components.stages.results import DataStage, GoldStage, PolicyStage, RewardStage, ValidationReport
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import Context, NotFinished, Stage, StageResult
from ratchet.components.stages.train import TrainStage, trained_candidate
from ratchet.components.stages.warmup import starting_policy

CONCLUSIVE = (Outcome.PROMOTE, Outcome.REJECT, Outcome.UNDERPOWERED)


@dataclass(frozen=True)
class Judged:
    """The valid verdict on a candidate (None if a person promoted it), and the MLflow run that reached it."""

    verdict: Verdict | None
    run_id: str

    def versions(self, ledger: Ledger, model: str) -> tuple[str | None, str | None]:
        """The candidate's version, as far as the ledger knows it, and that of the champion it was judged against."""
        history = ledger.history(model)
        if self.verdict is None:
            return history[-1].version, history[-1].previous
        known = {row.weights: row.version for row in history}
        version = known.get(self.verdict.challenger) or ledger.result_of(model, self.run_id).get("version")
        return version, known.get(self.verdict.incumbent)


def standing_verdict(ledger: Ledger, recipe: Recipe, candidate: str, start: str) -> Judged | None:
    """The verdict that made a candidate champion, or a conclusive one by the current rules against the current incumbent.

    Args:
        candidate: digest of the candidate.
        start: digest of the starting policy, the incumbent before there is a champion.
    """
    model = recipe.name
    champion = ledger.champion(model)
    if champion is not None and champion.weights == candidate:
        known = None if champion.verdict is None else ledger.verdict_by_digest(champion.verdict)
        return Judged(Verdict.from_json(known["record"]) if known else None, known["run_id"] if known else champion.run_id)
    known = ledger.verdict(model, candidate, champion.weights if champion else start, rules_digest(recipe))
    if known is None:
        return None
    verdict = Verdict.from_json(known["record"])
    carried_out = any(row.verdict == known["digest"] for row in ledger.history(model))
    if verdict.outcome is Outcome.PROMOTE and not carried_out:
        return None  # judged but not promoted yet; a version that was rolled back stays rolled back
    return Judged(verdict, known["run_id"]) if verdict.outcome in CONCLUSIVE else None


@dataclass(frozen=True)
class FinishedStages:
    """All stages up to the candidate, each finished."""

    data: DataStage
    gold: GoldStage
    start: PolicyStage
    reward: RewardStage
    candidate: TrainStage

    @property
    def all(self) -> list[StageResult]:
        return [self.data, self.gold, self.start, self.reward, self.candidate]


def finished_stages(context: Context) -> FinishedStages | None:
    """The stages up to the candidate, if all are finished; computes nothing."""
    if context.recipe.policy.start == "champion":
        return None  # a run that starts from the champion always has something to train
    looking = replace(context, compute=False)
    try:
        data = prepare_data(looking)
        gold = validated_gold(looking, data)
        start = starting_policy(looking, data)
        reward = validated_reward(looking, data, start, gold)
        return FinishedStages(data, gold, start, reward, trained_candidate(looking, data, start, reward))
    except NotFinished:
        return None


def has_to_train(context: Context, data: DataStage, start: PolicyStage | None) -> bool:
    """Whether a run has training to do: its candidate is not finished, and neither its gold nor its reward was refused before.

    Args:
        start: the starting policy if it is the champion; otherwise the warmed-up one is looked up.
    """
    looking = replace(context, compute=False)
    try:
        gold = validated_gold(looking, data)
        if gold_report(gold, context.recipe).failed:
            return False
        start = start or starting_policy(looking, data)
        reward = validated_reward(looking, data, start, gold)
        if reward.report.passed:
            trained_candidate(looking, data, start, reward)
    except NotFinished:
        return True
    return False


def repeated_run(run: Run, until: Stage | None) -> RunResult | None:
    """The result of a run that would only repeat an earlier one, found before anything starts; MLflow is not touched.

    Args:
        until: the stage that the run stops after, if not at its end.
    """
    if until is Stage.DATA or run.ledger.open_run(run.identity) is not None:
        return None  # a killed run is not finished
    return refused_run(run) or (unchanged_run(run) if until is None else None)


def refused_run(run: Run) -> RunResult | None:
    """The result ``reward_refused`` if the stage of this gold or reward is finished and an earlier run ended because of it."""
    looking = replace(run.context, compute=False)
    try:
        data = prepare_data(looking)
        gold = validated_gold(looking, data)
        report = gold_report(gold, run.recipe)
        if report.failed:
            return _refused(run, [data, gold], report)
        start = _starting_policy(run, looking, data)
        reward = validated_reward(looking, data, start, gold)
    except NotFinished:
        return None
    return None if reward.report.passed else _refused(run, [data, gold, start, reward], reward.report)


def _refused(run: Run, found: Sequence[StageResult], report: ValidationReport) -> RunResult | None:
    """The result of a run whose last stage found what an earlier run ended because of; None if there is no such run."""
    refusing = found[-1]
    known = run.ledger.run_refused_by(run.recipe.name, refusing.name, refusing.key)
    if known is None:
        return None
    for stage in found:
        run.add(stage)
    made = run.made
    for stage in found:
        match stage:
            case DataStage():
                made.data = stage
            case GoldStage():
                made.gold = stage
            case RewardStage():
                made.reward = stage
    return RunResult(
        Status.REWARD_REFUSED,
        dataset=made.data.version if made.data else None,
        run_id=known,
        report=report_of(run, known),
        stages=run.stages_as_json(),
        failed_checks=report.failed,
        reasons=[
            f"this {refusing.name} was refused before, in run {known}; nothing was computed and no run was opened in MLflow"
        ],
    )


def _starting_policy(run: Run, looking: Context, data: DataStage) -> PolicyStage:
    """What training would start from: the champion, if the recipe says so and there is one."""
    champion = run.ledger.champion(run.recipe.name) if run.recipe.policy.start == "champion" else None
    if champion is None:
        return starting_policy(looking, data)
    return fetched_policy(looking, champion.weights, lambda target: target)  # looked up alone: nothing is fetched


def report_of(run: Run, run_id: str) -> str | None:
    """The report of an earlier run, if it is still there."""
    report = run.project.home.reports / f"{run_id}.html"
    return str(report) if report.is_file() else None


def unchanged_run(run: Run) -> RunResult | None:
    """The result ``unchanged`` if every stage is finished and its candidate was judged before."""
    found = finished_stages(run.context)
    if found is None:
        return None
    known = standing_verdict(run.ledger, run.recipe, found.candidate.policy_digest, found.start.policy_digest)
    if known is None:
        return None
    for stage in found.all:
        run.add(stage)
    return unchanged_result(run, known, found.data)


def unchanged_candidate(run: Run, data: DataStage, models: Models) -> RunResult | None:
    """The result ``unchanged`` if the candidate just made was judged before, in another run; closes the run."""
    known = standing_verdict(run.ledger, run.recipe, models.challenger.policy_digest, models.start.policy_digest)
    if known is None:
        return None
    result = unchanged_result(run, known, data)
    run.close(result)
    return result


def unchanged_result(run: Run, known: Judged, data: DataStage) -> RunResult:
    """The result of a run that would only repeat a verdict."""
    version, previous = known.versions(run.ledger, run.recipe.name)
    return RunResult(
        Status.UNCHANGED,
        verdict=known.verdict.outcome if known.verdict else None,
        version=version,
        previous=previous,
        dataset=data.version,
        run_id=known.run_id,
        report=report_of(run, known.run_id),
        stages=run.stages_as_json(),
        reasons=["this candidate was judged before; no gate use was spent and nothing was registered"],
    )


def verdict_of_this_run(run: Run, models: Models) -> Verdict | None:
    """The verdict that this run had reached when it was killed."""
    known = standing_verdict(run.ledger, run.recipe, models.challenger.policy_digest, models.start.policy_digest)
    if known is None:
        return None
    champion = run.ledger.champion(run.recipe.name)
    runs = {known.run_id} | ({champion.run_id} if champion else set())
    return known.verdict if run.begun in runs else None
