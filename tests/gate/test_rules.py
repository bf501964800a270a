"""The gate: it promotes when every rule holds, and only then."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from ratchet.components.evaluation.comparison import Arms, compare, measures_on
from ratchet.components.gate.rules import SealedDecision, check_integrity, judge_guard
from ratchet.components.gate.rules import decide as decide_on
from ratchet.components.recipe import Guard, Primary, Rules
from ratchet.components.records import ItemResult, Outcome, Verdict
from ratchet.components.statistics.paired import exact_mcnemar

RULES = Rules()
EXPECTED = {"challenger": "c" * 64, "incumbent": "i" * 64}


def results(correct: list[bool], length: int = 10, kl: float | None = 1.0) -> dict[str, list[ItemResult]]:
    """One result an item; lengths and divergences vary a little around their mean."""
    return {
        str(n): [
            ItemResult(str(n), "p", "c", right, float(right), length + n % 2, True, None if kl is None else kl + 0.01 * (n % 2))
        ]
        for n, right in enumerate(correct)
    }


def decide(arms: Arms, rules: Rules, first_champion: bool, test: str = "mcnemar") -> SealedDecision:
    """The decision at the level of one of the epoch's uses."""
    alpha, draws = rules.alpha_epoch / rules.uses_per_epoch, np.random.default_rng(0)
    places = {"sealed": compare(arms, measures_on(rules, "sealed"))}
    tests = dict.fromkeys((one.measure for one in rules.primaries), test)
    return decide_on(places, rules, tests=tests, alpha=alpha, first_champion=first_champion, draws=draws)


def arms(challenger: list[bool], incumbent: list[bool]) -> Arms:
    items = [str(n) for n in range(len(challenger))]
    return Arms(items, results(challenger), results(incumbent), EXPECTED["challenger"], EXPECTED["incumbent"])


def share(right: int, n: int = 300) -> list[bool]:
    """The first ``right`` of n items are right, so that two such arms differ one way only."""
    return [number < right for number in range(n)]


BETTER = arms(share(270), share(240))  # 30 wins, no loss: p = 2^-30


def test_a_better_challenger_within_every_margin_is_promoted() -> None:
    assert decide(BETTER, RULES, first_champion=True).promote
    assert decide(BETTER, RULES, first_champion=False).promote


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda a: replace(a, challenger=results(share(248))), "primary"),  # 8 wins: p = 1/256 above 0.05/26
        (lambda a: replace(a, challenger=results(share(270), length=16)), "guard: length"),  # 16.5 > 1.5 x 10.5
        (lambda a: replace(a, challenger=results(share(270), kl=20.5)), "guard: kl"),
        (lambda a: replace(a, challenger=results(share(160)), incumbent=results(share(100))), "floor"),  # 0.53, bound 0.45
        (lambda a: replace(a, challenger=results(share(270), kl=None)), "guard: kl"),
        (lambda a: replace(a, challenger=results(share(270), kl=math.nan)), "guard: kl"),
    ],
)
def test_each_rule_alone_refuses(spoil: Callable[[Arms], Arms], rule: str) -> None:
    decision = decide(spoil(BETTER), RULES, first_champion=True)
    assert not decision.promote
    assert [reason.startswith(rule) for reason in decision.reasons if reason.endswith("failed")] == [True]


def test_the_floor_is_only_for_a_first_champion() -> None:
    low = replace(BETTER, challenger=results(share(160)), incumbent=results(share(100)))
    assert decide(low, RULES, first_champion=False).promote


@pytest.mark.parametrize(("wins", "promote"), [(9, False), (10, True)])
def test_the_level_is_the_epochs_divided_by_its_uses(wins: int, promote: bool) -> None:
    # 2^-9 = 0.00195 is just above 0.05 / 26 = 0.00192
    assert decide(arms(share(240 + wins), share(240)), RULES, first_champion=False).promote is promote


