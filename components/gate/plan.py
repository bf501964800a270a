"""What the gate would do with a challenger: fold, use, level, test and power, before a sealed item is read."""

from dataclasses import asdict, dataclass, field
from typing import Any

from ratchet.components.code.source_code import sources_digest
from ratchet.components.evaluation.comparison import arms_of, compare
from ratchet.components.gate.folds import Fold, Pair, choose_fold, fold_left
from ratchet.components.gate.items import Trained
from ratchet.components.gate.power import Power, power_from, shortfall
from ratchet.components.gate.primary import Tests, choose_tests, method
from ratchet.components.graders.build import grader_digests
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.recipe import Recipe
from ratchet.components.records import Outcome
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.stage import Context
from ratchet.components.storage.digests import digest_of
from ratchet.components.storage.json_text import without_nan


@dataclass(frozen=True)
class Challenge:
    """A challenger, and all that its verdict depends on.

    Attributes:
        dev: both arms' results on dev, the benchmarks included.
        trained: what training saw of the sealed items, which do not count then.
        first_champion: whether there is no champion, so that the incumbent is the starting policy.
    """

    context: Context
    ledger: Ledger
    data: DataStage
    dev: EvaluateStage
    models: Models
    trained: Trained
    first_champion: bool

    @property
    def pair(self) -> Pair:
        """What a use is counted for."""
        models = self.models
        return Pair(models.challenger.policy_digest, models.incumbent.policy_digest, rules_digest(self.context.recipe))


@dataclass(frozen=True)
class Plan:
    """Everything that is known before a sealed item is read."""

    pair: Pair | None  # None before there is a challenger
    base: dict[str, Any]  # of the verdict
    fold: Fold | None = None
    tests: Tests = field(default_factory=dict)
    power: Power | None = None
    refusal: tuple[Outcome, str] | None = None
    trained: Trained = field(default_factory=Trained)

    @property
    def said(self) -> list[str]:
        """As text, for ``gate --dry-run``."""
        lines = [] if self.refusal is None else [f"{self.refusal[0].value}: {self.refusal[1]}"]
        if self.fold is not None and self.power is not None:
            lines.append(f"{self.fold.name}, use {self.fold.use}: {self.base['method']}, level {self.base['alpha']:.4g}")
            lines.append(
                f"a gain of {self.power.effect:g} would be detected with probability {self.power.power:.3f} "
                f"on {self.power.items} items ({self.power.source}); power 0.8 needs {self.power.needed}"
            )
        lines += [self.trained.said] if self.trained.said and self.fold is not None else []
        return [*lines, "dry run: no use was counted and no sealed item was scored"]

    def as_json(self) -> dict[str, Any]:
        """Of ``gate --dry-run --json``."""
        outcome, reason = self.refusal if self.refusal is not None else (None, None)
        power = None if self.power is None else without_nan(asdict(self.power))
        return {**self.base, "power": power, "refused": outcome and outcome.value, "reason": reason}


def plan_use(challenge: Challenge) -> Plan:
    """Fold, number of the use, level, test and power; counts no use and reads no sealed item."""
    context, data, models, pair = challenge.context, challenge.data, challenge.models, challenge.pair
    recipe, base = context.recipe, _base(challenge)
    if pair.challenger == pair.incumbent or (models.kept_start and models.incumbent_is_start):
        return Plan(pair, base, refusal=(Outcome.REJECT, _nothing_new(models)))
    choice = choose_fold(context, challenge.ledger, data, pair, challenge.trained)
    if choice.fold is None:
        return Plan(pair, base, refusal=(Outcome.INVALID, choice.reason))
    fold = choice.fold
    tests = choose_tests(recipe.gate.rules, recipe.evaluation.samples, len(fold.items), recipe.data.group is not None)
    base |= {"fold": fold.name, "fold_digest": fold.digest, "use": fold.use, "items": len(fold.items), "alpha": fold.alpha}
    base["method"] = method(tests)
    power = dev_power(context, challenge.dev, data, len(fold.items), fold.alpha)
    short = shortfall(power)
    return Plan(pair, base, fold, tests, power, None if short is None else (Outcome.UNDERPOWERED, short), challenge.trained)


def plan_before_training(context: Context, ledger: Ledger, data: DataStage, trained: Trained) -> Plan | None:
    """The refusal of any new challenger because no sealed fold is left; None if there is one. Writes nothing."""
    choice = fold_left(context, ledger, data, trained)
    return None if choice.fold else Plan(None, {}, refusal=(Outcome.INVALID, choice.reason))


def _nothing_new(models: Models) -> str:
    """Why a challenger is the incumbent itself: training kept its starting policy, or the candidate was promoted before."""
    if models.kept_start:
        return "no checkpoint was better on dev than the incumbent itself"
    return "the candidate is the champion itself: there is nothing to judge, and a run of it ends as unchanged"


def _base(challenge: Challenge) -> dict[str, Any]:
    """What every verdict records, whatever its outcome."""
    recipe = challenge.context.recipe
    return {
        **challenge.pair._asdict(),
        "error_mode": recipe.gate.rules.error_mode,
        "first_champion": challenge.first_champion,
        "samples": recipe.evaluation.samples,
        "data": challenge.data.version,
        "recipe": recipe.digest,
        "code": sources_digest(),
        "gold": grader_digests(recipe)["gold"],
        "dev_evidence": challenge.dev.key,
    }


def rules_digest(recipe: Recipe) -> str:
    """Digest of what a challenger is judged by, rules, graders and sampling: a change makes another use and another verdict."""
    rules = recipe.gate.rules.model_dump(mode="json", exclude={"approval", "approval_hours", "when_spent"})
    settings = recipe.evaluation.model_dump(mode="json", exclude={"dev_items", "sample_rows"})
    return digest_of([rules, settings, recipe.policy.max_new_tokens, grader_digests(recipe), recipe.data.group])


def dev_power(
    context: Context, dev: EvaluateStage, data: DataStage, items: int, alpha: float, effect: float | None = None
) -> Power:
    """What the primary test can detect on this many items, with the spread of dev results."""
    rules, samples = context.recipe.gate.rules, context.recipe.evaluation.samples
    arms = arms_of([row["id"] for row in data.table("dev")], dev.results(), dev.scored, samples)
    return power_from(compare(arms, [one.measure for one in rules.primaries]), rules, items, alpha, effect)
