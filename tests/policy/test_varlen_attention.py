"""A flat row attended to by sequences gives what packed rows with a mask give, in value and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.testing import assert_close
from transformers import DeepseekV3Config, LlamaConfig, LlamaForCausalLM, MistralConfig, Qwen2Config, Qwen2ForCausalLM

from ratchet.components.errors import ModelError
from ratchet.components.policy import varlen_attention
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, PackedRows, pack, pack_flat
from ratchet.components.policy.varlen_attention import Sequences, attend, attending_to_sequences, gather, sequences_of, serves
from tests.policy.scoring import order_of

GROUPS = [
    Group([5, 6, 7], [[8, 9, 10, 1], [11, 1], [12, 13, 14]]),
    Group([20], [[21, 22], [23, 24, 25, 26, 1]]),
    Group([30, 31, 32, 33, 34], [[35]]),
]
SHAPE = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


def model_of(kind: type, config: type) -> torch.nn.Module:
    """A random model in fp64, whose two query heads share one of keys, scaled up so that context shows."""
    torch.manual_seed(0)
    model = kind(config(**SHAPE, num_key_value_heads=2, tie_word_embeddings=True)).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(5.0 if parameter.dim() > 1 else 1.0)
    return model


def scored(model: torch.nn.Module, rows: PackedRows) -> list[Tensor]:
    """Log-probs by completion, and the gradient of every parameter; the tokens' weights are unequal."""
    scores = score_tokens(model, rows)[order_of(rows)]
    weighted = (scores * torch.linspace(-1, 1, len(scores))).sum()
    return [scores.detach(), *torch.autograd.grad(weighted, list(model.parameters()))]


@pytest.mark.parametrize("multiple", [1, 16])
@pytest.mark.parametrize(("kind", "config"), [(LlamaForCausalLM, LlamaConfig), (Qwen2ForCausalLM, Qwen2Config)])
def test_a_flat_row_equals_the_dense_mask(kind: type, config: type, multiple: int) -> None:
    model = model_of(kind, config)
    for flat, dense in zip(scored(model, pack_flat(GROUPS, multiple)), scored(model, pack(GROUPS, 32)), strict=True):
        assert_close(flat, dense, rtol=1e-5, atol=1e-5)  # the head works in fp32


def test_a_compiled_layer_is_one_graph_whatever_the_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    def gathered(query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, _: object) -> Tensor:
        """In place of a CPU's attention, which no graph contains: what CUDA gathers, summed up."""
        return query + gather(torch.cat([key, value], 1), sequences).sum()

    monkeypatch.setattr(varlen_attention, "_on_cpu", gathered)
    model, graphs = model_of(LlamaForCausalLM, LlamaConfig), CompileCounterWithBackend("aot_eager")
    layer = torch.compile(model.model.layers[0].forward, backend=graphs, fullgraph=True, dynamic=True)
    for more in ([], [Group([1, 2, 3], [[4, 5, 6], [7]])], [Group([1] * 9, [[4] * 11, [7] * 3])]):
        rows = pack_flat([*GROUPS, *more])
        embedded = model.model.embed_tokens(rows.tokens)
        with attending_to_sequences(model.model):
            found = layer(
                embedded, position_embeddings=model.model.rotary_emb(embedded, rows.positions), sequences=rows.sequences
            )
        found.sum().backward()
    assert graphs.frame_count == 1


def test_the_models_own_attention_is_back_afterwards() -> None:
    model = model_of(LlamaForCausalLM, LlamaConfig)
    before = model.config._attn_implementation
    score_tokens(model, pack_flat(GROUPS))
    assert model.config._attn_implementation == before


def test_gathered_keys_are_each_completions_prompt_and_itself() -> None:
    sequences = sequences_of([Group([10, 11], [[12, 13], [14]])], width=7)  # two tokens of padding
    assert sequences.query_starts.tolist() == [0, 2, 4, 5, 7]
    assert sequences.key_starts.tolist() == [0, 2, 6, 9, 11]
    assert sequences.gathered.tolist() == [0, 1, 0, 1, 2, 3, 0, 1, 4, 5, 6]
    assert sequences.longest == 4  # a power of two


sizes = st.lists(st.tuples(st.integers(1, 4), st.lists(st.integers(1, 4), min_size=1, max_size=3)), min_size=1, max_size=4)


@settings(deadline=None, max_examples=50)
@given(sizes, st.integers(0, 3))
def test_the_gradient_of_the_gathering_is_the_sum_over_its_copies(shape: list[tuple[int, list[int]]], padding: int) -> None:
    groups = [Group([1] * prompt, [[2] * length for length in lengths]) for prompt, lengths in shape]
    width = sum(group.tokens for group in groups) + padding
    sequences, x = sequences_of(groups, width), torch.zeros(width, 1, 1, requires_grad=True)
    upstream = torch.arange(1.0, len(sequences.gathered) + 1).reshape(-1, 1, 1)
    (gradient,) = torch.autograd.grad(gather(x, sequences), x, upstream)
    assert torch.equal(gradient, torch.zeros(width, 1, 1).index_add(0, sequences.gathered, upstream))


def test_a_model_that_keeps_the_sequences_to_itself_is_refused() -> None:
    with pytest.raises(ModelError, match="does not pass arguments on"):
        attend(torch.nn.Identity(), *[torch.zeros(1, 1, 2, 4)] * 3, None)


def test_windows_and_caps_are_left_to_the_mask() -> None:
    model = model_of(LlamaForCausalLM, LlamaConfig)
    assert serves(model)
    model.config.attn_logit_softcapping = 30.0
    assert not serves(model)
    windowed = model_of(LlamaForCausalLM, LlamaConfig)
    windowed.config = MistralConfig(**SHAPE, sliding_window=4)
    assert not serves(windowed)


def test_values_of_another_width_than_keys_are_left_to_the_mask() -> None:
    model = model_of(LlamaForCausalLM, LlamaConfig)
    model.config = DeepseekV3Config(**SHAPE, qk_nope_head_dim=8, qk_rope_head_dim=8, v_head_dim=8)
    assert not serves(model)
