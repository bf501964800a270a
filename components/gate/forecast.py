"""Before anything is judged: what the gate could detect with the available data, and how many items it would need."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

from ratchet.components.errors import DataError
from ratchet.components.evaluation.comparison import arms_of, compare
from ratchet.components.gate.folds import fold_left, groups_of
from ratchet.components.gate.items import Trained
from ratchet.components.gate.levels import level, past_tests
from ratchet.components.gate.power import DEV, Power, Question, power_at, powers_from, questions, together
from ratchet.components.gate.primary import choose_test, choose_tests, method
from ratchet.components.graders.build import grader_digests
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.evaluate import EvaluateStage
from ratchet.components.stages.results import DataStage
from ratchet.components.stages.stage import Context, NotFinished
from ratchet.components.storage.json_text import without_nan

TYPICAL_DISCORDANCE = 0.2  # share of items on which two versions of a policy differ, if nothing was measured yet
TYPICAL_DEVIATION = 0.5
Seen = Callable[[DataStage], Trained]
EFFECTS = (0.01, 0.02, 0.03, 0.05, 0.08, 0.10)


@dataclass(frozen=True)
class Forecast:
    """Power at one effect, and at other effects for comparison."""

    asked: Power
    others: list[Power]
    method: str

    def as_json(self) -> dict[str, Any]:
        """The shape of ``gate power --json``; items is null for an effect that cannot be detected."""
        table = [asdict(power) for power in self.others]
        return dict(without_nan({**asdict(self.asked), "method": self.method, "table": table}))


def forecast_power(context: Context, ledger: Ledger, effect: float | None, items: int | None, trained_on: Seen) -> Forecast:
    """Power on today's sealed fold (or ``items``), with the spread of the newest dev rows, else a typical one.

    Args:
        trained_on: what training saw of a version's sealed items.

    Raises:
        DataError: if the data are not prepared and ``items`` is not given, or no fold is left.
    """
    rules = context.recipe.gate.rules
    count, groups, digest = (items, None, "") if items is not None else todays_fold(context, ledger, trained_on)
    alpha = level(rules, past_tests(ledger.past(context.recipe.name), digest))
    effect = rules.target_effect if effect is None else effect
    effects = sorted({*EFFECTS, effect})
    powers = _powers(context, ledger, count, groups, alpha, effects)
    tests = choose_tests(rules, context.recipe.evaluation.samples, clustered=context.recipe.data.group is not None)
    return Forecast(powers[effects.index(effect)], powers, method(tests))


def todays_fold(context: Context, ledger: Ledger, trained_on: Seen) -> tuple[int, int | None, str]:
    """Items, groups (None without ``data.group``) and digest of the fold that the next challenger would be judged on."""
    try:
        data = prepare_data(replace(context, compute=False))
    except NotFinished:
        raise DataError("this recipe's data are not prepared. Run `ratchet data prepare`, or give --items.") from None
    choice = fold_left(context, ledger, data, trained_on(data))
    if choice.fold is None:
        raise DataError(choice.reason + ".")
    return len(choice.fold.items), groups_of(context, data, choice.fold), choice.fold.digest


def _powers(
    context: Context, ledger: Ledger, items: int, groups: int | None, alpha: float, effects: list[float]
) -> list[Power]:
    rules, dev = context.recipe.gate.rules, newest_evaluation(context, ledger)
    if dev is not None:
        arms = arms_of(None, dev.results(), dev.scored, context.recipe.evaluation.samples)
        compared = compare(arms, [one.measure for one in rules.primaries])
        source = f"dev rows of evaluation {dev.key[:12]}"
        return [
            replace(power, source=power.source.replace(DEV, source))
            for power in powers_from(compared, rules, items, alpha, effects, groups)
        ]
    every = [questions(rules, items, alpha, effect, groups) for effect in effects]
    return [together([_assumed(context, one) for one in asked], asked) for asked in every]


def _assumed(context: Context, asked: Question) -> Power:
    """Power with a typical spread."""
    recipe = context.recipe
    binary = choose_test(asked.primary, recipe.evaluation.samples, clustered=recipe.data.group is not None) == "mcnemar"
    spread = TYPICAL_DISCORDANCE if binary else TYPICAL_DEVIATION
    what = "a fifth of the items discordant" if binary else "a standard deviation of 0.5"
    return power_at(spread, binary, asked, f"assumption: {what}; no evaluation is finished")


def below_floor(context: Context, ledger: Ledger) -> str | None:
    """That the starting policy's newest figure on dev is below the floor of a first champion; None if not, or not known."""
    recipe, rules = context.recipe, context.recipe.gate.rules
    dev = None if ledger.champion(recipe.name) else newest_evaluation(context, ledger)
    if dev is None:
        return None
    measures = [one.measure for one in rules.primaries]
    compared = compare(arms_of(None, dev.results(), dev.scored, recipe.evaluation.samples), measures)
    for measure in measures:
        start = compared.figures(measure)[1]
        if start < rules.floor:
            return (
                f"until there is a champion, gate.rules.floor asks for {measure} above {rules.floor:g}; the policy that "
                f"training starts from had {start:.3f} on dev, so that its gain must be above {rules.floor - start:.3f}. "
                "Train longer, start from a better policy, or lower gate.rules.floor."
            )
    return None


def newest_evaluation(context: Context, ledger: Ledger) -> EvaluateStage | None:
    """The newest stored evaluation behind a verdict of this model, by the same gold, with the same samples per item."""
    gold = grader_digests(context.recipe)["gold"]
    for known in reversed(ledger.verdicts(context.recipe.name)):
        record = known["record"]
        if not record.get("dev_evidence") or record["samples"] != context.recipe.evaluation.samples:
            continue
        if record.get("gold") not in ("", None, gold):
            continue
        if (found := EvaluateStage.find(context.store, record["dev_evidence"])) is not None:
            return found
    return None
