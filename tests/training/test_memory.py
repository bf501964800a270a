"""The memory formulas, against what autograd really saves."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from ratchet.components.policy.configuration import ModelShape, shape_of_model
from ratchet.components.policy.loading import autocast, frozen
from ratchet.components.policy.log_probs import hidden_states
from ratchet.components.policy.packing import Group, PackedRows, pack_flat
from ratchet.components.recipe import Lora, Train
from ratchet.components.training.matrices import lora_matrices, lora_parameters, matrices
from ratchet.components.training.memory import (
    DIVIDED,
    GIB,
    Choice,
    Estimate,
    Load,
    Part,
    activation_bytes,
    choices,
    estimate,
    estimate_of,
    fitted,
    load_of,
    reference_bytes,
    step_parts,
    with_choice,
)
from ratchet.components.training.optimizers import moment_bytes
from tests.tiny_models import tiny_policy

PROMPT, NEW, K, GROUPS = 32, 24, 4, 3
SIZES: dict[str, Any] = {"vocab_size": 500, "hidden_size": 96, "intermediate_size": 288, "num_hidden_layers": 3}
MODELS = {
    "grouped": lambda: Qwen2ForCausalLM(Qwen2Config(**SIZES, num_attention_heads=6, num_key_value_heads=2)),
    "plain": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=4, num_key_value_heads=4)),
}


def saved_bytes(model: PreTrainedModel, rows: PackedRows, low: bool) -> int:
    """Distinct storages that the trunk's forward pass keeps for its backward, without weights and their bf16 copies."""
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    shapes = {s for p in model.parameters() for s in (tuple(p.shape), tuple(p.shape)[::-1])}
    kept: dict[int, torch.Tensor] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in weights and tuple(tensor.shape) not in shapes:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), autocast(torch.device("cpu"), "bf16" if low else "fp32"):
        hidden_states(model.base_model, rows)
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("name", MODELS)
def test_activations_are_what_autograd_saves(name: str, low: bool) -> None:
    model = MODELS[name]().eval()
    rows = pack_flat([Group(range(2, 2 + PROMPT), [range(5, 5 + NEW)] * K) for _ in range(GROUPS)])
    assert rows.tokens.numel() == GROUPS * (PROMPT + K * NEW)  # no padding
    load = Load(GROUPS * K, K, PROMPT, NEW, micro_tokens=10**6, low=low)
    assert not load.flat
    assert activation_bytes(shape_of_model(model), load) == pytest.approx(saved_bytes(model, rows, low), rel=0.05)


QWEN = ModelShape(24, 896, 4864, 14, 2, 64, 151_936, 494_032_768, 0)  # Qwen2.5-0.5B, measured on an H200


def test_eager_layers_are_what_a_gpu_held() -> None:
    """Under autocast, 8 groups of 128 + 8 x 256 tokens: 27.3 GiB without weights, with a mask that each layer cast to bf16."""
    load = Load(64, 8, 128, 256, micro_tokens=20_000, low=True, cuda=True, shards=2)  # sharded layers are not compiled
    assert load.packed == 17_408
    mask = 17_408 * (128 + 8 * 256) * (4 + 24 * 2)
    assert (activation_bytes(QWEN, load) + mask) / GIB == pytest.approx(27.3, rel=0.1)


@pytest.mark.parametrize("low", [False, True])
def test_the_reference_is_as_large_as_a_frozen_policy(low: bool) -> None:
    policy = replace(tiny_policy(layers=2), precision="bf16" if low else "fp32")
    expected = reference_bytes(shape_of_model(policy.model), Load(4, 2, 8, 8, micro_tokens=64, low=low))
    assert expected == pytest.approx(sum(p.nbytes for p in frozen(policy).model.parameters()), rel=0.02)


@pytest.mark.parametrize(("micro_tokens", "measured"), [(16_384, 23.30), (12_288, 20.37), (8_192, 17.21)])
def test_whole_steps_are_what_a_gpu_took(micro_tokens: int, measured: float) -> None:
    """64 x 8 completions of 256 tokens."""
    load = Load(512, 8, 128, 256, micro_tokens, low=True, cuda=True)
    assert estimate(QWEN, load).peak / GIB == pytest.approx(measured, rel=0.05)


# What memory decides: the first choice that fits, within what the recipe leaves open.


