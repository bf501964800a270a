"""Where a stage was made is recorded by the process that makes it, and enters no digest."""

from pathlib import Path

import pytest

from ratchet.components.recipe import load_recipe
from ratchet.components.stages import stage
from ratchet.components.stages.environment import Environment, environment_here, write_environment
from ratchet.components.stages.results import DataStage, RewardStage, WarmupStage
from ratchet.components.stages.stage import Context, StageResult, finish
from ratchet.components.storage.files import read_json, write_json, write_text
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import ENVIRONMENT
from tests.places import MICRO
from tests.stages.environments import environment


@pytest.fixture
def context(tmp_path: Path) -> Context:
    return Context(load_recipe(MICRO), Home(tmp_path, tmp_path / ".ratchet"))


def made(context: Context, kind: type[StageResult], key: str = "k") -> StageResult:
    return finish(context, kind, key, lambda path: write_text(path / "report.json", "{}"))


def test_a_stage_whose_bits_depend_on_the_place_records_it(context: Context) -> None:
    write_text(context.home.project / "constraints.txt", "torch==0.0.1\n")
    assert made(context, WarmupStage).environment == environment_here(context.home.project, context.recipe.threads)
    assert made(context, DataStage).environment is None
    later = made(context, WarmupStage).environment  # found in the store, after an upgrade and another lock
    write_text(context.home.project / "constraints.txt", "torch==0.0.2\n")
    assert later is not None
    assert later.off_lock == {"torch": "0.0.1"}
    assert made(Context(context.recipe, context.home), WarmupStage).environment == later


def test_no_key_depends_on_the_place(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    stages = [made(context, RewardStage, "here")]
    monkeypatch.setattr(stage, "environment_here", lambda project, threads: environment({"processor": "another"}))
    stages.append(made(context, RewardStage, "elsewhere"))
    assert len({one.files[ENVIRONMENT] for one in stages}) == 2
    assert len({one.digest for one in stages}) == 1


def test_what_is_upgraded_during_the_work_is_not_recorded(context: Context) -> None:
    lock = context.home.project / "constraints.txt"
    found = finish(context, WarmupStage, "k", lambda path: write_text(lock, "torch==0.0.1\n"))
    assert found.environment is not None
    assert found.environment.lock_sha256 is None


def test_of_ranks_the_place_is_theirs(tmp_path: Path) -> None:
    left = {"machine": environment({"gpu": "H"}).machine.model_dump(), "libraries": {"torch": "2.9.0"}}
    write_text(tmp_path / "constraints.txt", "torch==2.10.0\n")
    write_json(tmp_path / "stage" / ENVIRONMENT, left)
    write_environment(tmp_path / "stage", environment(), tmp_path)
    found = Environment.model_validate(read_json(tmp_path / "stage" / ENVIRONMENT))
    assert (found.machine.gpu, found.libraries, found.off_lock) == ("H", {"torch": "2.9.0"}, {"torch": "2.10.0"})
    assert found.code == environment().code
