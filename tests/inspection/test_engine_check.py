"""``ratchet engine check`` finds the recipe's policy and the server, and leaves nothing behind."""

from pathlib import Path

import pytest
import torch

from ratchet.components.errors import RecipeError
from ratchet.components.inspection import engine_check
from ratchet.components.inspection.engine_check import check_server, settings_of
from ratchet.components.policy.loading import load_policy
from ratchet.components.project.project import Project
from ratchet.components.recipe import load_recipe
from ratchet.components.run import samples
from ratchet.components.stages.results import PolicyStage
from ratchet.components.stages.stage import SILENT
from ratchet.components.storage.home import Home
from tests.places import MICRO
from tests.policy.engines.vllm.fake_server import serving
from tests.stages.by_hand import data_stage, saved_policy

SECTION = "train.sampling.vllm={url: 'http://here:1', folder: /weights, seconds: 5.0}"


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PolicyStage:
    """A starting policy that is made by hand."""
    made = saved_policy(tmp_path / "start")
    data = data_stage(tmp_path / "version", train=5, dev=5)
    monkeypatch.setattr(engine_check, "prepare_data", lambda context: data)
    monkeypatch.setattr(samples, "starting_policy", lambda context, data: made)
    return made


def project_of(place: Path, *overrides: str) -> Project:
    return Project(Home(place, place / ".ratchet"), load_recipe(MICRO, ["policy.max_new_tokens=8", *overrides]))


@pytest.mark.parametrize("overrides", [[], ["train.lora={rank: 4}"]])
def test_a_server_is_checked_with_the_policy_that_training_starts_from(
    tmp_path: Path, start: PolicyStage, overrides: list[str]
) -> None:
    with serving(policy=load_policy(start.model, torch.device("cpu"))) as fake:
        checks = check_server(project_of(tmp_path, *overrides), fake.url, SILENT)
        assert [check.number for check in checks if not check.ok] == []
        assert bool(fake.adapters) == bool(overrides)
    assert list((tmp_path / ".ratchet" / "engine").iterdir()) == []


def test_the_server_is_the_recipes_unless_an_address_is_given(tmp_path: Path) -> None:
    project = project_of(tmp_path, SECTION)
    assert settings_of(project, None).url == "http://here:1"
    other = settings_of(project, "https://there")
    assert (other.url, other.folder, other.seconds) == ("https://there", "/weights", 5.0)


def test_without_an_address_or_with_none_that_is_one_nothing_is_done(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="--url"):
        settings_of(project_of(tmp_path), None)
    with pytest.raises(RecipeError, match="without a user"):
        settings_of(project_of(tmp_path), "http://user:secret@host")
