"""Weights as files: whole, new for every version, and of shapes that vLLM loads."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ratchet.components.errors import EngineError
from ratchet.components.policy.adapters import Adapter, add_lora
from ratchet.components.policy.engines.vllm.weights import WeightFiles, check_whole, refuse_adapter, trained_digest
from ratchet.components.policy.loading import Policy
from tests.tiny_models import tiny_policy


def files_of(root: Path, adapter: Adapter | None = None) -> WeightFiles:
    return WeightFiles(root, adapter, "0a1b")


def half(policy: Policy) -> Policy:
    return Policy(policy.model, policy.tokenizer, "bf16")


def test_each_version_has_a_name_and_a_folder_of_its_own(tmp_path: Path) -> None:
    files, policy = files_of(tmp_path / "run"), tiny_policy()
    first, second = files.write(policy), files.write(policy)
    assert (first.name, second.name) == ("policy-0a1b-v1", "policy-0a1b-v2")
    assert sorted(path.name for path in files.root.iterdir()) == [first.name, second.name]
    files.keep_only(second)
    assert [path.name for path in files.root.iterdir()] == [second.name]
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "run" / "policy-dead-v9").mkdir(parents=True)
    version = files_of(tmp_path / "run").write(tiny_policy())
    assert list((tmp_path / "run").iterdir()) == [version.path]


def test_a_tied_head_is_written_once_in_the_type_of_the_forward_pass(tmp_path: Path) -> None:
    policy = tiny_policy()
    whole = load_file(files_of(tmp_path / "a").write(policy).path / "model.safetensors")
    low = load_file(files_of(tmp_path / "b").write(half(policy)).path / "model.safetensors")
    assert whole.keys() == low.keys()
    assert "lm_head.weight" not in whole
    assert {tensor.dtype for tensor in low.values()} == {torch.bfloat16}
    assert all(torch.equal(whole[name].to(torch.bfloat16), low[name]) for name in low)


def test_files_that_lack_a_tensor_or_have_another_type_are_refused(tmp_path: Path) -> None:
    policy = tiny_policy()
    path = files_of(tmp_path / "run").write(policy).path
    with pytest.raises(EngineError, match="of type F32, and the model has"):
        check_whole(path, half(policy))
    tensors = load_file(path / "model.safetensors")
    del tensors["model.norm.weight"]
    save_file(tensors, path / "model.safetensors")
    with pytest.raises(EngineError, match="cannot be given to vLLM whole"):
        check_whole(path, policy)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EngineError, match=r"Correct train\.sampling\.vllm\.folder"):
        files_of(tmp_path / "file" / "run").write(tiny_policy())


def test_an_adapter_is_written_alone(tmp_path: Path) -> None:
    policy = tiny_policy()
    path = files_of(tmp_path / "run", add_lora(policy, 4, 8, 0)).write(policy).path
    names = load_file(path / "adapter_model.safetensors").keys()
    assert names
    assert all(".lora_A." in name or ".lora_B." in name for name in names)
    assert (path / "adapter_config.json").is_file()


SHAPES = {
    "modules_to_save": {"modules_to_save": ["lm_head"]},
    "use_dora": {"use_dora": True},
    "bias": {"bias": "all"},
    "low-rank layers on the head": {"target_modules": ["lm_head", "q_proj"]},
    "low-rank layers on the embeddings": {"target_modules": ["embed_tokens"]},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_adapters_that_vllm_does_not_load_are_refused(shape: str, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    policy, values = tiny_policy(), {"r": 4, "target_modules": ["q_proj"], **SHAPES[shape]}
    config: Any = LoraConfig(**values, task_type="CAUSAL_LM")
    adapter = Adapter(policy, get_peft_model(policy.model, config))
    with pytest.raises(EngineError, match=shape):
        WeightFiles(tmp_path, adapter, "0a1b")


def test_our_own_adapter_is_served() -> None:
    refuse_adapter(add_lora(tiny_policy(), 4, 8, 0))


def test_the_digest_is_of_what_is_trained() -> None:
    policy = tiny_policy()
    before = trained_digest(policy.model)
    assert trained_digest(tiny_policy().model) == before
    with torch.no_grad():
        next(policy.model.parameters()).view(-1)[3].add_(1e-3)
    assert trained_digest(policy.model) != before


def test_with_an_adapter_the_digest_follows_the_adapter() -> None:
    policy = tiny_policy()
    add_lora(policy, 4, 8, 0)
    before = trained_digest(policy.model)
    with torch.no_grad():
        next(p for name, p in policy.model.named_parameters() if "lora_B" in name).view(-1)[0] = 0.5
    assert trained_digest(policy.model) != before
