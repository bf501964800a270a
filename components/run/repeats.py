"""Was a candidate judged before? A run that would only repeat a verdict ends as unchanged."""

from dataclasses import dataclass, replace

from ratchet.components.gate.plan import rules_digest
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Recipe
from ratchet.components.records import Outcome, Verdict
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.results import DataStage, PolicyStage, RewardStage
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.stage import Context, NotFinished, StageResult
from ratchet.components.stages.train import TrainStage, trained_candidate
from ratchet.components.stages.warmup import starting_policy

CONCLUSIVE = (Outcome.PROMOTE, Outcome.REJECT, Outcome.UNDERPOWERED)


@dataclass(frozen=True)
class Settled:
    """A conclusive verdict and the MLflow run that reached it; none where a person made the candidate champion."""

    verdict: Verdict | None
    run_id: str


def settled(ledger: Ledger, recipe: Recipe, candidate: str, start: str) -> Settled | None:
    """The verdict that stands on a candidate: the one that made it champion, or one of today's rules against today's incumbent.

    Args:
        candidate: weights digest of the candidate.
        start: weights digest of the starting policy, the incumbent before there is a champion.
    """
    model = recipe.name
    champion = ledger.champion(model)
    if champion is not None and champion.weights == candidate:
        known = None if champion.verdict is None else ledger.verdict_by_digest(champion.verdict)
        return Settled(Verdict.from_json(known["record"]) if known else None, known["run_id"] if known else champion.run_id)
    known = ledger.verdict(model, candidate, champion.weights if champion else start, rules_digest(recipe))
    if known is None:
        return None
    verdict = Verdict.from_json(known["record"])
    carried_out = any(row.verdict == known["digest"] for row in ledger.history(model))
    if verdict.outcome is Outcome.PROMOTE and not carried_out:
        return None  # judged, but not promoted yet; one that was, and was rolled back, stays so
    return Settled(verdict, known["run_id"]) if verdict.outcome in CONCLUSIVE else None


@dataclass(frozen=True)
class FinishedRun:
    """All stages up to the candidate, found finished in the store."""

    data: DataStage
    start: PolicyStage
    reward: RewardStage
    candidate: TrainStage

    @property
    def stages(self) -> list[StageResult]:
        return [self.data, self.start, self.reward, self.candidate]


def finished_run(context: Context) -> FinishedRun | None:
    """The stages up to the candidate if all are finished; nothing is computed."""
    if context.recipe.policy.start == "champion":
        return None  # where the champion starts from itself there is always something to train
    looking = replace(context, compute=False)
    try:
        data = prepare_data(looking)
        start = starting_policy(looking, data)
        reward = validated_reward(looking, data, start)
        return FinishedRun(data, start, reward, trained_candidate(looking, data, start, reward))
    except NotFinished:
        return None
