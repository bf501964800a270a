"""Advice follows from the pilot: noisier rewards want larger groups, silent ones a critic, bent curves a KL budget."""

import dataclasses
import json
import math

import numpy as np
import pytest

from ratchet.components.rewards.advice.advise import advise, better_algorithm, kl_budget
from ratchet.components.rewards.advice.pilot import Pilot
from ratchet.components.rewards.checks.on_samples import Group, best_of_n_kl

UNIFORM = Pilot(
    prompts=9, k=8, within=0.15, between=0.1, noise=0.0, fidelity=1.0, passes=list(range(9)), tokens=30.0, longest=32
)


def curve(gold: list[float]) -> list[dict[str, float]]:
    points = zip((1, 2, 4, 8, 16), gold, strict=True)
    return [{"n": n, "kl": best_of_n_kl(n), "proxy": g, "gold": g, "gold_low": g, "gold_high": g} for n, g in points]


RISING = curve([0.5, 0.6, 0.7, 0.78, 0.85])


def test_a_clean_reward_gets_the_rule_of_thumb_and_a_noisy_one_more() -> None:
    sizes = [advise(dataclasses.replace(UNIFORM, noise=noise), RISING, 10**6).k for noise in (0.0, 0.15, 0.45)]
    assert sizes == [8, 16, 32]  # rho = 1, 1/2, 1/4: 1 + 4 / rho = 5, 9, 17


def test_a_model_that_explains_little_of_the_gold_verdict_counts_as_noisy() -> None:
    assert advise(dataclasses.replace(UNIFORM, fidelity=0.5), RISING, 10**6).k == 16


def test_a_hopeless_reward_is_capped_and_says_what_to_do_instead() -> None:
    advice = advise(dataclasses.replace(UNIFORM, fidelity=0.01), RISING, 10**6)
    assert (advice.k, advice.capped) == (32, True)
    assert any("refills" in reason for reason in advice.reasons)


def test_advice_is_plain_json() -> None:
    advice = advise(dataclasses.replace(UNIFORM, between=0.0), RISING, 10**6)
    assert json.loads(json.dumps(advice.as_json(), allow_nan=False))["sizes"][0]["k"] == 2
    assert advice.fixed_budget_k is None


@pytest.mark.parametrize(("silent", "tokens", "algorithm"), [(0.2, 100, "grpo"), (0.7, 100, "ppo"), (0.2, 9000, "ppo")])
def test_mostly_silent_groups_and_very_long_answers_want_a_critic(silent: float, tokens: float, algorithm: str) -> None:
    found, reasons = better_algorithm(silent, tokens, 2**30)
    assert found == algorithm
    assert "16.00 GiB" in reasons[1]


def test_a_curve_that_bends_down_gives_a_budget_below_its_peak() -> None:
    # gold - gold(1) = d (0.5 - 0.25 d): the peak is at d = 1, KL = 1; six tenths of it.
    points = curve([0.5 + math.sqrt(kl) * (0.5 - 0.25 * math.sqrt(kl)) for kl in map(best_of_n_kl, (1, 2, 4, 8, 16))])
    assert kl_budget(points)[0] == pytest.approx(0.6)


def test_a_curve_that_rises_gives_no_more_than_was_seen() -> None:
    assert kl_budget(RISING)[0] == pytest.approx(best_of_n_kl(16))


def test_a_reward_that_makes_gold_fall_has_no_budget() -> None:
    assert kl_budget(curve([0.5, 0.4, 0.3, 0.2, 0.1]))[0] == 0.0
    assert kl_budget(RISING[:2])[0] is None


def group(values: list[list[float]], gold: list[float]) -> Group:
    return Group({"prompt": str(values)}, [""] * len(gold), np.array(values), np.array(gold))


def test_a_pilot_separates_the_scorings_noise_from_the_signal() -> None:
    # Every text scored 1 apart from its truth once up and once down: noise variance 2; the means 0 and 4 have variance 8.
    pilot = Pilot.measured([group([[-1.0, 3.0], [1.0, 5.0]], [0.0, 1.0])] * 2, [4, 6])
    assert (pilot.noise, pilot.within) == (2.0, 8.0 - 2.0 / 2)
    assert (pilot.passes, pilot.tokens, pilot.longest) == ([1, 1], 5.0, 6)
    assert pilot.signal_share == pytest.approx(7 / 9)


def test_fidelity_is_the_squared_correlation_within_prompts() -> None:
    # The prompts' own levels (0 and 100) do not count; within them reward and gold agree wholly, or not at all.
    agreeing = [group([[level, level + 1.0]] * 2, [0.0, 1.0]) for level in (0.0, 100.0)]
    assert Pilot.measured(agreeing, []).fidelity == pytest.approx(1.0)
    assert Pilot.measured([agreeing[0], group([[1.0, 0.0]] * 2, [0.0, 1.0])], []).fidelity == 0.0


def test_prompts_whose_mean_differs_only_by_chance_have_no_variance_between_them() -> None:
    random = np.random.default_rng(0)
    alike = [group([random.normal(size=8).tolist()] * 2, [0.0] * 8) for _ in range(400)]
    assert Pilot.measured(alike, []).between < 0.02