SHAPE = ModelShape(2, 8, 20, 2, 1, 4, 100, parameters=1000, head_parameters=0)
AUTO = {"micro_tokens": "auto", "gradient_checkpointing": "auto", "offload": "auto"}
GIVEN = {"prompt_tokens": 10, "new_tokens": 5, "low": False}


def by_tokens(choice: Choice) -> Estimate:
    """A byte per token; checkpointing halves it, offload halves that."""
    return Estimate([Part("x", choice.micro_tokens >> (choice.gradient_checkpointing + choice.offload), "update")])


@pytest.mark.parametrize(
    ("budget", "chosen"),
    [
        (16_384, Choice(16_384, False, False)),
        (16_383, Choice(12_288, False, False)),
        (4_095, Choice(4_096, True, False)),
        (1_023, Choice(2_048, True, True)),
        (1, Choice(512, True, True)),
    ],
)
def test_the_first_that_fits_is_chosen_and_otherwise_the_least(budget: int, chosen: Choice) -> None:
    assert fitted(choices(Train.model_validate(AUTO), cuda=True), by_tokens, budget) == chosen


def test_what_the_recipe_says_is_not_chosen() -> None:
    train = Train.model_validate(AUTO | {"micro_tokens": 300, "offload": False})
    assert choices(train, cuda=True) == [Choice(300, False, False), Choice(300, True, False)]
    assert choices(Train(), cuda=True) == [Choice(16_384, False, False)]
    assert with_choice(train, Choice(300, True, False)).tokens_at_once == 300


def test_nothing_is_offloaded_on_a_cpu() -> None:
    found = choices(Train.model_validate(AUTO), cuda=False)
    assert found[-1] == Choice(2_048, True, False)
    assert not any(choice.offload for choice in found)


def test_offload_without_checkpoints_is_refused() -> None:
    with pytest.raises(ValueError, match=r"set train\.gradient_checkpointing, or offload=false"):
        Train(offload=True)


def test_lora_learns_two_matrices_beside_each_linear_layer() -> None:
    from ratchet.components.policy.adapters import add_lora
    from ratchet.components.policy.configuration import shape_of_model
    from tests.tiny_models import tiny_policy

    policy = tiny_policy(layers=2)
    shape = shape_of_model(policy.model)
    add_lora(policy, 3, 6, 0)
    assert lora_parameters(shape, 3) == sum(p.numel() for p in policy.model.parameters() if p.requires_grad)


def test_a_load_is_the_recipes_step() -> None:
    train = Train(algorithm="ppo", prompts=6, k=2)
    load = load_of(train, SHAPE, Choice(1_000, False, False), **GIVEN)
    assert (load.samples, load.critic, load.packed, load.targets) == (12, True, 120, 60)  # all six groups of 10 + 2 x 5
    assert load_of(train, SHAPE, Choice(41, False, False), **GIVEN).packed == 40  # a group is not cut
    assert load_of(train, SHAPE, Choice(1, False, False), **GIVEN).packed == 20  # at least a group


def test_moments_in_8_bits_are_counted_for_policy_and_critic() -> None:
    train = Train(algorithm="ppo", kl="none", optimizer="adamw_8bit")
    found = {part.name: part.bytes for part in estimate_of(train, QWEN, Choice(1_000, False, False), **GIVEN).parts}
    assert found["optimizer moments"] == moment_bytes("adamw_8bit", QWEN.parameters, matrices(QWEN))
    assert found["critic and its moments"] == 4 * QWEN.parameters + found["optimizer moments"]  # the head is the embeddings
    assert found["gradients while stepping"] == 4 * QWEN.parameters
    assert found["optimizer's step"] == 53 * 151_936 * 896  # of the embeddings, on a CPU
    assert estimate_of(Train(kl="none", optimizer="adamw_8bit"), QWEN, Choice(1_000, False, False), **GIVEN).of("held") == (
        4 * QWEN.parameters + found["optimizer moments"]
    )
    adapter = train.model_copy(update={"lora": Lora(rank=8)})
    found = {part.name: part.bytes for part in estimate_of(adapter, QWEN, Choice(1_000, False, False), **GIVEN).parts}
    assert found["optimizer moments"] == moment_bytes("adamw_8bit", lora_parameters(QWEN, 8), lora_matrices(QWEN, 8))
    assert found["gradients while stepping"] == 4 * QWEN.parameters  # the critic's


