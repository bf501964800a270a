"""Sequences that begin alike get the scores that they get alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPTNeoConfig,
    GPTNeoForSequenceClassification,
    Qwen2Config,
    Qwen2ForSequenceClassification,
)

from ratchet.components.rewards.learned.packed_scores import MOST, can_pack, packed_scores, prefix_groups

PAD = 0
SHAPE = {"vocab_size": 30, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
PAIRS = [[5, 6, 7, 8, 9], [5, 6, 7, 10], [20, 21, 22, 3], [20, 21, 22, 4, 5, 6], [11, 12]]


def decoder() -> Qwen2ForSequenceClassification:
    torch.manual_seed(0)
    model = Qwen2ForSequenceClassification(Qwen2Config(**SHAPE, num_key_value_heads=1, num_labels=1, pad_token_id=PAD)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(10.0 if parameter.dim() > 1 else 1.0)
    return model


def alone(model: torch.nn.Module, sequences: list[list[int]]) -> torch.Tensor:
    return torch.cat([model(input_ids=torch.tensor([row])).logits[:, 0] for row in sequences])


def test_packed_scores_are_those_of_each_alone_in_value_and_gradient() -> None:
    model = decoder()
    found, expected = packed_scores(model, PAIRS, PAD), alone(model, PAIRS)
    assert torch.allclose(found, expected, atol=1e-4)
    assert expected.unique().numel() == len(PAIRS)
    gradients = [torch.autograd.grad((x * torch.arange(5)).sum(), list(model.model.parameters())) for x in (found, expected)]
    assert all(torch.allclose(a, b, atol=1e-3, rtol=1e-3) for a, b in zip(*gradients, strict=True))


def test_passes_of_few_sequences_give_the_same_scores() -> None:
    model = decoder()
    assert torch.allclose(packed_scores(model, PAIRS, PAD, together=2), packed_scores(model, PAIRS, PAD), atol=1e-5)


def test_what_counts_is_the_last_token_that_is_not_padding() -> None:
    model = decoder()
    rows = [[5, 6, 7, 8, PAD], [5, 6, 7, PAD, PAD], [5, 6, 7, 9, PAD]]
    expected = alone(model, [[5, 6, 7, 8], [5, 6, 7], [5, 6, 7, 9]])
    assert torch.allclose(packed_scores(model, rows, PAD), expected, atol=1e-4)


def test_a_model_that_reads_both_ways_is_not_packed() -> None:
    config = BertConfig(**SHAPE, num_labels=1, pad_token_id=PAD)
    model = BertForSequenceClassification(config).eval()
    with torch.no_grad():
        assert not can_pack(model, alone(model, PAIRS), PAIRS, PAD)
        assert can_pack(decoder(), alone(decoder(), PAIRS), PAIRS, PAD)


def test_a_model_whose_attention_goes_by_columns_is_not_packed() -> None:
    shape = {"vocab_size": 30, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["local"], 2]]}
    model = GPTNeoForSequenceClassification(GPTNeoConfig(**shape, window_size=32, num_labels=1, pad_token_id=PAD)).eval()
    with torch.no_grad():
        assert not can_pack(model, alone(model, PAIRS), PAIRS, PAD)


def test_pairs_of_one_prompt_are_a_group() -> None:
    assert [(list(group.prompt), numbers) for group, numbers in prefix_groups(PAIRS)] == [
        ([5, 6, 7], [0, 1]),
        ([11], [4]),
        ([20, 21, 22], [2, 3]),
    ]


def test_a_group_does_not_lose_what_it_shares_step_by_step() -> None:
    rows = [[1] * shared + [9] * (400 - shared) for shared in (200, 100, 50, 25, 12, 6)]
    assert all(len(group.prompt) >= 50 for group, numbers in prefix_groups(rows) if len(numbers) > 1)


def test_groups_stay_short() -> None:
    rows = [[*range(1, 21), *[40 + n] * 300] for n in range(8)]
    assert all(group.tokens <= 1024 for group, _ in prefix_groups(rows))


def test_a_short_beginning_in_common_makes_no_group() -> None:
    assert len(prefix_groups([[1, 2, 3, 4, 5, 6], [1, 9, 9, 9, 9, 9]])) == 2


@given(st.lists(st.lists(st.integers(0, 2), min_size=2, max_size=8), min_size=1, max_size=40))
def test_groups_hold_each_sequence_once_and_whole(sequences: list[list[int]]) -> None:
    found = {}
    for group, numbers in prefix_groups(sequences):
        assert len(group.prompt) >= 1
        assert len(numbers) <= MOST
        for number, rest in zip(numbers, group.completions, strict=True):
            assert len(rest) >= 1
            found[number] = [*group.prompt, *rest]
    assert [found[i] for i in range(len(sequences))] == sequences
