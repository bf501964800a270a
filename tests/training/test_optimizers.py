"""The optimiser that a recipe names; its state's bytes by hand, and as a real one holds them."""

from collections.abc import Callable, Sequence
from itertools import accumulate

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, Qwen2Config, Qwen2ForCausalLM

from ratchet.components.checkpoints.checkpoint import set_learning_rate
from ratchet.components.code import extras
from ratchet.components.errors import MissingExtraError
from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.configuration import ModelShape, shape_of_model
from ratchet.components.training.matrices import lora_matrices, matrices
from ratchet.components.training.optimizers import build_optimizer, environment_of, moment_bytes, step_bytes
from ratchet.components.training.update import parameters_of
from tests.tiny_models import moments, same, tiny_policy, weights


def stepped(name: str, module: nn.Module, lr: float = 1e-2, steps: int = 1) -> torch.optim.Optimizer:
    optimizer = build_optimizer(name, parameters_of(module), lr)  # type: ignore[arg-type]
    for step in range(steps):
        for number, parameter in enumerate(parameters_of(module)):
            parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(step * 99 + number))
        optimizer.step()
    return optimizer


def line() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(64, 128)


def test_the_default_is_adamw() -> None:
    optimizer = stepped("adamw", line())
    assert type(optimizer) is torch.optim.AdamW
    assert (optimizer.defaults["betas"], optimizer.defaults["weight_decay"]) == ((0.9, 0.98), 0.0)
    assert environment_of("adamw") == {}


def test_8_bits_step_nearly_as_32_do() -> None:
    """Adam moves a weight by about the learning rate each step; quantised moments change that by little."""
    exact, coarse = line(), line()
    stepped("adamw", exact, steps=20)
    stepped("adamw_8bit", coarse, steps=20)
    moved = (exact.weight - line().weight).abs().mean()
    assert 0 < (exact.weight - coarse.weight).abs().mean() < 0.05 * moved
    assert environment_of("adamw_8bit").keys() == {"torchao"}


def test_a_step_on_a_cpu_compiles_nothing() -> None:
    counters.clear()
    stepped("adamw_8bit", line())
    assert counters["stats"] == {}


def test_the_learning_rate_can_be_set() -> None:
    module = line()
    optimizer = build_optimizer("adamw_8bit", parameters_of(module), 1.0)
    before = weights(module)
    module(torch.ones(1, 64)).sum().backward()
    set_learning_rate(optimizer, 0.0)
    optimizer.step()
    assert same(weights(module), before)
    set_learning_rate(optimizer, 0.5)
    optimizer.step()
    assert (module.weight - before[0]).abs().mean().item() == pytest.approx(0.5, rel=1e-3)


def test_a_missing_library_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"torchao.*Run: pip install 'ratchet-rl\[adamw-8bit\]'\."):
        build_optimizer("adamw_8bit", parameters_of(line()), 1.0)
    extras.require_optimizer("adamw")


# The state's bytes.


def test_bytes_by_hand() -> None:
    """4,096 values: a byte each, 16 scales and a table of 256; 4,095 and 4,352 + 1 stay in fp32, as does what is left over."""
    assert moment_bytes("adamw", 5_000, [4_096]) == 2 * 4 * 5_000
    assert moment_bytes("adamw_8bit", 4_096, [4_096]) == 2 * (4_096 + 4 * 16 + 4 * 256)
    assert moment_bytes("adamw_8bit", 12_548, [4_096, 4_095, 4_353]) == 2 * (5_184 + 4 * (4_095 + 4_353 + 4))


def test_a_large_models_moments_take_a_quarter() -> None:
    qwen = ModelShape(24, 896, 4864, 14, 2, 64, 151_936, 494_032_768, 0)
    few = moment_bytes("adamw_8bit", qwen.parameters, matrices(qwen))
    assert few / moment_bytes("adamw", qwen.parameters, []) == pytest.approx(0.254, abs=0.001)


def held(optimizer: torch.optim.Optimizer) -> int:
    return sum(part.nbytes for part in moments(optimizer) if part.dim())  # not the steps, which are scalars


SIZES = {"vocab_size": 512, "hidden_size": 96, "intermediate_size": 288, "num_hidden_layers": 2}
MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "grouped, tied": lambda: Qwen2ForCausalLM(
        Qwen2Config(**SIZES, num_attention_heads=6, num_key_value_heads=2, tie_word_embeddings=True)
    ),
    "a head of its own": lambda: LlamaForCausalLM(LlamaConfig(**SIZES, num_attention_heads=4)),
    "embeddings of no whole block": lambda: LlamaForCausalLM(LlamaConfig(**SIZES | {"vocab_size": 500}, num_attention_heads=4)),
}


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
@pytest.mark.parametrize("model", MODELS)
def test_bytes_are_what_an_optimiser_holds(model: str, name: str) -> None:
    made = MODELS[model]()
    shape = shape_of_model(made)
    assert moment_bytes(name, shape.parameters, matrices(shape)) == held(stepped(name, made))  # type: ignore[arg-type]


@pytest.mark.parametrize("rank", [16, 64])
def test_bytes_of_an_adapter_too(rank: int) -> None:
    policy = tiny_policy(width=64)
    shape = shape_of_model(policy.model)
    add_lora(policy, rank, 32, 0)
    learn: Sequence[int] = lora_matrices(shape, rank)
    assert moment_bytes("adamw_8bit", sum(learn), learn) == held(stepped("adamw_8bit", policy.model))


@pytest.mark.parametrize("name", ["adamw", "adamw_8bit"])
def test_bytes_of_a_step_are_what_it_allocates(name: str) -> None:
    """The largest sum of what was allocated and not yet freed within a step."""
    module = nn.Linear(256, 256, bias=False)
    optimizer = stepped(name, module)
    with torch.profiler.profile(profile_memory=True) as profile:
        optimizer.step()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    sizes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    assert max(accumulate(sizes, initial=0)) == pytest.approx(step_bytes(name, 256 * 256, compiled=False), rel=0.02, abs=1_000)  # type: ignore[arg-type]
