"""When training must end: each rule on its own fault, and on none of a hundred healthy runs."""

import json
from dataclasses import asdict

import pytest
from pydantic import ValidationError

from ratchet.components.recipe import Sentinel
from ratchet.components.training.detectors import RULES
from ratchet.components.training.sentinel import (
    ADVICE,
    NONFINITE,
    DevResult,
    SentinelState,
    Stop,
    dev_result,
    may_be_judged,
)
from tests.training.trajectories import Fault, healthy_levels, run

LIMITS = Sentinel()


def test_a_hundred_healthy_runs_are_left_alone() -> None:
    assert [stop for seed in range(100) if (stop := run(seed))] == []


def from_step_60(**values: float) -> Fault:
    """Figures that change at step 60 and stay so."""
    renamed = {name.replace("__", "/"): value for name, value in values.items()}
    return lambda step, figures: {**figures, **renamed} if step >= 60 else figures


FAULTS = {
    "kl": ("kl", from_step_60(objective__kl=25.0)),
    "length": ("length", from_step_60(completions__mean_length=24.0)),
    "truncated": ("length", from_step_60(completions__clipped_ratio=0.3)),
    "length_correlation": ("length", from_step_60(completions__length_correlation=0.95)),
    "entropy_low": ("entropy", from_step_60(entropy=0.01)),
    "entropy_high": ("entropy", from_step_60(entropy=0.6)),
    "distinct_2": ("repetition", from_step_60(completions__distinct_2=0.4)),
    "identical": ("repetition", from_step_60(completions__identical_wrong=0.7)),
    "silent": ("silent_groups", from_step_60(frac_unsolved_zero_std=0.9)),
    "missing": ("missing_rewards", from_step_60(frac_reward_missing=0.1)),
    "mismatch": ("mismatch", from_step_60(mismatch__log_prob_mean_abs=0.2)),
    "clipped": ("ratio", from_step_60(clip_ratio__region_mean=0.6)),
}


@pytest.mark.parametrize("rule", FAULTS)
def test_each_rule_stops_its_own_fault_once_it_has_lasted(rule: str) -> None:
    reason, fault = FAULTS[rule]
    stop = run(1, fault)
    assert stop is not None
    assert (stop.reason, stop.step) == (reason, 62)  # the third step in a row


@pytest.mark.parametrize("rule", FAULTS)
def test_a_rule_that_is_null_is_off(rule: str) -> None:
    assert run(1, FAULTS[rule][1], limits=Sentinel(**{rule: None})) is None


def test_every_rule_has_a_fault_and_every_reason_its_advice() -> None:
    assert {rule.name for rule in RULES} == FAULTS.keys()
    assert {rule.reason for rule in RULES} - {"entropy"} <= ADVICE.keys()
    for rule in RULES:
        assert Stop(rule.reason, rule.signal, 1.0, 2.0 if rule.below else 0.5, 62).text()


def test_a_fault_that_passes_is_a_warning_alone() -> None:
    sentinel, found = SentinelState(), []
    for step in range(1, 9):
        figures = {"completions/mean_length": 10.0 if step != 7 else 30.0}
        found.append((sentinel.observe(step, figures, 1, 0, LIMITS), sentinel.warnings()))
    assert [stop for stop, _ in found] == [None] * 8
    assert [warnings for _, warnings in found if warnings] == [{"sentinel/length": 1.0}]


def test_a_reward_may_prefer_long_answers_while_they_do_not_grow() -> None:
    sentinel, figures = SentinelState(), {"completions/length_correlation": 1.0, "completions/mean_length": 10.0}
    assert all(sentinel.observe(step, figures, 1, 0, LIMITS) is None for step in range(1, 20))


@pytest.mark.parametrize(("divergence", "warned"), [(0.014, False), (0.016, True)])
def test_a_doubtful_engine_is_warned_of_and_never_stopped(divergence: float, warned: bool) -> None:
    sentinel, figures = SentinelState(), {"mismatch/kl": divergence, "mismatch/log_prob_mean_abs": 0.03}
    assert all(sentinel.observe(step, figures, 1, 0, LIMITS) is None for step in range(1, 9))
    assert sentinel.warnings() == ({"sentinel/mismatch_kl": 8.0} if warned else {})


def test_the_doubt_is_off_with_its_rule() -> None:
    sentinel = SentinelState()
    sentinel.observe(1, {"mismatch/kl": 1.0}, 1, 0, Sentinel(mismatch=None))
    assert sentinel.warnings() == {}


# Gradients.


def spike(step: int, figures: dict[str, float]) -> dict[str, float]:
    return {**figures, "grad_norm": 9.0} if step >= 60 and step % 8 == 0 else figures


def test_five_spikes_in_fifty_steps_end_training() -> None:
    stop = run(1, spike)
    assert stop is not None
    assert (stop.reason, stop.step) == ("gradient", 96)  # 64, 72, 80, 88, 96