def test_a_missing_challenger_item_is_wrong_and_a_missing_incumbent_item_right() -> None:
    full = decide(BETTER, RULES, first_champion=False).figures
    cut = replace(
        BETTER,
        challenger={k: v for k, v in BETTER.challenger.items() if k != "250"},  # a win
        incumbent={k: v for k, v in BETTER.incumbent.items() if k != "290"},  # both were wrong
    )
    figures = decide(cut, RULES, first_champion=False).figures
    assert (figures["wins"], figures["losses"]) == (full["wins"] - 1, full["losses"] + 1)


def test_swapping_the_arms_swaps_wins_and_losses_and_never_promotes_both() -> None:
    swapped = decide(replace(BETTER, challenger=BETTER.incumbent, incumbent=BETTER.challenger), RULES, first_champion=False)
    assert (swapped.figures["wins"], swapped.figures["losses"]) == (0, 30)
    assert not swapped.promote


@pytest.mark.parametrize("n", [0, 1, 2])
def test_too_few_items_never_promote(n: int) -> None:
    assert not decide(arms([True] * n, [False] * n), RULES, first_champion=False).promote


def test_all_ties_never_promote() -> None:
    assert not decide(arms(share(300), share(300)), RULES, first_champion=False).promote


def test_sound_results_have_no_fault() -> None:
    assert check_integrity(BETTER, RULES, EXPECTED) == []


@pytest.mark.parametrize(
    ("spoil", "complaint"),
    [
        (lambda a: replace(a, items=[], challenger={}, incumbent={}), "no items"),
        (lambda a: replace(a, challenger_digest="x" * 64), "challenger that was scored"),
        (lambda a: replace(a, incumbent_digest="x" * 64), "incumbent that was scored"),
        (lambda a: replace(a, challenger=dict(list(a.challenger.items())[4:])), "4 of 300 items have no result"),
        (lambda a: replace(a, samples=2), "300 of 300 items have no result from the challenger"),
        (lambda a: replace(a, challenger=results(share(270), kl=None)), "kl could not be measured on 300 of 300 items"),
        (lambda a: replace(a, incumbent={}), "300 of 300 items have no result from the incumbent"),
        (lambda a: replace(a, items=a.items[1:]), "not of this fold"),
        (lambda a: replace(a, challenger=results(share(270), kl=math.nan)), "challenger is not finite"),
        (lambda a: replace(a, incumbent=results(share(240), kl=math.inf)), "incumbent is not finite"),
        (lambda a: replace(a, items=[*a.items, "0"]), "twice"),
    ],
)
def test_results_that_cannot_be_judged_have_a_reason(spoil: Callable[[Arms], Arms], complaint: str) -> None:
    assert any(complaint in reason for reason in check_integrity(spoil(BETTER), RULES, EXPECTED, ["accuracy", "length", "kl"]))


@pytest.mark.parametrize("beyond", [-1.0, 3.0])
@pytest.mark.parametrize("arm", ["challenger", "incumbent"])
@pytest.mark.parametrize(("measure", "grader"), [("gold", "the grader of gold.grader"), ("grader/tone", "graders.tone")])
def test_a_score_beyond_0_and_1_cannot_be_judged(beyond: float, arm: str, measure: str, grader: str) -> None:
    odd = {"score": beyond} if measure == "gold" else {"grades": {"tone": beyond}}
    arms = toned(BETTER)
    spoilt = replace(arms, **{arm: {**getattr(arms, arm), "7": [replace(getattr(arms, arm)["7"][0], **odd)]}})
    (reason,) = check_integrity(spoilt, RULES, EXPECTED, ["grader/tone"])
    assert reason.startswith(f"{measure} of the {arm} is not between 0 and 1")
    assert f"give {grader} a range" in reason


def toned(arms: Arms) -> Arms:
    """Each result with the score of another grader."""
    both = ({k: [replace(r[0], grades={"tone": 0.5})] for k, r in arm.items()} for arm in (arms.challenger, arms.incumbent))
    return replace(arms, **dict(zip(("challenger", "incumbent"), both, strict=True)))


