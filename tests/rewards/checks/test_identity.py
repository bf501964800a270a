"""What was validated is what is trained against."""

import shutil
from pathlib import Path

import pytest
import torch

from ratchet.components.errors import RewardError
from ratchet.components.graders.number import grade_numbers
from ratchet.components.rewards.checks.identity import check_identity, identity_check, model_digests
from ratchet.components.rewards.combine import Ensemble
from ratchet.components.rewards.learned.model import RewardModel


def test_the_model_that_was_validated_is_accepted(classifier: Path) -> None:
    check_identity(classifier, {**model_digests(classifier), "reward_function/m:f": "abc"})


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "calibration.json", "tokenizer.json"])
def test_a_file_that_was_exchanged_since_is_refused_by_name(classifier: Path, tmp_path: Path, name: str) -> None:
    shutil.copytree(classifier, tmp_path / "model")
    (tmp_path / "model" / name).write_bytes(b"other")
    with pytest.raises(RewardError, match=f"model/{name}"):
        check_identity(tmp_path / "model", model_digests(classifier))


def test_a_model_in_training_mode_is_not_fit_to_score(reward_model: RewardModel) -> None:
    assert identity_check(reward_model, {}).passed
    reward_model.model.train()
    assert "training mode" in identity_check(reward_model, {}).detail
    assert not identity_check(Ensemble([reward_model]), {}).passed


def test_a_weight_that_is_not_finite_is_found(reward_model: RewardModel) -> None:
    with torch.no_grad():
        next(reward_model.model.parameters()).view(-1)[0] = float("nan")
    assert not identity_check(reward_model, {}).passed


def test_what_has_no_weights_is_known_by_its_digests() -> None:
    assert identity_check(grade_numbers, {"reward_function/m:f": "abc"}).detail == "1 digests"
