"""A recipe's reward models: parts that do not overlap, members that differ, adapters that are merged, a fitted temperature."""

from pathlib import Path
from typing import Any

import pytest
import torch

from ratchet.components.errors import DataError
from ratchet.components.recipe import RewardModel as Settings
from ratchet.components.rewards.learned.members import save_members, split_pairs, train_model
from ratchet.components.rewards.learned.model import RewardModel

CPU = torch.device("cpu")
PAIRS = [
    {"prompt": f"What is {n} plus 3?", "chosen": f"It is {n + 3}.", "rejected": f"No idea about {n + 3}."} for n in range(40)
]


def members(trunk: Path, **settings: Any) -> list[RewardModel]:
    given = {"steps": 30, "batch": 8, "lr": 3e-3, **settings}
    return train_model(Settings.model_validate(given), trunk, PAIRS, CPU, 1, lambda step, number: None)


def score(model: RewardModel) -> float:
    return model.score(["What is 1 plus 3?"], ["It is 4."])[0]


def test_no_pair_is_used_twice() -> None:
    parts = split_pairs(PAIRS, Settings(early_stop=1, early_stop_pairs=8, calibration_pairs=6), 1)
    assert [len(part) for part in parts] == [26, 8, 6]
    assert len({pair["prompt"] for part in parts for pair in part}) == 40


def test_of_few_pairs_most_are_trained_on() -> None:
    assert [len(part) for part in split_pairs(PAIRS[:8], Settings(early_stop=1), 1)] == [4, 2, 2]
    with pytest.raises(DataError, match=r"data\.split\.pairs"):
        split_pairs([], Settings(), 1)


def test_label_noise_reaches_every_part() -> None:
    parts = split_pairs(PAIRS, Settings(label_noise=1.0, calibration_pairs=8), 1)
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
