"""The lineage record of a candidate, joined from stages that a fake pipeline finished."""

import hashlib
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.code.constraints import lock_digest
from ratchet.components.provenance.lineage import Launched
from ratchet.components.provenance.record import lineage_of, named_files, write_lineage
from ratchet.components.recipe import Recipe, load_recipe, parts
from ratchet.components.stages.environment import Environment, code_here
from ratchet.components.stages.results import ChampionStage, DataStage, FineTuned, GoldStage, RewardStage, WarmupStage
from ratchet.components.stages.stage import COMPUTED, Context, Seen, StageResult
from ratchet.components.stages.train import TrainStage
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import policy_digest, read_json, write_json, write_json_lines
from ratchet.components.storage.home import Home
from ratchet.components.storage.store import ENVIRONMENT, Store
from tests.places import MICRO
from tests.provenance.repository import new_repository
from tests.stages.environments import environment

POINTER = f"outs:\n- md5: {'d' * 32}.dir\n  hash: md5\n  path: data\n"


def finished(root: Path, kind: type[StageResult], key: str, made_in: Environment | None = None, **files: Any) -> StageResult:
    def write(path: Path) -> None:
        if kind.name in COMPUTED:
            write_json(path / ENVIRONMENT, (made_in or environment()).model_dump(mode="json"))
        for name, content in files.items():
            place = path / name.replace("__", "/").replace("_dot_", ".")
            place.parent.mkdir(exist_ok=True)
            if isinstance(content, list):
                write_json_lines(place, content)
            elif isinstance(content, dict):
                write_json(place, content)
            else:
                place.write_text(content, encoding="utf-8")

    return kind(Store(root).commit(kind.name, key * 32, write, {}), False, 0.0)


@pytest.fixture
def stages(tmp_path: Path) -> dict[str, StageResult]:
    points = [
        {"step": 0, "values": {"eval_sampled_accuracy": 0.5}},
        {"step": 8, "values": {"loss": 1.0}},
        {"step": 8, "values": {"eval_sampled_accuracy": 0.7}},
    ]
    weights = "model__model_dot_safetensors"
    facts = {"algorithm": "grpo", "k": 8, "best_step": 8, "steps": 8, "stopped": None, "stop": None, "exact": True}
    facts["memory"] = {"micro_tokens": 4096}
    made = [
        finished(tmp_path, DataStage, "a", data_dot_dvc=POINTER, data__summary_dot_json={"asked": ["item.text"]}),
        finished(tmp_path, WarmupStage, "b", **{weights: "warm"}),
        finished(tmp_path, ChampionStage, "c", **{weights: "champion"}),
        finished(tmp_path, RewardStage, "d", report_dot_json="{}"),
        finished(tmp_path, GoldStage, "f", report_dot_json="{}"),
        finished(tmp_path, TrainStage, "e", **{weights: "w", "facts_dot_json": facts, "metrics_dot_jsonl": points}),
    ]
    return {stage.name: stage for stage in made}


def context(tmp_path: Path, *overrides: str) -> Context:
    return Context(load_recipe(MICRO, overrides), Home(tmp_path, tmp_path))


