"""A stage's key changes with its own code and with all that it imports, with no exception but those of stage.py."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from ratchet.components.code import source_code
from ratchet.components.code.source_code import ROOT, closure
from ratchet.components.recipe import load_recipe
from ratchet.components.stages.data import prepare_data
from ratchet.components.stages.evaluate import dev_evaluation
from ratchet.components.stages.gold import validated_gold
from ratchet.components.stages.results import DataStage, GoldStage, PolicyStage, RewardStage
from ratchet.components.stages.reward import validated_reward
from ratchet.components.stages.scoring import Models
from ratchet.components.stages.sealed import sealed_evaluation
from ratchet.components.stages.stage import NOT_IN_KEYS, Context, NotFinished, Stage, code_digest
from ratchet.components.stages.train import trained_candidate
from ratchet.components.stages.warmup import starting_policy
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import Finished, Store
from tests.places import MICRO

POINTER = f"outs:\n- md5: {'d' * 32}.dir\n  path: data\n"
WEIGHTS = {"files": {"model/model.safetensors": "w"}}
WITH_CODE = [stage for stage in Stage if stage not in (Stage.CHAMPION, Stage.PLAN, Stage.GATE)]
EDIT = b"\nedited = 1\n"


def module_of(stage: Stage) -> str:
    return f"ratchet.components.stages.{stage}"


def needed(stage: Stage) -> set[str]:
    return {path.relative_to(source_code.ROOT).as_posix() for path in closure(module_of(stage), tuple(NOT_IN_KEYS))}


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the sources that keys are made from."""
    copy = tmp_path / "components"
    shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(source_code, "ROOT", copy)
    return copy


@pytest.fixture
def digest(root: Path) -> Callable[[Stage], str]:
    """The digest of a stage's code, read again at each call."""

    def read(stage: Stage) -> str:
        source_code.closure_digest.cache_clear()
        return code_digest(module_of(stage))

    return read


@pytest.mark.parametrize("stage", WITH_CODE)
def test_an_edit_of_each_file_that_a_stage_needs_changes_its_code_and_of_any_other_does_not(
    root: Path, digest: Callable[[Stage], str], stage: Stage
) -> None:
    before, counted = digest(stage), needed(stage)
    assert f"stages/{stage}.py" in counted
    for name in counted:
        content = (root / name).read_bytes()
        (root / name).write_bytes(content + EDIT)
        assert digest(stage) != before, name
        (root / name).write_bytes(content)
    for path in root.rglob("*"):
        if path.is_file() and path.relative_to(root).as_posix() not in counted:
            path.write_bytes(path.read_bytes() + EDIT)
    assert digest(stage) == before


@pytest.mark.parametrize("stage", WITH_CODE)
def test_an_import_added_to_a_stage_or_to_what_it_needs_is_counted(
    root: Path, digest: Callable[[Stage], str], stage: Stage
) -> None:
    assert "newcomer.py" not in needed(stage)
    (root / "newcomer.py").write_text("import ratchet.components.its_helper\n", encoding="utf-8")
    (root / "its_helper.py").write_text("", encoding="utf-8")
    with (root / "storage" / "digests.py").open("a", encoding="utf-8") as file:
        file.write("\ndef late() -> None:\n    from ratchet.components import newcomer\n")
    assert {"newcomer.py", "its_helper.py"} <= needed(stage)
    before = digest(stage)
    (root / "its_helper.py").write_bytes(EDIT)
    assert digest(stage) != before


@pytest.mark.parametrize("module", NOT_IN_KEYS)
def test_each_exception_is_a_module_that_a_stage_imports_and_does_not_count(module: str) -> None:
    path = f"{module.removeprefix('ratchet.components.').replace('.', '/')}.py"
    importing = [stage for stage in WITH_CODE if ROOT / path in closure(module_of(stage))]
    assert importing
    assert all(path not in needed(stage) for stage in importing)


def test_the_template_beside_a_module_counts_with_it(root: Path) -> None:
    (root / "data" / "card.j2").write_text("", encoding="utf-8")
    assert "data/card.j2" in needed(Stage.DATA)
    assert "evaluation/card.j2" not in needed(Stage.DATA)


def test_no_stage_depends_on_what_makes_the_inputs_that_it_reads() -> None:
    for stage in WITH_CODE:
        makers = {f"stages/{other}.py" for other in WITH_CODE if other is not stage}
        assert needed(stage) & makers == set(), stage
    assert not [name for name in needed(Stage.DATA) if name.split("/")[0] in ("training", "policy", "evaluation")]
    assert not [name for name in needed(Stage.TRAIN) if name.split("/")[0] in ("gate", "report", "registry")]


def looked_for(stage: Stage, place: Path) -> None:
    """Look for a stage whose inputs are finished."""
    context = Context(load_recipe(MICRO), Home(place, place / ".ratchet"), compute=False)
    (place / "data.dvc").write_text(POINTER, encoding="utf-8")
    data = DataStage(Finished("data", "k", place, {"files": {"data/sealed_0.jsonl": "f"}}), True, 0.0)
    policy = PolicyStage(Finished("policy", "k", place, WEIGHTS), True, 0.0)
    gold = GoldStage(Finished("gold", "k", place, WEIGHTS), True, 0.0)
    reward = RewardStage(Finished("reward", "k", place, WEIGHTS), True, 0.0)
    models = Models(policy, policy, policy, reward)
    look = {
        Stage.DATA: lambda: prepare_data(context),
        Stage.GOLD: lambda: validated_gold(context, data),
        Stage.WARMUP: lambda: starting_policy(context, data),
        Stage.REWARD: lambda: validated_reward(context, data, policy, gold),
        Stage.TRAIN: lambda: trained_candidate(context, data, policy, reward),
        Stage.EVALUATE: lambda: dev_evaluation(context, data, models),
        Stage.SEALED: lambda: sealed_evaluation(context, data, models, "sealed_0", [], [], guard=False),
    }
    with pytest.raises(NotFinished):
        look[stage]()


@pytest.mark.parametrize("stage", WITH_CODE)
def test_an_edit_of_a_stages_own_module_is_another_key(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    keys: list[tuple[str, str]] = []
    monkeypatch.setattr(Store, "find", lambda _, name, key: keys.append((name, key)))
    for _ in range(2):
        source_code.closure_digest.cache_clear()
        looked_for(stage, tmp_path)
        with (root / "stages" / f"{stage}.py").open("ab") as file:
            file.write(EDIT)
    assert [name for name, _ in keys] == [stage, stage]
    assert keys[0] != keys[1]
