"""The lineage record: whole, closed, only as its tag says, and joined from stages that a fake pipeline finished."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from ratchet.components.digests import file_digest
from ratchet.components.errors import RegistryError
from ratchet.components.files import write_json, write_json_lines
from ratchet.components.home import Home
from ratchet.components.provenance.checkout import CodeState
from ratchet.components.provenance.lineage import (
    code_of,
    commit_tags,
    lineage_of,
    named_files,
    read_lineage,
    write_lineage,
)
from ratchet.components.recipe import Recipe, load_recipe, parts
from ratchet.components.stages.stage import Context, StageResult
from ratchet.components.store import Store
from tests.places import MICRO
from tests.provenance.records import ONE, TWO, lineage
from tests.provenance.repository import git, new_repository

POINTER = f"outs:\n- md5: {'d' * 32}.dir\n  hash: md5\n  path: data\n"


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "lineage.json"
    write_json(path, lineage().model_dump(mode="json"))
    assert read_lineage(path, file_digest(path)) == lineage()


def test_a_record_that_its_tag_does_not_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lineage.json"
    write_json(path, lineage().model_dump(mode="json"))
    with pytest.raises(RegistryError, match="tag says 111111111111"):
        read_lineage(path, ONE)


def test_a_record_of_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "lineage.json"
    write_json(path, {**lineage().model_dump(mode="json"), "format": 2})
    with pytest.raises(RegistryError, match=r"format.*release that wrote it"):
        read_lineage(path, file_digest(path))


@pytest.mark.parametrize(("field", "value"), [("weights_sha256", "../x"), ("model", "a/b"), ("stages", [{"name": ".."}])])
def test_names_that_could_leave_their_folder_are_refused(field: str, value: object) -> None:
    with pytest.raises(ValidationError):
        lineage(**{field: value})


def test_a_stage_is_found_by_its_name() -> None:
    train = lineage().stage("train")
    assert train is not None
    assert train.files["model/model.safetensors"] == ONE
    assert lineage().stage("champion") is None


def test_dirty_code_is_recorded_with_its_difference() -> None:
    state = CodeState("c" * 40, "", ("a.py",), "M a.py\n+x")
    code = code_of(state, TWO)
    assert (code.changed, code.diff_sha256) == (["a.py"], state.difference_digest)


def test_tags_say_whether_the_code_was_as_committed(tmp_path: Path) -> None:
    clean, dirty = new_repository(tmp_path / "clean"), new_repository(tmp_path / "dirty")
    (dirty / "constraints.txt").write_text("edited", encoding="utf-8")
    commit = git(clean, "rev-parse", "HEAD")
    assert commit_tags(clean) == {"commit": commit, "dirty": "false", "mlflow.source.git.commit": commit}
    assert commit_tags(dirty)["dirty"] == "true"
    assert len(commit_tags(dirty)["diff_sha256"]) == 64
    assert commit_tags(tmp_path) == {"commit": "unknown", "dirty": "unknown"}


def finished(root: Path, stage: str, key: str, **files: Any) -> StageResult:
    def write(path: Path) -> None:
        for name, content in files.items():
            place = path / name.replace("__", "/").replace("_dot_", ".")
            place.parent.mkdir(exist_ok=True)
            if isinstance(content, list):
                write_json_lines(place, content)
            elif isinstance(content, dict):
                write_json(place, content)
            else:
                place.write_text(content, encoding="utf-8")

    return StageResult(Store(root).commit(stage, key * 32, write, {}), False, 0.0)


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, StageResult]:
    points = [
        {"step": 0, "values": {"eval_sampled_accuracy": 0.5}},
        {"step": 8, "values": {"loss": 1.0}},
        {"step": 8, "values": {"eval_sampled_accuracy": 0.7}},
    ]
    weights = "model__model_dot_safetensors"
    facts = {"best_step": 8, "exact": True, "memory": {"micro_tokens": 4096}}
    made = [
        finished(tmp_path, "data", "a", data_dot_dvc=POINTER),
        finished(tmp_path, "warmup", "b", **{weights: "warm"}),
        finished(tmp_path, "champion", "c", **{weights: "champion"}),
        finished(tmp_path, "reward", "d", report_dot_json="{}"),
        finished(tmp_path, "train", "e", **{weights: "w", "facts_dot_json": facts, "metrics_dot_jsonl": points}),
    ]
    return {stage.finished.stage: stage for stage in made}


def context(tmp_path: Path, *overrides: str) -> Context:
    return Context(load_recipe(MICRO, overrides), Home(tmp_path, tmp_path))


def test_the_record_has_every_stage_of_the_candidate_and_its_dev_figures(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    record = lineage_of(context(tmp_path), list(stages.values()), lambda _: None)
    assert [stage.name for stage in record.stages] == ["data", "warmup", "reward", "train"]  # the champion is the incumbent
    assert record.weights_sha256 == file_digest(stages["train"].path / "model" / "model.safetensors")
    assert record.metrics == {"eval_sampled_accuracy": 0.7}
    assert record.memory == {"micro_tokens": 4096}
    assert (record.dataset.pointer, record.seed, record.machine.threads) == (POINTER, 3, 1)
    assert Recipe.model_validate(record.recipe) == context(tmp_path).recipe


def test_where_training_started_from_the_champion_the_parent_is_its_version(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    del stages["warmup"]
    champion = file_digest(stages["champion"].path / "model" / "model.safetensors")
    record = lineage_of(context(tmp_path), list(stages.values()), {champion: "4"}.get)
    assert (record.policy.kind, record.policy.version, record.policy.weights_sha256) == ("version", "4", champion)
    assert record.stage("champion") is not None


@pytest.mark.parametrize("source", ["{kind: jsonl, path: rows.jsonl}", "{kind: parquet, path: rows.parquet}", "rows.csv"])
def test_files_that_the_recipe_names_are_recorded_relative_to_the_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = context(tmp_path, f"data.source={source}", f"policy.model={tmp_path / 'base'}").recipe
    (rows,) = [part.source.path for part in parts(recipe.data.source)]
    for name in (rows, "base/config.json", "judge/config.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    model = recipe.reward.model.model_copy(update={"pretrained": "judge"})
    recipe = recipe.model_copy(update={"reward": recipe.reward.model_copy(update={"model": model})})
    names = (rows, "base/config.json", "judge/config.json")
    assert named_files(recipe, tmp_path) == {name: file_digest(tmp_path / name) for name in names}


def test_the_difference_is_written_unless_it_is_large(tmp_path: Path, stages: dict[str, StageResult]) -> None:
    record = lineage_of(context(tmp_path), list(stages.values()), lambda _: None)
    names = [[p.name for p in write_lineage(record, text, tmp_path)] for text in ("", "M a.py", "x" * 1_000_001)]
    assert names == [["lineage.json"], ["lineage.json", "code.diff"], ["lineage.json"]]
