"""The embedded default model."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ratchet.components.policy.tiny import new_policy, train_tokenizer
from tests.tiny_models import TEXTS, same, tiny_tokenizer, weights


def built(seed: int) -> list[torch.Tensor]:
    return weights(new_policy(tiny_tokenizer(), layers=1, width=16, heads=2, context=32, seed=seed))


def test_the_seed_fixes_the_weights() -> None:
    assert same(built(3), built(3))
    assert not same(built(3), built(4))


def test_building_a_policy_leaves_torchs_own_generator_alone() -> None:
    before = torch.get_rng_state()
    built(5)
    assert torch.equal(torch.get_rng_state(), before)


def test_embeddings_are_tied() -> None:
    model = new_policy(tiny_tokenizer(), layers=1, width=16, heads=2, context=32, seed=0)
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=40))
def test_any_bytes_round_trip(content: bytes) -> None:
    text = content.decode("latin-1")
    tokenizer = tiny_tokenizer()
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


def test_padding_is_zero_and_end_of_sequence_is_one() -> None:
    assert (tiny_tokenizer().pad_token_id, tiny_tokenizer().eos_token_id) == (0, 1)


@pytest.mark.parametrize("vocabulary", [258, 300])
def test_the_vocabulary_has_the_wanted_size(vocabulary: int) -> None:
    # 256 bytes and two special tokens are always there
    assert len(train_tokenizer(TEXTS, vocabulary)) == vocabulary


def test_the_same_texts_give_the_same_tokenizer() -> None:
    first, second = (train_tokenizer(TEXTS, 300).backend_tokenizer.to_str() for _ in range(2))
    assert first == second