def test_a_rare_spike_does_not() -> None:
    assert run(1, lambda step, figures: {**figures, "grad_norm": 9.0} if step % 25 == 0 else figures) is None


def test_spikes_can_be_switched_off() -> None:
    assert run(1, spike, limits=Sentinel(gradient=None)) is None


# Proxy against gold.


def hacked(step: int) -> tuple[float, float]:
    """From step 60 on the proxy keeps rising while gold falls."""
    gold, proxy = healthy_levels(min(step, 60))
    return gold - max(0, step - 60) / 20, proxy + max(0, step - 60) / 60


@pytest.mark.parametrize("seed", range(5))
def test_a_proxy_that_leaves_gold_behind_ends_training(seed: int) -> None:
    stop = run(seed, levels=hacked)
    assert stop is not None
    assert stop.reason == "proxy_gold_gap"
    assert stop.step <= 100


def test_a_gap_can_be_let_pass() -> None:
    assert run(0, levels=hacked, limits=Sentinel(gap=None)) is None


def test_a_fall_of_both_is_no_gap() -> None:
    assert run(0, levels=lambda step: (0.5 - step / 100, -step / 50)) is None


def test_a_divergence_on_dev_over_the_budget_ends_training_at_once() -> None:
    result = dev_result({"eval_kl": 21.0}, [1.0], [1.0])
    assert SentinelState().observe_dev(20, result, LIMITS) == Stop("kl", "eval_kl", 21.0, 20.0, 20)
    assert SentinelState().observe_dev(20, result, Sentinel(kl=None)) is None


def test_gold_that_falls_on_training_prompts_asks_for_a_dev_evaluation() -> None:
    sentinel = SentinelState()
    asked = []
    for step in range(20, 60):
        accuracy = (0.8 if step < 50 else 0.6) + 0.02 * (step % 2)
        sentinel.observe(step, {"accuracy": accuracy}, 1, 0, LIMITS)
        asked.append(sentinel.wants_evaluation(step, LIMITS))
    assert not any(asked[:30])
    assert any(asked[30:33])


# A second opinion.


def dev_of(wrong: int, proxy: float) -> DevResult:
    """400 items, of which the first are wrong."""
    return dev_result({}, [0.0] * wrong + [1.0] * (400 - wrong), [proxy] * 400)


def worse() -> SentinelState:
    """Gold falls by 8 items of 400, 2.85 standard errors, between two evaluations; the proxy rises."""
    sentinel = SentinelState()
    assert [sentinel.observe_dev(step, dev_of(40 + step, step), LIMITS) for step in (0, 8)] == [None, None]
    return sentinel


def test_a_suspicion_asks_for_a_second_opinion_and_for_dev_every_five_steps() -> None:
    sentinel = worse()
    assert sentinel.wants_second_opinion(8, LIMITS)
    assert [step for step in range(14, 20) if sentinel.wants_evaluation(step, LIMITS)] == list(range(14, 20))
    assert [step for step in (9, 11, 12) if sentinel.wants_evaluation(step, LIMITS)] == []
    sentinel.observe_dev(13, dev_of(40, 9.0), LIMITS)  # gold is back
    assert not sentinel.wants_second_opinion(13, LIMITS)
    assert not sentinel.wants_evaluation(18, LIMITS)


def test_without_its_limit_no_second_opinion_is_asked_for() -> None:
    limits = Sentinel(second_opinion=None)
    assert not worse().wants_second_opinion(8, limits)
    assert not worse().wants_evaluation(19, limits)


def test_a_fall_that_both_rewards_share_raises_no_suspicion() -> None:
    sentinel = SentinelState()
    for step, wrong in enumerate((40, 60, 80)):
        sentinel.observe_dev(step, dev_of(wrong, -float(wrong)), LIMITS)
        assert not sentinel.wants_second_opinion(step, LIMITS)


def test_a_second_opinion_that_agrees_ends_training_and_one_that_does_not_does_not() -> None:
    best = [dev_of(40, 0.0)] * 3
    stop = SentinelState().observe_second_opinion(8, best, [dev_of(48, 1.0)] * 3, LIMITS)
    # changes of -1 in 8 items of 400: mean -0.02, deviation 0.1402, error 0.00701
    assert stop == Stop("proxy_gold_gap", "sentinel/second_opinion", pytest.approx(2.853, abs=1e-3), 2.5, 8)
    assert SentinelState().observe_second_opinion(8, best, [dev_of(46, 1.0)] * 3, LIMITS) is None  # 2.464
    assert SentinelState().observe_second_opinion(8, best, [dev_of(48, -1.0)] * 3, LIMITS) is None  # the proxy falls as well


def flat(step: int) -> tuple[float, float]:
    """A reward that rises and teaches nothing: gold stays as it was."""
    return 0.5, step / 20