def test_a_step_may_take_the_most() -> None:
    """4 B of gradient for each of 1,000 parameters, and 8 B for each of the embeddings' 800 values, compiled."""
    given_ = {"samples": 4, "k": 2, "prompt_tokens": 1, "new_tokens": 1, "micro_tokens": 1, "low": True, "cuda": True}
    parts = step_parts(SHAPE, Load(**given_, optimizer="adamw_8bit"))
    assert [(part.bytes, part.phase) for part in parts] == [(4 * 1_000, "step"), (8 * 800, "step")]
    assert Estimate([Part("weights", 5, "held"), Part("head", 9_000, "update"), *parts]).peak == 5 + 10_400
    assert sum(part.bytes for part in step_parts(SHAPE, Load(**given_))) == 0


def test_ppo_holds_a_critic_and_grpo_does_not() -> None:
    ppo, grpo = (
        estimate_of(Train(algorithm=name, kl="none"), SHAPE, Choice(1_000, False, False), **GIVEN) for name in ("ppo", "grpo")
    )
    assert ppo.of("held") - grpo.of("held") == 12 * SHAPE.trunk_parameters
    assert grpo.of("held") == 12 * SHAPE.parameters
    assert grpo.of("critic") == 0
    assert ppo.of("critic") > 4 * SHAPE.trunk_parameters


# Ranks that share the state.

STEP = {"samples": 4, "k": 2, "prompt_tokens": 8, "new_tokens": 8, "micro_tokens": 64, "cuda": True}
OWN = ModelShape(2, 8, 20, 2, 1, 4, 100, parameters=2000, head_parameters=0)  # 800 embeddings, so 600 per layer


def by_name(**load: Any) -> dict[tuple[str, str], int]:
    return {(part.phase, part.name): part.bytes for part in estimate(OWN, Load(**STEP, **load)).parts}


@pytest.mark.parametrize("low", [True, False])
def test_a_share_is_divided_and_layers_are_gathered(low: bool) -> None:
    """Embeddings and two layers; the embeddings' gradient, also in fp32; all weights to draw and to pay with."""
    everything: dict[str, Any] = {"low": low, "critic": True, "reference": "held", "reward_parameters": 9}
    whole, shared = by_name(**everything), by_name(**everything, shards=3)
    width = 2 if low else 4
    assert {key: shared.pop(key) for key in shared.keys() - whole.keys()} == {
        ("rollout", "gathered weights"): width * 2000,
        ("rollout", "gathered reward model"): 4 * 9,
        ("critic", "critic's gathered layers"): width * (800 + 2 * 600),
        ("update", "gathered layers"): width * (800 + 2 * 600),
        ("update", "gradients being summed"): (width + 4) * 800,
    }
    changed = {name: (whole[phase, name], size) for (phase, name), size in shared.items() if size != whole[phase, name]}
    activations = {"activations", "critic's activations"} if low else set()  # of layers that are not compiled
    assert changed.keys() == (DIVIDED if low else DIVIDED - {"bf16 copy of the critic"}) | activations
    assert all(size == -(-before // 3) for name, (before, size) in changed.items() if name in DIVIDED)


def test_an_adapter_has_no_large_gradient_to_sum() -> None:
    gathered = by_name(low=True, shards=4, trained=[100]).keys() - by_name(low=True, trained=[100]).keys()
    assert gathered == {("rollout", "gathered weights"), ("update", "gathered layers")}


def test_sharded_layers_save_what_eager_ones_do() -> None:
    on_cpu, sharded = Load(**STEP | {"cuda": False}, low=True), Load(**STEP, low=True, shards=2)
    in_fp32 = OWN.layers * OWN.query * (4 * 2 + 2)  # B per token: queries, keys, values and output, and the output in bf16
    assert activation_bytes(OWN, sharded) == activation_bytes(OWN, on_cpu) - on_cpu.packed * in_fp32


def test_a_mask_is_held_in_fp32_on_cuda_alone() -> None:
    on_cpu, on_cuda = (Load(**STEP | {"cuda": cuda}, low=False) for cuda in (False, True))
    assert activation_bytes(OWN, on_cuda) == activation_bytes(OWN, on_cpu) + on_cpu.packed * 4 * on_cpu.group


@given(st.integers(2, 512), st.integers(2, 512))
def test_more_ranks_hold_less(few: int, more: int) -> None:
    few, more = sorted((few, more))
    peaks = [estimate(OWN, Load(**STEP, low=True, shards=count)).peak for count in (few, more)]
    assert peaks[1] <= peaks[0]
