"""Was a candidate judged before? A run that would only repeat a verdict ends as unchanged."""

from dataclasses import dataclass, replace

from components.pipeline.context import Context, NotFinished, StageResult
from components.pipeline.data import prepare_data
from components.pipeline.gate import rules_digest
from components.pipeline.policy import policy_weights, starting_policy
from components.pipeline.reward import validated_reward
from components.pipeline.train import trained_candidate
from components.recipe import Recipe
from components.records import Outcome, Verdict
from components.registry.ledger import Ledger

CONCLUSIVE = (Outcome.PROMOTE, Outcome.REJECT, Outcome.UNDERPOWERED)


@dataclass(frozen=True)
class Settled:
    """A conclusive verdict and the MLflow run that reached it."""

    verdict: Verdict
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
        known = ledger.verdict_by_digest(champion.verdict)
    else:
        incumbent = champion.weights if champion else start
        known = ledger.verdict(model, candidate, incumbent, rules_digest(recipe))
    if known is None:
        return None
    verdict = Verdict.from_json(known["record"])
    if verdict.outcome is Outcome.PROMOTE and (champion is None or champion.weights != candidate):
        return None  # judged, but not promoted yet
    return Settled(verdict, known["run_id"]) if verdict.outcome in CONCLUSIVE else None


@dataclass(frozen=True)
class FinishedRun:
    """All stages up to the candidate, found finished in the store."""

    data: StageResult
    start: StageResult
    reward: StageResult
    candidate: StageResult

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


def start_weights(run: FinishedRun) -> str:
    """Weights digest of the starting policy."""
    return policy_weights(run.start)