@pytest.mark.parametrize(("limit", "faults"), [({"max": 20.0}, 0), ({"max_ratio": 2.0}, 1)])
def test_the_incumbents_figure_must_be_known_only_where_a_rule_reads_it(limit: dict[str, float], faults: int) -> None:
    unknown = replace(BETTER, incumbent=results(share(240), kl=None))
    assert len(check_integrity(unknown, guarded(Guard(measure="kl", **limit)), EXPECTED, ["accuracy", "kl"])) == faults


def test_no_item_may_be_missing_unless_the_rules_allow_some() -> None:
    cut = replace(BETTER, challenger=dict(list(BETTER.challenger.items())[3:]))
    assert check_integrity(cut, RULES, EXPECTED) != []
    assert check_integrity(cut, RULES.model_copy(update={"max_missing": 0.01}), EXPECTED) == []


def test_faults_of_the_gold_are_missing_items_named_by_their_kind() -> None:
    broken = {k: [replace(r[0], passed=None, score=None, fault="timeout")] for k, r in list(BETTER.challenger.items())[:3]}
    arms = replace(BETTER, challenger={**BETTER.challenger, **broken})
    assert check_integrity(arms, RULES, EXPECTED) == ["3 of 300 items have no result from the challenger (the gold: 3 timeout)"]
    allowed = RULES.model_copy(update={"max_missing": 0.01})
    assert check_integrity(arms, allowed, EXPECTED, ["accuracy"]) == []
    # counted against the challenger
    assert decide(arms, allowed, first_champion=False).figures["losses"] == 3


def test_a_bounded_gold_in_groups_is_judged_on_the_groups() -> None:
    rules = RULES.model_copy(update={"primary": Primary(measure="gold")})

    def scored(gain: float, groups: int) -> Arms:
        def one(r: ItemResult, score: float) -> ItemResult:
            return replace(r, passed=None, score=score, cluster=str(int(r.id) % groups))

        return replace(
            BETTER,
            challenger={k: [one(r[0], 0.5 + gain)] for k, r in BETTER.challenger.items()},
            incumbent={k: [one(r[0], 0.5)] for k, r in BETTER.incumbent.items()},
        )

    assert decide(scored(0.1, 50), rules, first_champion=False, test="sign_flip").promote
    # The same gain in 4 groups: p is at least 2^-4, however many items there are.
    few = decide(scored(0.1, 4), rules, first_champion=False, test="sign_flip")
    assert not few.promote
    assert few.figures["p_value"] == pytest.approx(2**-4, rel=0.1)


@pytest.mark.parametrize(("items", "held"), [(148, False), (150, True)])
def test_a_guard_whose_items_all_tie_holds_only_on_enough_items(items: int, held: bool) -> None:
    """1 - 0.05^(1/148) = 0.02004, 1 - 0.05^(1/150) = 0.01977: a share of losses of 0.02 that so many items may not show."""
    guard, ties = Guard(measure="accuracy", margin=0.02), compare(arms([True] * items, [True] * items), ["accuracy"])
    assert judge_guard(guard, {"sealed": ties}, 0.05).held is held


def test_a_model_is_never_judged_against_itself() -> None:
    twin = replace(BETTER, challenger_digest=EXPECTED["incumbent"])
    reasons = check_integrity(twin, RULES, {**EXPECTED, "challenger": EXPECTED["incumbent"]})
    assert reasons == ["challenger and incumbent are the same model"]


def test_faults_say_nothing_about_how_well_a_model_did() -> None:
    def faults(right: int) -> list[str]:
        bad = replace(BETTER, challenger=results(share(right), kl=math.nan), challenger_digest="x" * 64)
        return check_integrity(bad, RULES, EXPECTED)

    assert faults(0) == faults(300)


@cache
def p_value(wins: int, losses: int) -> float:
    challenger = np.arange(wins + losses) < wins
    return exact_mcnemar(challenger, ~challenger).p_value


def null_streams() -> np.ndarray:
    """Wins and losses of 1000 schedules of 26 challengers that are no better: 500 items, 20% discordant."""
    return np.random.default_rng(0).multinomial(500, [0.1, 0.1, 0.8], size=(1000, 26))[..., :2]


