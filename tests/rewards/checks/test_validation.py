"""Each check fires on its own fault, and a healthy reward passes them all."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ratchet.components.errors import RewardError
from ratchet.components.graders.number import grade_number, grade_numbers
from ratchet.components.graders.protocol import Grade, RewardFunction
from ratchet.components.recipe import CHECKS, GoldValidation, RewardValidation, Slice
from ratchet.components.rewards.checks.check import Check, RewardReport
from ratchet.components.rewards.checks.validation import GoldTest, Samples, Subject, validate_reward
from ratchet.components.rewards.combine import Ensemble
from tests.rewards.checks.pools import drawing

OF_GOLD = [name for name in CHECKS if name.startswith("gold_") and name not in ("gold_parsed", "gold_signal")]  # found before
ROWS = [{"id": f"{n:04x}", "prompt": f"2 + {n}?", "answer": f"#### {2 + n}"} for n in range(40)]
PAIRS = [
    {
        **row,
        "chosen": f"2 + {n} = {2 + n}\n{'so ' * (n % 3)}#### {2 + n}",
        "rejected": f"2 + {n} = {3 + n}\nso #### {3 + n}",
    }
    for n, row in enumerate(ROWS)
]
# Four samples per prompt, of growing length: right and wrong in turn.
SAMPLES = Samples(
    [row for row in ROWS for _ in range(4)],
    [f"{'so ' * ((n + i) // 2 % 20)}#### {2 + n + i % 2}" for n in range(40) for i in range(4)],
)


def scoring(total: Callable[[str, bool], Any]) -> RewardFunction:
    """A reward that is a function of a completion and whether it is right."""

    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        right = [bool(grade_number(c, row["answer"], strict=False).passed) for c, row in zip(completions, rows, strict=True)]
        return [Grade(total(*pair), {}) for pair in zip(completions, right, strict=True)]

    return reward


LENIENT = scoring(lambda _, right: float(right))


def report(reward: RewardFunction = LENIENT, judge: RewardFunction | None = None, **parts: Any) -> RewardReport:
    given = {"pairs": PAIRS, "samples": SAMPLES, "thresholds": RewardValidation(), **parts}
    before = [Check(name, 1.0, None, None, 0.99, True, "Correct it.") for name in OF_GOLD]
    tested = GoldTest(before, 0.75, True, GoldValidation())
    gold = given.get("gold", grade_numbers)
    subject = Subject("custom", reward, judge or reward, given.get("learned", False), gold=gold, tested=tested)
    return validate_reward(subject, given["pairs"], drawing(given["samples"]), given["thresholds"])


def failed(report: RewardReport) -> set[str]:
    return {check.name for check in report.checks if check.passed is False}


def check(name: str, **parts: Any) -> Check:
    (found,) = (check for check in report(**parts).checks if check.name == name)
    return found


# Reports


def test_a_healthy_reward_passes_every_check() -> None:
    healthy = report(learned=True, judge=scoring(lambda _, right: 4.0 * right))
    assert failed(healthy) == set()
    assert healthy.passed


def test_the_checks_that_a_recipe_can_waive_are_those_that_are_run() -> None:
    assert sorted(check.name for check in report(learned=True).checks) == sorted(CHECKS)


def test_a_report_comes_back_from_json_as_it_was() -> None:
    for original in (report(), report(learned=True), report(pairs=[])):
        assert RewardReport.from_json(json.loads(json.dumps(original.as_json(), allow_nan=False))) == original


def test_a_report_without_checks_has_shown_nothing() -> None:
    assert not RewardReport("verifier", []).passed


def test_every_check_says_what_to_do() -> None:
    assert all(check.advice for check in report(learned=True).checks)


# One rule


MANY = [{"prompt": f"2 + {n}?", "answer": f"#### {2 + n}"} for n in range(400)]


def signalled(silent: int) -> Samples:
    """Two samples per prompt, both right for ``silent`` prompts of ten, else one right and one wrong."""
    rows = [row for row in MANY for _ in range(2)]
    wrong = [i * (n % 10 >= silent) for n in range(400) for i in range(2)]
    return Samples(rows, [f"#### {int(row['answer'][5:]) + w}" for row, w in zip(rows, wrong, strict=True)])


@pytest.mark.parametrize(
    ("silent", "limit", "looks", "passed", "undecided"),
    [(1, 0.9, 1, True, False), (5, 0.1, 1, False, False), (5, 0.7, 2, True, False), (5, 0.5, 3, False, True)],
    ids=["clearly within", "clearly beyond", "within, on twice the prompts", "undecided within the budget"],
)
def test_faults_of_luck_prompts_are_added_until_the_bound_decides_or_the_budget_is_spent(
    silent: int, limit: float, looks: int, passed: bool, undecided: bool
) -> None:
    asked: list[tuple[int, int]] = []
    pool = drawing(signalled(silent))

    def draw(start: int, stop: int) -> Samples:
        asked.append((start, stop))
        return pool(start, stop)

    wanted = RewardValidation(max_silent_groups=limit, samples=20, rounds=3)
    found = validate_reward(Subject("custom", LENIENT, LENIENT), PAIRS, draw, wanted)
    (silence,) = (check for check in found.checks if check.name == "silent_groups")
    assert asked == [(0, 20), (20, 40), (40, 80)][:looks]
    assert (silence.passed, silence.undecided) == (passed, undecided)
    assert (("undecided" in silence.detail) and ("samples" in silence.advice)) is undecided


def test_a_figure_within_its_threshold_whose_bound_is_not_does_not_pass() -> None:
    # 37 of 40 pairs in order are 0.925; Wilson's lower bound is 0.79.
    wrong = {pair["chosen"] for pair in PAIRS[:3]}
    found = check(
        "pair_accuracy",
        judge=scoring(lambda text, right: -1.0 if text in wrong else float(right)),
        thresholds=RewardValidation(pair_accuracy_lower_bound=0.9),
    )
    assert (found.value, found.passed, found.undecided) == (pytest.approx(0.925), False, True)


def test_faults_of_counting_what_was_not_measured_neither_passed_nor_failed() -> None:
    found = report(pairs=[{**pair, "chosen": "yes", "rejected": "no"} for pair in PAIRS])
    states = {check.name: check.state for check in found.checks}
    absent = {"sycophancy", "calibration", "worst_subset", "short_chosen_accuracy"}
    assert {name for name, state in states.items() if state == "not measured"} == absent
    assert set(states) == set(CHECKS)
    assert found.counts.endswith(f"of {len(CHECKS) - 4} checks passed, 4 not measured")
    assert not absent & set(found.failed)


# Waivers


def test_a_failed_check_is_accepted_by_name_and_stays_visible() -> None:
    waive = {"agreement": "the verifier is known to be wrong here", "range": "not needed"}
    judged = report(reward=scoring(lambda _, right: 1.0 - right), judge=LENIENT)
    only = dict.fromkeys(failed(judged), "why")
    waived = report(reward=scoring(lambda _, right: 1.0 - right), judge=LENIENT, thresholds=RewardValidation(waive=only))
    assert (judged.passed, waived.passed, waived.waived) == (False, True, only)
    partly = report(reward=scoring(lambda _, right: 1.0 - right), judge=LENIENT, thresholds=RewardValidation(waive=waive))
    assert partly.waived == {"agreement": waive["agreement"]}
    assert not partly.passed
    assert partly.failed == sorted(set(only) - {"agreement"}, key=partly.failed.index)


@pytest.mark.parametrize("waive", [{"agrement": "a typing error"}, {"agreement": " "}])
def test_a_waiver_needs_a_check_that_exists_and_a_reason(waive: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"there is no check|has no reason"):
        RewardValidation(waive=waive)


# Each fault and its check


def test_a_judge_that_prefers_the_wrong_answers_fails_on_pairs() -> None:
    found = failed(report(judge=scoring(lambda _, right: 1.0 - right)))
    assert found == {"pair_accuracy", "length_baseline", "short_chosen_accuracy"}


def test_a_judge_that_cannot_tell_the_pairs_apart_fails_on_pairs() -> None:
    found = failed(report(pairs=[{**pair, "rejected": pair["chosen"]} for pair in PAIRS]))
    assert {"pair_accuracy", "length_baseline"} <= found


def test_no_held_out_pairs_fail_with_the_key_to_raise() -> None:
    found = check("pair_accuracy", pairs=[])
    assert not found.passed
    assert "data.split.pairs" in found.advice


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None, "1.0"])
def test_one_value_that_is_no_finite_number_fails_finiteness_alone(value: object) -> None:
    odd = SAMPLES.completions[18]
    reward = scoring(lambda text, right: value if text == odd else float(right))
    assert failed(report(reward=reward, judge=LENIENT)) == {"finiteness"}


def test_a_constant_reward_fails_on_its_range_and_leaves_all_groups_silent() -> None:
    assert {"range", "silent_groups", "noise"} <= failed(report(reward=scoring(lambda _, right: 0.5), judge=LENIENT))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_bonus_for_length_among_right_answers_fails_on_length(sign: int) -> None:
    reward = scoring(lambda text, right: right + sign * len(text) / 1000)
    assert "length_correlation" in failed(report(reward=reward, judge=LENIENT))


def test_a_reward_that_disagrees_with_the_verifier_fails_on_agreement() -> None:
    assert "agreement" in failed(report(reward=scoring(lambda _, right: 1.0 - right), judge=LENIENT))


@pytest.mark.parametrize("answer", ["#### 5", "#### 6"], ids=["all right", "all wrong"])
def test_samples_of_one_kind_cannot_show_agreement(answer: str) -> None:
    rows = [{"prompt": f"2 + {n}?", "answer": "#### 5"} for n in range(10) for _ in range(2)]
    samples = Samples(rows, [f"{'so ' * n}{answer}" for n in range(20)])
    assert not check("agreement", samples=samples).passed


def test_no_samples_fail() -> None:
    found = failed(report(samples=Samples([], [])))
    assert {"range", "agreement", "silent_groups", "noise", "best_of_n", "hack_strings"} <= found


def test_a_reward_that_looks_at_its_batch_fails_invariance() -> None:
    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        scores = grade_numbers(prompts, completions, rows)
        return [Grade((grade.score or 0.0) + len(scores) / 100, {}) for grade in scores]

    assert {"batch_invariance", "padding_invariance"} <= failed(report(reward=reward))


def test_a_reward_that_looks_at_its_longest_neighbour_fails_on_padding() -> None:
    def reward(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        longest = max(map(len, completions), default=0)
        return [Grade((s.score or 0.0) + longest / 1000, {}) for s in grade_numbers(prompts, completions, rows)]

    assert not check("padding_invariance", reward=reward).passed


def test_a_reward_that_counts_white_space_fails_on_text() -> None:
    assert not check("text_invariance", reward=scoring(lambda text, right: right + 5.0 * text.endswith("  "))).passed


def test_a_learned_judge_that_knows_one_marker_fails_on_format() -> None:
    narrow = scoring(lambda text, right: float(right and "####" in text))
    assert not check("format_perturbation", judge=narrow, learned=True).passed
    assert check("format_perturbation", judge=narrow).passed  # a verifier's form is the recipe's choice


def test_a_layout_that_the_gold_rejects_is_no_fault_of_the_reward() -> None:
    bare = scoring(lambda text, right: float(right and not text.startswith("Answer:")))
    assert not check("format_perturbation", reward=bare).passed
    assert check("format_perturbation", reward=bare, gold=bare).passed
    oneline = scoring(lambda text, right: float(right and "\n\n" not in text and not text.startswith("Answer:")))
    assert check("format_perturbation", reward=oneline, gold=oneline).state == "not measured"


def test_a_reward_that_pays_an_empty_answer_fails_on_hacks() -> None:
    found = check("hack_strings", reward=scoring(lambda text, right: 1.0 if not text else float(right)))
    assert (found.passed, found.detail) == (False, "worst: empty")


def test_a_judge_that_agrees_with_the_user_fails_on_sycophancy() -> None:
    def agreeing(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        plain = LENIENT(prompts, completions, rows)
        claims = [prompt.rpartition("I think the answer is ")[2].rstrip(".") for prompt in prompts]
        agreed = [0.5 * text.endswith(f"#### {claim}") for text, claim in zip(completions, claims, strict=True)]
        return [Grade(grade.score + bonus, {}) for grade, bonus in zip(plain, agreed, strict=True) if grade.score is not None]

    found = check("sycophancy", reward=agreeing)
    assert not found.passed
    # Rewards of the pairs are 0 and 1 in equal parts: their standard deviation is 0.5, and so is the bonus.
    assert found.value == pytest.approx(1.0)


def test_a_judge_that_agrees_with_a_claimed_label_fails_too() -> None:
    pairs = [{**pair, "answer": "refund", "chosen": "refund", "rejected": "bug"} for pair in PAIRS]

    def agreeing(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        both = zip(prompts, completions, strict=True)
        return [Grade(float(text == "refund") + prompt.endswith(f"I think the answer is {text}.")) for prompt, text in both]

    found = check("sycophancy", reward=agreeing, pairs=pairs)
    assert not found.passed
    assert found.value == pytest.approx(2.0)  # a bonus of 1, and a standard deviation of 0.5


def test_what_a_claim_does_to_both_answers_is_no_sycophancy() -> None:
    def longer(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        scored = zip(LENIENT(prompts, completions, rows), prompts, strict=True)
        return [Grade((grade.score or 0.0) + len(prompt), {}) for grade, prompt in scored]

    found = check("sycophancy", reward=longer)
    assert (found.passed, found.value) == (True, pytest.approx(0.0))


def test_pairs_without_two_numbers_cannot_show_sycophancy() -> None:
    pairs = [{**pair, "chosen": "yes", "rejected": "no"} for pair in PAIRS]
    found = check("sycophancy", pairs=pairs)
    assert (found.state, found.blocks) == ("not measured", False)


SUBSETS = [Slice(name="small", prompt=r"\+ \d\?"), Slice(name="large", prompt=r"\+ [123]\d\?")]


def test_a_judge_that_fails_on_a_part_of_its_task_fails_on_its_worst_subset() -> None:
    def half(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        scores = LENIENT(prompts, completions, rows)
        return [s if len(row["prompt"]) == 6 else Grade(0.0, {}) for s, row in zip(scores, rows, strict=True)]

    found = check("worst_subset", reward=half, thresholds=RewardValidation(subsets=SUBSETS))
    assert (found.passed, found.value, found.undecided) == (False, 0.5, True)
    assert found.detail.startswith("worst: large")
    assert check("worst_subset", thresholds=RewardValidation(subsets=SUBSETS)).passed


def test_a_subset_that_few_pairs_belong_to_is_refused() -> None:
    subsets = [*SUBSETS, Slice(name="nine", prompt="9")]
    found = check("worst_subset", thresholds=RewardValidation(subsets=subsets))
    assert (found.passed, found.detail) == (False, "nine has 4 pairs")


def test_an_ensemble_whose_members_disagree_fails_on_noise() -> None:
    def member(digit: int) -> RewardFunction:
        return scoring(lambda text, right: float(f"{digit}" in text))

    agreed = Ensemble([LENIENT, LENIENT])
    assert check("noise", reward=LENIENT, judge=agreed, learned=True).passed
    found = check("noise", reward=LENIENT, judge=Ensemble([member(1), member(2), member(3)]), learned=True)
    assert not found.passed
    assert "members" in found.detail


def test_a_learned_judge_that_pays_for_layout_by_chance_fails_on_noise() -> None:
    def moody(text: str, right: bool) -> float:
        return right + 10.0 * (len(text) * 7 % 11) * text.startswith("Answer:")

    assert check("noise", reward=LENIENT, judge=scoring(lambda _, right: float(right)), learned=True).passed
    assert not check("noise", reward=LENIENT, judge=scoring(moody), learned=True).passed


def test_a_reward_that_is_another_number_each_time_fails_on_noise() -> None:
    random = np.random.default_rng(1)
    noisy = scoring(lambda _, right: right + float(random.normal(0, 3)))
    # rho = 0.25 / (0.25 + 9), about 0.03, and the check wants 0.25.
    assert not check("noise", reward=noisy, judge=LENIENT).passed
    assert check("noise").value == 1.0


def test_a_proxy_that_prefers_wrong_answers_fails_on_best_of_n() -> None:
    assert not check("best_of_n", reward=scoring(lambda _, right: 1.0 - right), judge=LENIENT).passed


def test_an_overconfident_judge_fails_on_calibration() -> None:
    # It is right on three pairs of four and says that it is sure.
    def judge(prompts: Sequence[str], completions: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> list[Grade]:
        signs = [-1 if int(row["prompt"].split()[-1][:-1]) % 4 == 0 else 1 for row in rows]
        scores = LENIENT(prompts, completions, rows)
        return [Grade(20 * sign * (grade.score or 0.0), {}) for sign, grade in zip(signs, scores, strict=True)]

    found = check("calibration", judge=judge, learned=True)
    assert (found.passed, found.value) == (False, pytest.approx(0.25, abs=0.01))


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_reward_that_never_judges_is_refused_with_a_report_in_plain_json(value: float | None) -> None:
    found = report(reward=scoring(lambda _, right: value), learned=True)
    assert not found.passed
    assert {"finiteness", "pair_accuracy", "range", "agreement", "noise"} <= set(found.failed)
    assert RewardReport.from_json(json.loads(json.dumps(found.as_json(), allow_nan=False))) == found


def test_a_reward_that_returns_too_few_scores_is_an_error() -> None:
    with pytest.raises(RewardError, match="39 rewards for 40"):
        report(reward=lambda prompts, completions, rows: grade_numbers(prompts, completions, rows)[1:])


@pytest.mark.parametrize(("bound", "error", "rounds", "passes"), [
    (0.92, 0.025, 1, False), (0.91, 0.025, 1, True), (0.91, 0.025, 2, False), (0.91, 0.05, 2, True)
])  # fmt: skip
def test_thresholds_are_those_of_the_recipe_and_each_look_has_a_part_of_the_error(
    bound: float, error: float, rounds: int, passes: bool
) -> None:
    # Wilson's lower bound for 40 of 40 is 40 / (40 + 1.96**2) = 0.912 with an error of 0.025 on one side.
    wanted = RewardValidation(pair_accuracy_lower_bound=bound, error=error, rounds=rounds)
    assert check("pair_accuracy", thresholds=wanted).passed is passes


def test_the_report_holds_what_was_validated_and_what_the_advice_needs() -> None:
    found = validate_reward(
        Subject("custom", LENIENT, LENIENT, identity={"f": "abc"}), PAIRS, drawing(SAMPLES), RewardValidation()
    )
    assert found.identity == {"f": "abc"}
    assert (found.pilot["prompts"], found.pilot["k"], found.pilot["passes"]) == (40, 4, [2] * 40)
    assert [point["n"] for point in found.curves["best_of_n"]] == [1, 2, 4]
