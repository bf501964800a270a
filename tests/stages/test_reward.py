"""The reward's stage: another validation of the same model does not train it again."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import ModelError
from ratchet.components.stages import reward, stage
from ratchet.components.stages.results import RewardStage
from ratchet.components.storage.files import write_json, write_text
from ratchet.components.storage.store import ENVIRONMENT
from tests.stages.by_hand import REPORT, context_of, data_stage, gold_stage, policy_stage, saved_policy

LEARNED = ("reward.kind=mix", "reward.model.steps=7")
WAIVED = "reward.validation.waive={length_correlation: known}"


class Project:
    """A place whose rewards are validated; models that are trained are counted."""

    def __init__(self, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.place, self.trained = place, 0
        self.data, self.gold = data_stage(place / "version", train=1), gold_stage(place / "gold")
        monkeypatch.setattr(reward, "_make_model", self.train)
        monkeypatch.setattr(reward, "_validate", lambda *given: write_json(given[-1] / "report.json", REPORT.__dict__))

    def train(self, *given: Any) -> None:
        self.trained += 1
        write_text(given[-1] / "model.safetensors", f"weights {self.trained}")

    def validated(self, *overrides: str, start: str = "start") -> RewardStage:
        context = context_of(self.place, *overrides)
        return reward.validated_reward(context, self.data, policy_stage(start), self.gold)


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    return Project(tmp_path, monkeypatch)


def test_a_waiver_validates_the_same_model_again(project: Project) -> None:
    first, second = project.validated(*LEARNED), project.validated(*LEARNED, WAIVED)
    assert project.trained == 1
    assert (first.key != second.key, second.cached) == (True, False)
    assert second.model_digest == first.model_digest
    assert (second.model / "model.safetensors").read_text(encoding="utf-8") == "weights 1"


def test_prompts_that_leave_no_room_are_refused_before_a_reward_model_is_trained(project: Project) -> None:
    start = saved_policy(project.place / "start")
    with pytest.raises(ModelError, match="exceed the model's context of 128"):
        reward.validated_reward(
            context_of(project.place, *LEARNED, "policy.max_new_tokens=128"),
            data_stage(project.place / "rows", train=3),
            start,
            project.gold,
        )
    assert project.trained == 0


def test_the_model_of_an_earlier_validation_brings_where_it_was_trained(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, here = project.validated(*LEARNED), stage.environment_here
    elsewhere = {"lock_sha256": "0" * 64}
    monkeypatch.setattr(stage, "environment_here", lambda *given: here(*given).model_copy(update=elsewhere))
    second = project.validated(*LEARNED, WAIVED)
    assert second.files[ENVIRONMENT] == first.files[ENVIRONMENT]


@pytest.mark.parametrize("change", ["reward.model.steps=8", "seed=9", "threads=2"])
def test_other_settings_train_another_model(project: Project, change: str) -> None:
    project.validated(*LEARNED)
    project.validated(*LEARNED, WAIVED, change)
    assert project.trained == 2


def test_another_starting_policy_trains_another_model(project: Project) -> None:
    project.validated(*LEARNED)
    project.validated(*LEARNED, start="other")
    assert project.trained == 2


def test_a_damaged_model_is_trained_again(project: Project) -> None:
    first = project.validated(*LEARNED)
    write_text(first.model / "model.safetensors", "damaged")
    assert project.validated(*LEARNED, WAIVED).model_digest != first.model_digest
    assert project.trained == 2


def test_a_reward_without_a_learned_part_trains_nothing(project: Project) -> None:
    validated = project.validated("reward.kind=verifier")
    assert (project.trained, set(validated.files)) == (0, {"report.json", ENVIRONMENT})
