"""No tensor is invented, left out or not finite, wherever weights are loaded."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import LlamaConfig, tokenization_utils_base

from ratchet.components.errors import ModelError
from ratchet.components.policy.loading import Policy, load_policy, save_policy
from ratchet.components.registry.served_model import ServedPolicy
from ratchet.components.rewards.learned.model import RewardModel
from ratchet.components.storage.files import tree_digests
from tests.policy.families import PLAIN, random_model
from tests.tiny_models import tiny_policy, tiny_tokenizer

CPU = torch.device("cpu")
Weights = dict[str, Tensor]
NORM = "model.norm.weight"


def tampered(path: Path, change: Callable[[Weights], Weights], policy: Policy | None = None) -> Path:
    """The directory of a policy whose weights were changed after they were saved."""
    save_policy(policy or tiny_policy(), path)
    save_file(change(load_file(path / "model.safetensors")), path / "model.safetensors", metadata={"format": "pt"})
    return path


def without(name: str) -> Callable[[Weights], Weights]:
    return lambda weights: {n: tensor for n, tensor in weights.items() if n != name}


def wrapped(prefix: str) -> Callable[[Weights], Weights]:
    return lambda weights: {prefix + name: tensor for name, tensor in weights.items()}


def filled(name: str, value: float) -> Callable[[Weights], Weights]:
    def change(weights: Weights) -> Weights:
        weights[name].view(-1)[-1] = value
        return weights

    return change


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        # 11 tensors are stored; the tied head is missing with them.
        (wrapped("_orig_mod."), r"12 missing.*the first lm_head\.weight.*11 unexpected, the first _orig_mod\.model\.embed"),
        (wrapped("module."), r"12 missing"),
        (without(NORM), r"1 missing \(would be random\), the first model\.norm\.weight"),
        (without("model.embed_tokens.weight"), r"2 missing"),
        (
            lambda weights: weights | {NORM: torch.ones(3)},
            r"1 of another shape, the first model\.norm\.weight: \[3\], not \[32\]",
        ),
        # A config of fewer layers than were saved would quietly be another model.
        (lambda weights: weights | {"model.layers.1.input_layernorm.weight": torch.ones(32)}, r"1 unexpected.*layers\.1"),
        (lambda weights: weights | {"model.layers.0.self_attn.q_proj.bias": torch.ones(32)}, r"1 unexpected.*q_proj\.bias"),
        (filled(NORM, float("nan")), r"NaN or infinity in 1 tensors, the first model\.norm\.weight"),
        (filled(NORM, float("-inf")), r"NaN or infinity in 1"),
    ],
)
def test_weights_that_are_not_the_models_are_refused(
    tmp_path: Path, change: Callable[[Weights], Weights], complaint: str
) -> None:
    with pytest.raises(ModelError, match=complaint):
        load_policy(tampered(tmp_path, change), CPU)


def test_an_untied_head_that_is_missing_is_refused(tmp_path: Path) -> None:
    policy = Policy(random_model(LlamaConfig(**PLAIN, tie_word_embeddings=False)), tiny_tokenizer())
    with pytest.raises(ModelError, match=r"1 missing.*lm_head\.weight"):
        load_policy(tampered(tmp_path, without("lm_head.weight"), policy), CPU)


def test_a_shard_that_is_missing_is_named(tmp_path: Path) -> None:
    policy = tiny_policy()
    save_policy(policy, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    policy.model.save_pretrained(tmp_path, max_shard_size="20KB")
    shard = max(tmp_path.glob("model-*.safetensors"))
    load_policy(tmp_path, CPU)
    shard.unlink()
    with pytest.raises(ModelError, match=shard.name):
        load_policy(tmp_path, CPU)


def test_weights_too_large_for_single_precision_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="NaN or infinity in 1"):
        load_policy(tampered(tmp_path, lambda weights: weights | {NORM: torch.full((32,), 1e39, dtype=torch.float64)}), CPU)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(without(NORM), r"1 missing.*model\.norm"), (wrapped("_orig_mod."), "missing"), (filled(NORM, float("nan")), "NaN")],
)
def test_a_reward_models_trunk_is_whole(tmp_path: Path, change: Callable[[Weights], Weights], complaint: str) -> None:
    with pytest.raises(ModelError, match=complaint):
        RewardModel.from_trunk(tampered(tmp_path, change), 1, CPU)


def test_a_trunk_may_lose_the_head_of_a_language_model(tmp_path: Path) -> None:
    policy = Policy(random_model(LlamaConfig(**PLAIN, tie_word_embeddings=False)), tiny_tokenizer())
    save_policy(policy, tmp_path)
    model = RewardModel.from_trunk(tmp_path, 1, CPU).model
    assert torch.equal(model.get_input_embeddings().weight, policy.model.get_input_embeddings().weight)


def test_a_trunk_without_its_prefix_has_all_its_layers(tmp_path: Path) -> None:
    bare = lambda weights: {name.removeprefix("model."): tensor for name, tensor in weights.items()}  # noqa: E731
    RewardModel.from_trunk(tampered(tmp_path / "whole", bare), 1, CPU)
    deeper = lambda weights: bare(weights) | {"layers.1.input_layernorm.weight": torch.ones(32)}  # noqa: E731
    with pytest.raises(ModelError, match=r"1 unexpected.*layers\.1"):
        RewardModel.from_trunk(tampered(tmp_path / "deeper", deeper), 1, CPU)


def test_a_reward_model_with_a_nan_in_its_head_is_refused(tmp_path: Path) -> None:
    save_policy(tiny_policy(), tmp_path / "trunk")
    model = RewardModel.from_trunk(tmp_path / "trunk", 1, CPU)
    with torch.no_grad():
        model.model.score.weight[0, 0] = float("nan")
    model.save(tmp_path / "reward")
    with pytest.raises(ModelError, match=r"NaN.*score\.weight"):
        RewardModel.load(tmp_path / "reward", CPU)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [(without(NORM), r"1 tensors.*first model\.norm"), (filled(NORM, float("inf")), r"infinity, the first model\.norm")],
)
def test_the_served_model_refuses_them_too(tmp_path: Path, change: Callable[[Weights], Weights], complaint: str) -> None:
    model, manifest = tampered(tmp_path / "model", change), tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"files": tree_digests(model), "max_new_tokens": 4}), encoding="utf-8")
    context = SimpleNamespace(artifacts={"model": model, "manifest": manifest})
    with pytest.raises(ValueError, match=complaint):
        ServedPolicy().load_context(context)


@pytest.mark.parametrize("offline", [False, True])
def test_the_files_of_a_policy_do_not_say_whether_the_hub_was_offline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool
) -> None:
    save_policy(tiny_policy(), tmp_path / "first")
    monkeypatch.setattr(tokenization_utils_base, "is_offline_mode", lambda: offline)
    save_policy(load_policy(tmp_path / "first", device=CPU), tmp_path / "second")
    settings = json.loads((tmp_path / "second" / "tokenizer_config.json").read_text(encoding="utf-8"))
    assert settings["local_files_only"] is False
