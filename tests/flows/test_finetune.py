"""The whole flow on the micro recipe: what it returns, records, keeps sealed, and does not do twice."""

import json
import re
import sqlite3
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
import torch
from mlflow.tracking import MlflowClient

from ratchet.components.errors import ModelError, RewardError
from ratchet.components.graders.protocol import Grade
from ratchet.components.ledger.ledger import Ledger
from ratchet.components.policy.loading import load_policy
from ratchet.components.storage.digests import file_digest
from ratchet.components.storage.files import read_json
from ratchet.components.storage.home import Home
from tests.pages import text_of

Run = Callable[..., dict[str, Any]]
KEYS = {"status", "verdict", "version", "previous", "dataset", "run_id", "report", "stages"}
# A challenger that can hardly win, from a start of its own: a step this small may leave two of them with one start's weights.
ANOTHER = ("policy.warmup.steps=240", "train.lr=3e-6", "train.steps=1")
QUESTION = "Tom has 2 boxes with 2 pens each. How many pens in total?"


def cached(result: dict[str, Any]) -> dict[str, bool]:
    return {stage["name"]: stage["cached"] for stage in result["stages"]}


def client() -> MlflowClient:
    return MlflowClient(Home.here().tracking_uri)


def children(run_id: str) -> dict[str, Any]:
    experiment = client().get_run(run_id).info.experiment_id
    found = client().search_runs([experiment], f"tags.`mlflow.parentRunId` = '{run_id}'")
    return {child.data.tags["stage"]: child for child in found}


def test_the_first_run_is_promoted(promoted: dict[str, Any]) -> None:
    assert set(promoted) == KEYS
    assert (promoted["status"], promoted["verdict"], promoted["version"]) == ("promoted", "PROMOTE", "1")
    assert promoted["previous"] is None
    assert cached(promoted) == dict.fromkeys(["data", "gold", "warmup", "reward", "train", "evaluate"], False)


def test_the_champion_alias_and_the_history_agree(promoted: dict[str, Any]) -> None:
    (row,) = Ledger(Home.here().ledger).history("micro")
    assert row.as_json() == {
        "version": "1",
        "previous": None,
        "at": row.at,
        "by": "gate",
        "verdict": row.verdict,
        "run_id": promoted["run_id"],
        "person": None,
    }
    assert client().get_model_version_by_alias("micro", "champion").version in (1, "1")


def test_the_version_carries_its_lineage(promoted: dict[str, Any]) -> None:
    version = client().get_model_version_by_alias("micro", "champion")
    assert version.tags["dataset_md5"] == promoted["dataset"]
    assert version.tags["verdict"] == "PROMOTE"
    assert {"commit", "dirty", "recipe_digest", "weights_sha256"} <= set(version.tags)
    assert version.tags["exact"] == "true"
    record = Path(mlflow.artifacts.download_artifacts(f"{client().get_run(version.run_id).info.artifact_uri}/lineage.json"))
    assert file_digest(record) == version.tags["lineage_sha256"]
    assert [s["name"] for s in read_json(record)["stages"]] == ["data", "gold", "warmup", "reward", "train", "evaluate"]
    assert "Verdict of the gate" in version.description


def test_mlflow_has_a_child_run_for_each_stage_made(promoted: dict[str, Any]) -> None:
    made = children(promoted["run_id"])
    assert set(made) == {"data", "gold", "warmup", "reward", "train", "evaluate", "gate"}
    assert all(child.info.status == "FINISHED" for child in made.values())
    assert {child.data.tags["cached"] for child in made.values()} == {"false"}
    assert all(child.data.metrics["seconds"] > 0 for child in made.values())
    assert made["train"].data.params["train.evaluate_every"] == "8"
    assert {"reward", "entropy", "grad_norm", "eval_sampled_accuracy"} <= set(made["train"].data.metrics)


def test_the_parent_run_has_parameters_dataset_report_and_samples(promoted: dict[str, Any]) -> None:
    parent = client().get_run(promoted["run_id"])
    assert re.fullmatch(r"micro \d{4}-\d\d-\d\d promoted v1", parent.info.run_name)
    assert parent.data.params["train.algorithm"] == "grpo"
    assert {"dev/before", "dev/after", "sealed/gain", "curve/reward", "curve/samples"} <= set(parent.data.metrics)
    (dataset,) = parent.inputs.dataset_inputs
    assert dataset.dataset.digest == promoted["dataset"]
    names = {item.path for item in client().list_artifacts(promoted["run_id"])}
    assert {"recipe.yaml", "report", "plots", "samples.json", "verdict.json", "data", "reward"} <= names