def slowly_hacked(step: int) -> tuple[float, float]:
    """From step 10 on gold falls by about 5 points in 20 steps, while the proxy rises."""
    return 0.5 - max(0, step - 10) / 80, step / 20


def test_a_gold_that_stays_as_it_was_seldom_ends_training() -> None:
    stops = [stop for seed in range(50) if (stop := run(seed, levels=flat))]
    assert sum(stop.signal == "sentinel/second_opinion" for stop in stops) <= 4


def test_a_second_opinion_comes_before_what_one_sample_per_item_can_show() -> None:
    def ends(limits: Sentinel) -> list[int]:
        stops = [run(seed, levels=slowly_hacked, limits=limits) for seed in range(20)]
        return sorted(140 if stop is None else stop.step for stop in stops)

    assert ends(LIMITS)[10] < ends(Sentinel(second_opinion=None))[10] - 10


# When dev is evaluated.


def test_dev_is_looked_at_early() -> None:
    assert [step for step in range(1, 30) if SentinelState().wants_evaluation(step, Sentinel(looks=[2, 4]))] == [2, 4]


# Updates that are not finite.


def skips(*steps: tuple[int, int]) -> list[str | None]:
    sentinel = SentinelState()
    stops = [sentinel.observe(number, {}, *step, LIMITS) for number, step in enumerate(steps)]
    return [stop and stop.reason for stop in stops]


def test_three_skipped_steps_in_a_row_end_training() -> None:
    assert skips((0, 1), (0, 1), (0, 1)) == [None, None, NONFINITE]


def test_a_finite_step_starts_the_count_anew() -> None:
    assert skips((0, 1), (0, 1), (1, 0), (0, 1), (0, 1)) == [None] * 5


def test_a_step_without_any_update_neither_counts_nor_clears() -> None:
    assert skips((0, 1), (0, 1), (0, 0), (0, 1))[-1] == NONFINITE


def test_a_step_that_was_skipped_in_part_counts() -> None:
    assert skips((3, 1), (3, 1), (3, 1))[-1] == NONFINITE


def test_figures_that_are_not_finite_cross_nothing() -> None:
    sentinel = SentinelState()
    assert all(sentinel.observe(step, {"entropy": float("nan")}, 1, 0, LIMITS) is None for step in range(20))


def test_this_rule_cannot_be_switched_off() -> None:
    with pytest.raises(ValidationError):
        Sentinel(nonfinite=None)


# The reason, and the state.


def test_a_checkpoint_from_before_a_stop_may_be_judged_unless_updates_were_not_finite() -> None:
    assert {reason for reason in ADVICE if not may_be_judged(reason)} == {NONFINITE}


def test_a_reason_is_given_with_its_figures_and_what_to_do() -> None:
    text = Stop("length", "completions/mean_length", 24.71, 21.4, 62).text()
    assert text.startswith(
        "the sentinel stopped training at step 62: length (completions/mean_length 24.7, limit 21.4). Inspect"
    )


@pytest.mark.parametrize("reason", ["kl", "entropy", "length", "repetition", "silent_groups"])
def test_in_the_first_steps_the_advice_begins_with_the_size_of_the_updates(reason: str) -> None:
    first = "After so few steps the updates are the first suspect: lower train.lr to a tenth, or raise train.lr_warmup."
    assert first in Stop(reason, "x", 109.0, 20.0, 1).text()
    assert first not in Stop(reason, "x", 109.0, 20.0, 21).text()


def test_a_reward_that_gold_contradicts_is_the_suspect_at_any_step() -> None:
    assert Stop("proxy_gold_gap", "sentinel/gap", 4.0, 3.0, 2).text().endswith(ADVICE["proxy_gold_gap"])


def test_the_advice_about_entropy_is_that_of_its_side() -> None:
    rising, falling = Stop("entropy", "entropy", 3.0, 1.5, 62).text(), Stop("entropy", "entropy", 0.01, 0.1, 62).text()
    assert "lower train.lr" in rising and "train.kl_coefficient" in rising and "lower train.loss.clip_high" in rising
    assert "raise train.loss.clip_high" in falling and "noise" not in falling


def test_a_resumed_sentinel_goes_on_as_the_one_before() -> None:
    def seen(resume: bool) -> list[Stop | None]:
        sentinel, stops = SentinelState(), []
        for step in range(1, 40):
            figures = {"entropy": 1.0 if step < 36 else 9.0, "grad_norm": float(step % 7), "accuracy": (step % 5) / 5}
            stops.append(sentinel.observe(step, figures, 1, 0, LIMITS))
            stops.append(sentinel.observe_dev(step, dev_result({}, [step % 2, 1.0], [step, None]), LIMITS))
            if resume:
                sentinel = SentinelState.resumed(json.loads(json.dumps(asdict(sentinel))))
        return stops

    assert seen(resume=True) == seen(resume=False)
    assert any(seen(resume=True))
