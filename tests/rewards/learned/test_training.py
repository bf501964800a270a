"""The preference loss by hand, what each of its options teaches, and a recipe's reward models: parts, members, adapters."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.errors import DataError
from ratchet.components.recipe import RewardModel as RewardModelSettings
from ratchet.components.rewards.learned.model import RewardModel
from ratchet.components.rewards.learned.training import (
    EarlyStop,
    EncodedPair,
    Objective,
    length_slope,
    preference_loss,
    save_members,
    split_pairs,
    train_members,
    train_reward_model,
)

CPU = torch.device("cpu")
PAIRS = [
    {"prompt": f"What is {n} plus 3?", "chosen": f"It is {n + 3}.", "rejected": f"No idea about {n + 3}."} for n in range(40)
]
FEW = PAIRS[:24]


def loss(chosen: float, rejected: float, margin: float = 0.0, length: float = 0.0, **options: float) -> float:
    values = (torch.tensor([value]) for value in (chosen, rejected))
    return preference_loss(*values, Objective(**options), torch.tensor([margin]), torch.tensor([length])).item()


def nll(difference: float) -> float:
    return math.log1p(math.exp(-difference))


def test_the_plain_loss_is_bradley_terrys() -> None:
    assert loss(2.0, 1.0) == pytest.approx(nll(1.0))


def test_a_margin_asks_for_more() -> None:
    assert loss(2.0, 1.0, margin=3.0) == pytest.approx(nll(-2.0))


def test_smoothing_gives_the_other_label_its_share() -> None:
    assert loss(2.0, 1.0, label_smoothing=0.1) == pytest.approx(0.9 * nll(1.0) + 0.1 * nll(-1.0))


def test_centring_pulls_the_sum_of_both_scores_to_zero() -> None:
    # (2 + 1)^2 = 9, weighted by 0.01
    assert loss(2.0, 1.0, centring=0.01) == pytest.approx(nll(1.0) + 0.09)


def test_what_length_explains_need_not_be_scored() -> None:
    assert loss(2.0, 1.0, length=5.0) == pytest.approx(nll(6.0))


def train(model: RewardModel, pairs: list[dict[str, object]], steps: int = 40, **options: object) -> int:
    given = {"batch": 8, "lr": 3e-3, "seed": 1, **options}
    return len(list(train_reward_model(model, pairs, steps=steps, **given)))  # type: ignore[arg-type]


def test_the_slope_is_what_length_explains() -> None:
    # Three of four pairs prefer twice as many tokens: sigmoid(b log 2) = 3/4 at b = log 3 / log 2 = 1.58; the ridge takes some.
    pairs = [EncodedPair([1, 1], [1], 0.0)] * 3 + [EncodedPair([1], [1, 1], 0.0)]
    assert 1.2 < length_slope(pairs) < 1.585
    assert length_slope(pairs[2:]) == pytest.approx(0.0, abs=1e-3)


def test_length_debiasing_takes_length_out_of_the_score(trunk: Path) -> None:
    # Longer is better in three pairs of four, and nothing else tells them apart.
    long, short = "so so so so so so", "so so"
    pairs = [{"prompt": "p", "chosen": long, "rejected": short}] * 12 + [{"prompt": "p", "chosen": short, "rejected": long}] * 4

    def gap(debiased: bool) -> float:
        model = RewardModel.from_trunk(trunk, 1, CPU)
        train(model, pairs, batch=16, objective=Objective(length_debiased=debiased))
        first, second = model.score(["p", "p"], [long, short])
        return abs(first - second)

    assert gap(True) < 0.5 * gap(False)


def test_a_rows_own_margin_comes_before_the_recipes(trunk: Path) -> None:
    def first(pairs: list[dict[str, object]], margin: float) -> float:
        model = RewardModel.from_trunk(trunk, 1, CPU)
        options = {"batch": 8, "lr": 1e-9, "seed": 1}
        return next(train_reward_model(model, pairs, steps=1, objective=Objective(margin=margin), **options)).loss  # type: ignore[arg-type]

    assert first([{**pair, "margin": 0.0} for pair in FEW], 5.0) == first([*FEW], 0.0) < first([*FEW], 5.0)


def test_training_ends_early_and_keeps_the_best_weights(trunk: Path) -> None:
    turned = [{**pair, "chosen": pair["rejected"], "rejected": pair["chosen"]} for pair in FEW]
    model = RewardModel.from_trunk(trunk, 1, CPU)
    # Judged by the opposite labels every step makes it worse: the first evaluation is the best, two more end it.
    assert train(model, FEW, early_stop=EarlyStop(turned, patience=2, every=5)) == 15
    short = RewardModel.from_trunk(trunk, 1, CPU)
    options = {"batch": 8, "lr": 3e-3, "seed": 1}
    for step in train_reward_model(short, FEW, steps=40, **options):  # type: ignore[arg-type]
        if step.step == 4:
            break
    assert torch.equal(model.model.score.weight, short.model.score.weight)
    assert not model.model.training


def members(trunk: Path, **settings: Any) -> list[RewardModel]:
    given = {"steps": 30, "batch": 8, "lr": 3e-3, **settings}
    return train_members(RewardModelSettings.model_validate(given), trunk, PAIRS, CPU, 1, lambda step, number: None)


def score(model: RewardModel) -> float:
    return model.score(["What is 1 plus 3?"], ["It is 4."])[0]


def test_no_pair_is_used_twice() -> None:
    parts = split_pairs(PAIRS, RewardModelSettings(early_stop=1, early_stop_pairs=8, calibration_pairs=6), 1)
    assert [len(part) for part in parts] == [26, 8, 6]
    assert len({pair["prompt"] for part in parts for pair in part}) == 40


def test_of_few_pairs_most_are_trained_on() -> None:
    assert [len(part) for part in split_pairs(PAIRS[:8], RewardModelSettings(early_stop=1), 1)] == [4, 2, 2]
    with pytest.raises(DataError, match=r"data\.split\.pairs"):
        split_pairs([], RewardModelSettings(), 1)


def test_too_few_pairs_to_end_early_on_are_refused_before_anything_is_trained(trunk: Path) -> None:
    with pytest.raises(DataError, match=r"reward\.model\.early_stop needs 4 training pairs.* has 3\..*early_stop=null"):
        train_members(
            RewardModelSettings(early_stop=1, evaluate_every=1, steps=1), trunk, PAIRS[:3], CPU, 1, lambda step, number: None
        )
    assert len(split_pairs(PAIRS[:4], RewardModelSettings(early_stop=1), 1).early_stop) == 1
    assert split_pairs(PAIRS[:3], RewardModelSettings(), 1).early_stop == []


def test_label_noise_reaches_every_part() -> None:
    parts = split_pairs(PAIRS, RewardModelSettings(label_noise=1.0, calibration_pairs=8), 1)
    assert all(pair["chosen"].startswith("No idea") for part in parts for pair in part)


def test_members_differ_and_the_first_is_the_one_that_stands_alone(trunk: Path, tmp_path: Path) -> None:
    first, second = members(trunk, members=2)
    (alone,) = members(trunk)
    assert score(first) == score(alone) != score(second)
    save_members([first, second], tmp_path)
    assert score(RewardModel.load(tmp_path / "1", CPU)) == score(second)


def test_the_temperature_is_fitted_on_pairs_of_its_own(trunk: Path) -> None:
    (fitted,), (plain,) = members(trunk), members(trunk, calibration_pairs=0)
    assert plain.temperature == 1.0 != fitted.temperature


def test_adapters_are_merged_into_a_model_that_loads_as_any_other(trunk: Path, tmp_path: Path) -> None:
    before = RewardModel.from_trunk(trunk, 1, CPU)
    (made,) = members(trunk, lora={"rank": 4, "alpha": 8})
    assert not any("lora" in name for name, _ in made.model.named_parameters())
    assert score(made) != score(before)
    made.save(tmp_path)
    assert score(RewardModel.load(tmp_path, CPU)) == pytest.approx(score(made), abs=1e-6)