def test_a_repeated_run_is_unchanged_and_leaves_no_trace(promoted: dict[str, Any], run: Run) -> None:
    def traces() -> tuple[int, int]:
        experiment = client().get_run(promoted["run_id"]).info.experiment_id
        return len(client().search_runs([experiment])), len(client().search_model_versions("name = 'micro'"))

    before = traces()
    again = run()
    assert (again["status"], again["version"], again["run_id"]) == ("unchanged", "1", promoted["run_id"])
    assert all(cached(again).values())
    assert traces() == before


def test_the_champion_answers_raw_prompts(promoted: dict[str, Any]) -> None:
    mlflow.set_tracking_uri(Home.here().tracking_uri)
    model = mlflow.pyfunc.load_model("models:/micro@champion")
    (from_list,) = model.predict([QUESTION])
    (from_frame,) = model.predict(pd.DataFrame({"prompt": [QUESTION]}))
    assert isinstance(from_list, str)
    assert "####" in from_list
    assert from_frame == from_list


def test_the_run_records_its_memory_beside_the_estimate_and_what_that_decided(promoted: dict[str, Any]) -> None:
    stage = next(stage for stage in promoted["stages"] if stage["name"] == "train")
    path = Home.here().store / "train" / stage["key"]
    rows = [json.loads(line)["values"] for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert all(row["memory/peak_gib"] > 0 and row["memory/estimate_gib"] > 0 for row in rows if "loss" in row)
    decided = {"micro_tokens": 16_384, "gradient_checkpointing": False, "offload": False}
    assert json.loads((path / "facts.json").read_text())["memory"] == decided


def test_a_changed_artifact_is_refused_on_load(promoted: dict[str, Any], run: Run) -> None:
    source = client().get_model_version_by_alias("micro", "champion").source
    (weights,) = Path(Home.here().artifacts).rglob(f"{source.rsplit('/', 1)[-1]}/**/model.safetensors")
    original = weights.read_bytes()
    weights.write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
    try:
        with pytest.raises(Exception, match="differs from the promoted file"):
            mlflow.pyfunc.load_model("models:/micro@champion")
    finally:
        weights.write_bytes(original)


@pytest.fixture(scope="module")
def second(promoted: dict[str, Any], run: Run) -> dict[str, Any]:
    """A challenger that can hardly win: one step of training from the start, against the champion."""
    return run("train.lr=1e-6", "train.steps=1")


def test_another_learning_rate_trains_again_and_redoes_nothing_before(second: dict[str, Any]) -> None:
    stages = cached(second)
    assert (stages["data"], stages["warmup"], stages["reward"], stages["train"]) == (True, True, True, False)


def test_a_challenger_that_is_not_better_is_refused(second: dict[str, Any]) -> None:
    assert (second["status"], second["verdict"], second["previous"]) == ("refused", "REJECT", "1")
    assert Ledger(Home.here().ledger).champion("micro").version == "1"  # type: ignore[union-attr]
    assert client().get_model_version_by_alias("micro", "challenger").version in (2, "2")


def canaries(result: dict[str, Any]) -> list[bytes]:
    """A run's sealed figures as text and as a database stores them; a share of few items (2/3) could be any figure's."""
    (record,) = [
        known["record"] for known in Ledger(Home.here().ledger).verdicts("micro") if known["run_id"] == result["run_id"]
    ]
    figures = [v for v in record["figures"].values() if abs(v - Fraction(v).limit_denominator(200)) > 1e-9]
    assert figures
    return [form for value in figures for form in (repr(value).encode(), struct.pack(">d", value))]


def traces_of(result: dict[str, Any]) -> list[Path]:
    """Files outside the store and the ledger that hold a sealed figure of a run."""
    home = Home.here()
    places = [*(home.project / "mlflow").rglob("*"), *home.reports.rglob("*")]
    found = canaries(result)
    return [p for p in places if p.is_file() and p.suffix != ".safetensors" and any(c in p.read_bytes() for c in found)]


def test_sealed_figures_leave_only_with_a_retired_fold(promoted: dict[str, Any], second: dict[str, Any]) -> None:
    assert "sealed/p_value" in client().get_run(promoted["run_id"]).data.metrics
    assert not [name for name in client().get_run(second["run_id"]).data.metrics if "sealed" in name]
    database = sqlite3.connect(Home.here().project / "mlflow" / "mlflow.db")
    rows = database.execute("SELECT count(*) FROM metrics WHERE key LIKE 'sealed%' AND run_uuid = ?", [second["run_id"]])
    assert rows.fetchone() == (0,)
    report = text_of(second["report"])
    assert "p-value" not in report
    assert traces_of(second) == []
    assert "p-value of the test" in text_of(promoted["report"])


def test_other_data_redo_everything(promoted: dict[str, Any], run: Run) -> None:
    result = run("data.seed=2", "policy.warmup.steps=20", "reward.model.steps=5", until="reward")
    assert cached(result) == {"data": False, "gold": False, "warmup": False, "reward": False}
    assert result["dataset"] != promoted["dataset"]


def test_a_reward_model_trained_on_noise_is_refused_before_training(promoted: dict[str, Any], run: Run) -> None:
    result = run("reward.model.label_noise=0.5", "reward.validation.pair_accuracy_lower_bound=0.75", "train.lr=7e-4")
    assert result["status"] == "reward_refused"
    assert "train" not in cached(result)
    assert result["version"] is None


def test_ppo_goes_through_the_same_flow(promoted: dict[str, Any], run: Run) -> None:
    result = run("train.algorithm=ppo", "train.steps=2", "train.critic.warmup_steps=0", until="train")
    assert result["status"] == "finished"
    assert "explained_variance" in children(result["run_id"])["train"].data.metrics


def test_training_samples_are_a_table_at_every_evaluation(promoted: dict[str, Any]) -> None:
    train = children(promoted["run_id"])["train"]
    found = [item.path for item in client().list_artifacts(train.info.run_id, "samples")]
    assert found == [f"samples/step_{step:06d}.json" for step in (8, 16, 24)]
    table = mlflow.artifacts.load_dict(f"{train.info.artifact_uri}/{found[0]}")
    assert {"prompt", "completion", "reward", "reward/verifier", "advantage"} <= set(table["columns"])
    assert len(table["data"]) == 5  # evaluation.sample_rows


def test_an_adapter_is_merged_for_the_registry_and_kept_beside_it(promoted: dict[str, Any], run: Run) -> None:
    result = run("train.lora.rank=4", "train.steps=2", until="train")
    (made,) = [stage for stage in result["stages"] if stage["name"] == "train"]
    path = Home.here().store / "train" / made["key"]
    assert {p.name for p in (path / "adapter").glob("*.safetensors")} == {"adapter_model.safetensors"}
    merged = load_policy(path / "model", torch.device("cpu"))
    assert not any("lora" in name for name, _ in merged.model.named_parameters())


def test_an_existing_model_skips_the_warm_up(promoted: dict[str, Any], run: Run) -> None:
    (warmed,) = [stage["key"] for stage in promoted["stages"] if stage["name"] == "warmup"]
    model = Home.here().store / "warmup" / warmed / "model"
    result = run(f"policy.model={model}", "reward.kind=verifier", "policy.warmup.steps=1", until="reward")
    assert result["status"] == "finished"
    assert client().get_run(result["run_id"]).data.params["policy.model"] == str(model)


def test_a_model_directory_without_weights_is_refused(promoted: dict[str, Any], run: Run, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ModelError, match="no weights"):
        run(f"policy.model={tmp_path}", until="reward")


def nan_reward(prompts: list[str], completions: list[str], rows: list[Any]) -> list[Grade]:
    """A reward that is broken for long answers."""
    return [Grade(float("nan") if "=" in text else 0.0, {}) for text in completions]


def test_faults_a_reward_that_returns_nan_stops_the_run_before_training(promoted: dict[str, Any], run: Run) -> None:
    with pytest.raises(RewardError, match=r"nan_reward failed on .* protocol\).*not a finite number: nan"):
        run("reward.kind=custom", "reward.function=tests.flows.test_finetune:nan_reward")


def test_a_training_that_is_never_finite_is_stopped(promoted: dict[str, Any], run: Run) -> None:
    result = run("train.lr=1e30", "train.steps=12", "train.evaluate_every=12")
    assert result["status"] == "stopped"
    assert result["version"] is None


STOPPED = ("train.sentinel.kl=0.01", "train.sentinel.looks=[]")  # at the first evaluation after the start


def test_the_best_checkpoint_of_a_stopped_run_is_judged_and_marked(run: Run) -> None:
    result = run("name=halted", *STOPPED)
    assert result["verdict"] in ("PROMOTE", "REJECT")
    assert client().get_run(result["run_id"]).data.tags["training_status"] == "stopped:kl"
    version = client().get_model_version("halted", result["version"])
    assert version.tags["training_status"] == "stopped:kl"
    for text in (version.description, text_of(result["report"])):
        assert "the sentinel stopped training at step 8: kl (eval_kl" in text


def test_a_recipe_may_keep_stopped_runs_from_the_gate(run: Run) -> None:
    result = run("name=withheld", *STOPPED, "gate.after_stop=false")
    assert (result["status"], result["version"]) == ("stopped", None)
    assert "the sentinel stopped training" in text_of(result["report"])


def test_the_gate_verb_leaves_the_promotion_to_a_run_and_its_figures_sealed(run: Run) -> None:
    judged = run("name=gated", until="gate")
    assert (judged["status"], judged["verdict"]) == ("finished", "PROMOTE")
    assert Ledger(Home.here().ledger).history("gated") == []
    assert not [name for name in client().get_run(judged["run_id"]).data.metrics if "sealed" in name]
    promoted = run("name=gated")
    assert (promoted["status"], promoted["version"]) == ("promoted", judged["version"])
    assert len(Ledger(Home.here().ledger).history("gated")) == 1
    again = run("name=gated", until="gate")  # the champion itself: not judged against itself, and its card stays
    assert (again["status"], again["verdict"], again["run_id"]) == ("unchanged", "PROMOTE", judged["run_id"])
    assert client().get_model_version("gated", promoted["version"]).tags["verdict"] == "PROMOTE"


def test_faults_a_dry_run_says_what_the_gate_would_do_and_leaves_nothing(second: dict[str, Any], run: Run) -> None:
    def uses() -> int:
        return len(Ledger(Home.here().ledger).past("micro").uses)

    def kept() -> list[Any]:
        reports = sorted(path.name for path in Home.here().reports.iterdir())
        runs = client().search_runs([each.experiment_id for each in client().search_experiments()])
        return [uses(), Ledger(Home.here().ledger).latest_runs(), reports, sorted(each.info.run_id for each in runs)]

    before = kept()
    result = run(*ANOTHER, until="plan")
    assert (result["status"], result["run_id"], result["report"]) == ("finished", None, None)
    assert (result["gate"]["fold"], result["gate"]["use"]) == ("sealed_1", 2)
    assert result["gate"]["power"]["items"] == result["gate"]["items"]
    assert kept() == before


def test_several_samples_an_item_the_guard_split_and_a_benchmark_go_through_the_gate(run: Run, tmp_path: Path) -> None:
    school = tmp_path / "school.jsonl"
    rows = [
        {"question": f"Tom has {n} boxes with 2 pens each. How many pens in total?", "answer": f"#### {2 * n}"}
        for n in range(9)
    ]
    school.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    guards = [
        {"measure": "pass@2", "on": "guard", "margin": 0.9},
        {"measure": "accuracy_lenient", "on": "school", "margin": 0.9},
        {"measure": "accuracy", "on": "sealed", "slice": "boxes", "margin": 0.9},
    ]
    result = run(
        "name=sampled",
        "evaluation.samples=3",
        f"evaluation.benchmarks={json.dumps({'school': str(school)})}",
        "evaluation.slices=" + json.dumps([{"name": "boxes", "prompt": "each"}]),
        f"gate.rules.guards={json.dumps(guards)}",
    )
    assert (result["status"], result["verdict"]) == ("promoted", "PROMOTE")
    (known,) = Ledger(Home.here().ledger).verdicts("sampled")
    assert known["record"]["method"] != "mcnemar"  # three samples of an item are no independent trials
    figures = known["record"]["figures"]
    assert [name for name in figures if "pass@2 on guard" in name]
    assert [name for name in figures if "accuracy_lenient on school" in name]


def test_the_last_use_of_a_fold_publishes_every_verdict_on_it(second: dict[str, Any], run: Run) -> None:
    third = run(*ANOTHER)
    assert third["verdict"] == "REJECT"
    for result in (second, third):
        assert "sealed/p_value" in client().get_run(result["run_id"]).data.metrics
    assert traces_of(second) != []
    assert "p-value of the test" in text_of(third["report"])
