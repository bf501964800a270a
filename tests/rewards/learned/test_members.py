from pathlib import Path

import pytest
import torch

from ratchet.components.graders.number import grade_numbers
from ratchet.components.policy.loading import save_policy
from ratchet.components.rewards.combine import Ensemble, Mix
from ratchet.components.rewards.learned.members import models_of
from ratchet.components.rewards.learned.model import RewardModel
from tests.tiny_models import tiny_policy


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[RewardModel]:
    trunk: Path = tmp_path_factory.mktemp("trunk")
    save_policy(tiny_policy(), trunk)
    return [RewardModel.from_trunk(trunk, seed, torch.device("cpu")) for seed in (1, 2)]


def test_models_are_found_wherever_they_are(models: list[RewardModel]) -> None:
    first, second = models
    assert models_of(first) == [first]
    assert models_of(Ensemble(models)) == models
    assert models_of(Mix(Ensemble([second, first]), 1.0, 0.1)) == [second, first]


def test_a_rule_has_none() -> None:
    assert models_of(grade_numbers) == []