def test_the_record_has_every_stage_of_the_candidate_and_its_dev_figures(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    lineage = lineage_of(context(tmp_path), list(stages.values()), lambda _: None)
    recorded = ["data", "gold", "warmup", "reward", "train"]  # the champion is the incumbent
    assert [stage.name for stage in lineage.stages] == recorded
    assert lineage.weights_sha256 == file_digest(stages["train"].path / "model" / "model.safetensors")
    assert lineage.policy_sha256 == policy_digest(stages["train"].path / "model")
    assert lineage.metrics == {"eval_sampled_accuracy": 0.7}
    assert lineage.memory == {"micro_tokens": 4096}
    assert (lineage.dataset.pointer, lineage.seed) == (POINTER, 3)
    assert Recipe.model_validate(lineage.recipe) == context(tmp_path).recipe


def test_the_record_says_how_many_ranks_trained(tmp_path: Path, stages: dict[str, StageResult]) -> None:
    assert lineage_of(context(tmp_path), list(stages.values()), lambda _: None).launch is None
    train = stages["train"]
    facts = read_json(train.path / "facts.json")
    write_json(train.path / "facts.json", {**facts, "launch": {"kind": "ray", "ranks": 4, "sharded": True}})
    again = TrainStage(train.finished, True, 0.0)
    lineage = lineage_of(context(tmp_path), [*[*stages.values()][:-1], again], lambda _: None)
    assert lineage.launch == Launched(kind="ray", ranks=4, sharded=True)
    assert again.as_json()["launch"] == {"kind": "ray", "ranks": 4, "sharded": True}


def test_where_training_started_from_the_champion_the_parent_is_its_version(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    del stages["warmup"]
    champion = file_digest(stages["champion"].path / "model" / "model.safetensors")
    policy = policy_digest(stages["champion"].path / "model")
    lineage = lineage_of(context(tmp_path), list(stages.values()), {policy: "4"}.get)
    assert (lineage.policy.kind, lineage.policy.version, lineage.policy.weights_sha256) == ("version", "4", champion)
    assert lineage.policy.policy_sha256 == policy
    assert lineage.stage("champion") is not None


def test_the_record_says_what_an_existing_model_was_fine_tuned_from_and_on(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    facts = FineTuned("1" * 64, "2" * 64, demonstrations=7, too_long=1, without=0, longest=9)
    tuned = finished(tmp_path, WarmupStage, "1", model__model_dot_safetensors="tuned", facts_dot_json=asdict(facts))
    as_it_is, changed = context(tmp_path, "policy.model=m"), context(tmp_path, "policy.model=m", "policy.warmup={steps: 9}")
    records = [lineage_of(changed, list({**stages, "warmup": tuned}.values()), lambda _: None).policy]
    records.append(lineage_of(as_it_is, list(stages.values()), lambda _: None).policy)
    assert [(one.kind, one.source, one.base_sha256, one.demonstrations) for one in records] == [
        ("model", "m", "2" * 64, 7),
        ("model", "m", None, None),
    ]
    assert records[0].weights_sha256 == tuned.files["model/model.safetensors"]


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
    assert named_files(recipe, tmp_path, Seen()) == {name: file_digest(tmp_path / name) for name in names}


def test_the_file_of_a_response_schema_is_one_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "schema.json").write_text("{}", encoding="utf-8")
    recipe = context(tmp_path, "task={response: {json_schema: schema.json}}").recipe
    assert named_files(recipe, tmp_path, Seen()) == {"schema.json": file_digest(tmp_path / "schema.json")}


def test_what_graders_read_and_run_are_some_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("shop.db", "mine.py"):
        (tmp_path / name).write_text("", encoding="utf-8")
    query = "{type: sql, database: shop.db, reference: '{{item.answer}}'}"
    recipe = context(tmp_path, f"graders={{query: {query}, mine: {{file: 'mine.py:grade'}}}}", "gold={grader: query}").recipe
    assert named_files(recipe, tmp_path, Seen()) == {name: file_digest(tmp_path / name) for name in ("mine.py", "shop.db")}


def test_the_difference_is_written_unless_it_is_large(tmp_path: Path, stages: dict[str, StageResult]) -> None:
    lineage = lineage_of(context(tmp_path), list(stages.values()), lambda _: None)
    written = []
    for text in ("M a.py", "x" * 1_000_001):
        digest = hashlib.sha256(text.encode()).hexdigest()
        dirty = lineage.model_copy(update={"code": lineage.code.model_copy(update={"diff_sha256": digest})})
        written += [[p.name for p in write_lineage(dirty, now, tmp_path)] for now in (text, "M edited since.py")]
    assert written == [["lineage.json", "code.diff"], ["lineage.json"], ["lineage.json"], ["lineage.json"]]


def remade(root: Path, stages: dict[str, StageResult], name: str, made_in: Environment) -> dict[str, StageResult]:
    """The same stages, of which one was made elsewhere."""

    def write(path: Path) -> None:
        shutil.copytree(stages[name].path, path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        write_json(path / ENVIRONMENT, made_in.model_dump(mode="json"))

    return {**stages, name: type(stages[name])(Store(root / "elsewhere").commit(name, "9" * 32, write, {}), True, 0.0)}


def test_the_machine_the_libraries_the_lock_and_the_commit_are_those_of_the_training(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    place = environment({"gpu": "H"}, {"commit": "d" * 40}, lock_sha256="4" * 64, off_lock={"torch": "2.9.0"})
    found = remade(tmp_path, stages, "train", place)
    lineage = lineage_of(context(tmp_path), list(found.values()), lambda _: None)
    recorded = {name: getattr(lineage, name) for name in Environment.model_fields}
    assert Environment(**recorded) == place


@pytest.mark.parametrize(
    ("name", "made_in", "overrides", "named", "exact"),
    [
        ("warmup", environment({"processor": "Q"}), [], True, False),
        ("warmup", environment(libraries={"python": "3.11.7", "torch": "2.9.0"}), [], True, False),
        ("warmup", environment({"processor": "Q"}), ["policy.model=m"], True, True),  # a copy has the same bits anywhere
        ("reward", environment({"processor": "Q"}), ["reward.kind=verifier"], True, True),  # nothing was learnt
        ("reward", environment({"processor": "Q"}), ["reward.kind=verifier", "train.k=auto"], True, False),
        ("reward", environment({"processor": "Q"}), ["reward.kind=mix"], True, False),
        ("reward", environment(libraries={**environment().libraries, "mlflow": "9"}), ["reward.kind=mix"], False, True),
    ],
)
def test_a_stage_that_another_environment_made_is_named_and_may_make_the_version_inexact(
    tmp_path: Path,
    stages: dict[str, StageResult],
    name: str,
    made_in: Environment,
    overrides: list[str],
    named: bool,
    exact: bool,
) -> None:
    found = remade(tmp_path, stages, name, made_in)
    lineage = lineage_of(context(tmp_path, *overrides), list(found.values()), lambda _: None)
    assert {stage.name: stage.made_in for stage in lineage.stages if stage.made_in} == ({name: made_in} if named else {})
    assert lineage.exact is exact
    assert found["reward"].digest == stages["reward"].digest  # no key depends on where a stage was made


def test_where_the_training_saw_no_checkout_the_code_is_that_of_here_if_it_is_the_same(
    tmp_path: Path, stages: dict[str, StageResult]
) -> None:
    project, codes = new_repository(tmp_path / "p"), []
    here = code_here(project)
    own = {"commit": "unknown", "sources_sha256": here.sources_sha256, "release": here.release}
    for lock in (lock_digest(project), "4" * 64):
        found = remade(tmp_path / str(lock), stages, "train", environment(code=own, lock_sha256=lock))
        where = replace(context(tmp_path), home=Home(project, tmp_path))
        codes.append(lineage_of(where, list(found.values()), lambda _: None).code.commit)
    assert codes == [here.commit, "unknown"]
