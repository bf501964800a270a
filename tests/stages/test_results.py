"""What other stages read of a finished one."""

from pathlib import Path

import pytest

from ratchet.components.errors import DataError, StoreError
from ratchet.components.stages.results import ChampionStage, PolicyStage, RewardStage, WarmupStage
from ratchet.components.stages.stage import Stage, finish
from ratchet.components.storage.digests import digest_of_digests, file_digest
from ratchet.components.storage.files import write_json, write_text
from ratchet.components.storage.store import Finished
from tests.stages.by_hand import REPORT, context_of, data_stage, problem, reward_stage


def test_a_dataset_is_known_by_its_pointer_and_read_table_by_table(tmp_path: Path) -> None:
    data = data_stage(tmp_path, version="a" * 32, train=2, sealed_0=1)
    assert data.version == "a" * 32 + ".dir"
    assert list(data.table("train")) == [problem(0), problem(1)]
    assert data.fold_digest("sealed_0") == file_digest(tmp_path / "data" / "sealed_0.jsonl")
    with pytest.raises(KeyError, match="sealed_1"):
        data.fold_digest("sealed_1")


def test_a_pointer_at_anything_but_data_is_refused(tmp_path: Path) -> None:
    data = data_stage(tmp_path)
    write_text(tmp_path / "data.dvc", f"outs:\n- md5: {'0' * 32}\n  path: ../elsewhere\n")
    with pytest.raises(DataError, match=r"data\.dvc .*git checkout"):
        _ = data.version


def test_a_summary_that_is_gone_is_an_error_of_the_store(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"cannot read .*summary\.json"):
        _ = data_stage(tmp_path).summary


def weights_of(**files: str) -> str:
    named = {name.replace("__", "/").replace("_", "."): digest for name, digest in files.items()}
    return PolicyStage(Finished("policy", "", Path(), {"files": named}), True, 0.0).weights


def test_a_policys_digest_is_that_of_its_weights_and_of_nothing_beside_them() -> None:
    assert weights_of(model__a_safetensors="x", model__config_json="c", adapter__a_safetensors="y") == "x"
    shards = {"model/a.safetensors": "x", "model/b.safetensors": "y"}
    assert weights_of(model__a_safetensors="x", model__b_safetensors="y") == digest_of_digests(shards)


def test_each_kind_of_policy_is_stored_by_its_own_name(tmp_path: Path) -> None:
    context = context_of(tmp_path)
    made = finish(context, WarmupStage, "key", lambda path: write_text(path / "model" / "m.safetensors", "w"))
    assert made.model == context.home.store / "warmup" / "key" / "model"
    assert WarmupStage.find(context.store, "key") is not None
    assert ChampionStage.find(context.store, "key") is None


def test_a_rewards_report_is_what_its_validation_found(tmp_path: Path) -> None:
    assert reward_stage(tmp_path).report == REPORT
    assert reward_stage(tmp_path).name is Stage.REWARD
    write_json(tmp_path / "report.json", {"kind": "verifier", "passed": True})
    incomplete = RewardStage(Finished("reward", "", tmp_path, {"files": {}}), True, 0.0)
    with pytest.raises(TypeError, match="failed"):
        _ = incomplete.report