def test_a_schedule_of_null_challengers_seldom_promotes_any() -> None:
    alpha = RULES.alpha_epoch / RULES.uses_per_epoch
    promoted = [any(p_value(w, n) <= alpha for w, n in stream) for stream in null_streams().tolist()]
    assert np.mean(promoted) <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1000)  # 0.071


def test_the_same_schedules_would_break_a_gate_without_correction() -> None:
    promoted = [any(p_value(w, n) <= 0.05 for w, n in stream) for stream in null_streams().tolist()]
    assert np.mean(promoted) > 0.5


def test_decide_uses_the_test_of_the_simulation() -> None:
    rng = np.random.default_rng(1)
    for _ in range(5):
        ours, theirs = rng.random((2, 60)) < 0.6
        figures = decide(arms(ours.tolist(), theirs.tolist()), RULES, first_champion=False).figures
        assert figures["p_value"] == p_value(int(figures["wins"]), int(figures["losses"]))


def verdict(decision: SealedDecision) -> Verdict:
    return Verdict(
        Outcome.PROMOTE, ["every rule held"], "c" * 64, "i" * 64, fold="sealed_0", use=3, alpha=0.05 / 26,
        figures=decision.figures, sealed_reasons=decision.reasons,
    )  # fmt: skip


def test_a_verdict_survives_json_with_its_digest() -> None:
    original = verdict(decide(BETTER, RULES, first_champion=True))
    again = Verdict.from_json(json.loads(json.dumps(original.as_json(), allow_nan=False)))
    assert again == original
    assert again.digest == original.digest


@pytest.mark.parametrize("change", [{"use": 4}, {"outcome": Outcome.REJECT}, {"figures": {"p_value": 0.5}}])
def test_any_change_of_a_verdict_changes_its_digest(change: dict[str, object]) -> None:
    original = verdict(decide(BETTER, RULES, first_champion=True))
    assert replace(original, **change).digest != original.digest


def test_what_may_be_shown_holds_nothing_measured_on_sealed_items() -> None:
    first = verdict(decide(BETTER, RULES, first_champion=True))
    other = verdict(decide(arms(share(300), share(200)), RULES, first_champion=True))
    assert first.digest != other.digest
    assert first.public() == other.public()
    assert not {"figures", "sealed_reasons"} & set(first.public())


def guarded(*guards: Guard, **more: object) -> Rules:
    return Rules(guards=list(guards), **more)


def formatted(arms: Arms, ours: int, theirs: int) -> Arms:
    """The first so many items are in the format."""
    challenger = {k: [replace(r[0], parts={"format_rate": float(int(k) < ours)})] for k, r in arms.challenger.items()}
    return replace(
        arms,
        challenger=challenger,
        incumbent={k: [replace(r[0], parts={"format_rate": float(int(k) < theirs)})] for k, r in arms.incumbent.items()},
    )


@pytest.mark.parametrize(
    ("ours", "margin", "promote"),
    [
        (300, 0.02, True),
        (290, 0.02, True),  # the same: no difference, and no spread
        (290, 0.0, False),  # a tie is not better
        (280, 0.02, False),  # 10 of 300 worse: -0.033
    ],
)
def test_a_guard_with_a_margin_is_a_bound_on_the_difference(ours: int, margin: float, promote: bool) -> None:
    rules = guarded(Guard(measure="format_rate", margin=margin))
    assert decide(formatted(BETTER, ours, 290), rules, first_champion=False).promote is promote


def test_a_margin_needs_more_than_a_mean_within_it() -> None:
    rules = guarded(Guard(measure="format_rate", margin=0.02))
    # 5 of 300 worse: -0.0167 is within 0.02, but 1.65 x sqrt(0.0167) / sqrt(300) = 0.0123 further is not
    assert not decide(formatted(BETTER, 285, 290), rules, first_champion=False).promote


def test_what_less_is_better_of_has_its_margin_on_the_other_side() -> None:
    rules = guarded(Guard(measure="length", margin=1.0))
    longer = replace(BETTER, challenger=results(share(270), length=12))
    assert decide(BETTER, rules, first_champion=False).promote
    assert not decide(longer, rules, first_champion=False).promote
    assert decide(replace(longer, incumbent=results(share(240), length=20)), rules, first_champion=False).promote


def sliced(arms: Arms, wrong: int) -> Arms:
    """Items 0 to 99 are of the slice hard; the challenger is wrong on the first so many of them."""
    mark = {k: ["hard"] if int(k) < 100 else [] for k in arms.items}
    challenger = {
        k: [replace(r[0], slices=mark[k], passed=r[0].passed and int(k) >= wrong)] for k, r in arms.challenger.items()
    }
    return replace(arms, challenger=challenger)


def test_a_gain_on_the_whole_does_not_pay_for_a_loss_on_a_slice() -> None:
    rules = guarded(Guard(measure="accuracy", slice="hard", margin=0.05))
    assert decide(sliced(BETTER, 0), rules, first_champion=False).promote
    decision = decide(sliced(BETTER, 8), rules, first_champion=False)  # 30 wins against 8 losses: p = 2e-4
    assert not decision.promote
    assert next(r for r in decision.reasons if r.endswith("failed")).startswith("guard: accuracy on sealed, slice hard")


def test_a_slice_without_items_never_holds() -> None:
    rules = guarded(Guard(measure="accuracy", slice="hard", margin=0.5))
    assert not decide(BETTER, rules, first_champion=False).promote


def test_a_guard_may_be_on_another_set_of_items() -> None:
    rules = guarded(Guard(measure="accuracy", on="school", margin=0.05))
    for right, promote in ((100, True), (80, False)):
        other = arms(share(right, 100), share(100, 100))
        places = {"sealed": compare(BETTER, ["accuracy"]), "school": compare(other, ["accuracy"])}
        draws = np.random.default_rng(0)
        decision = decide_on(places, rules, tests={"accuracy": "mcnemar"}, alpha=0.01, first_champion=False, draws=draws)
        assert decision.promote is promote
        assert decision.others_held is promote


@pytest.mark.parametrize("test", ["sign_flip", "clustered_t"])
def test_a_gain_must_be_above_the_least_that_is_wanted(test: str) -> None:
    alternating = arms([n % 10 != 0 for n in range(300)], [n % 5 != 0 for n in range(300)])  # 0.9 against 0.8
    for least, promote in ((0.03, True), (0.12, False)):
        rules = guarded(primary=Primary(min_effect=least), target_effect=0.2)
        assert decide(alternating, rules, first_champion=False, test=test).promote is promote


def test_several_samples_of_one_item_count_once() -> None:
    def copies(arm: dict[str, list[ItemResult]], k: int) -> dict[str, list[ItemResult]]:
        return {item: [replace(r[0], sample=n) for n in range(k)] for item, r in arm.items()}

    few = arms(share(28, 30), share(22, 30))  # six wins: p about 2^-6 whatever the number of copies
    many = replace(few, challenger=copies(few.challenger, 8), incumbent=copies(few.incumbent, 8), samples=8)
    p_values = [decide(a, guarded(), False, test="sign_flip").figures["p_value"] for a in (few, many)]
    assert p_values == pytest.approx([2**-6] * 2, abs=0.005)


def test_swapping_the_arms_negates_the_gain() -> None:
    swapped = replace(BETTER, challenger=BETTER.incumbent, incumbent=BETTER.challenger)
    gains = [decide(a, guarded(), False).figures["gain"] for a in (BETTER, swapped)]
    assert gains == pytest.approx([0.1, -0.1])


def test_a_challenger_at_a_guards_margin_is_seldom_promoted() -> None:
    worse = bound = 0.05
    rng, rules = np.random.default_rng(0), guarded(Guard(measure="format_rate", margin=worse))
    promoted = 0
    for _ in range(300):
        # the format holds for all of the incumbent's, and for 95% of the challenger's: just the margin
        broken = rng.random(300) < worse
        challenger = {
            k: [replace(r[0], parts={"format_rate": float(not broken[int(k)])})] for k, r in BETTER.challenger.items()
        }
        promoted += decide(replace(BETTER, challenger=challenger), rules, first_champion=False).promote
    assert promoted / 300 <= bound + 3 * math.sqrt(bound * (1 - bound) / 300)
