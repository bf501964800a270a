"""A cache with room holds what transformers' own holds, for every operation of the plain engine."""

import pytest
import torch
from torch.testing import assert_close
from transformers import DynamicCache

from ratchet.components.policy.engines import plain
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.roomy_cache import RoomyLayer, repeat_rows
from tests.policy.families import FAMILIES, random_model

PROMPTS = [[5, 6, 7], [8], [9, 10, 11, 12, 13, 14]]


def filled() -> DynamicCache:
    cache = DynamicCache()
    for layer in range(2):
        cache.update(*torch.randn(2, 2, 3, 4, 5, generator=torch.Generator().manual_seed(layer)), layer)  # two rows
    return cache


def test_it_holds_what_transformers_cache_holds() -> None:
    ours, theirs, generator = filled(), filled(), torch.Generator().manual_seed(7)
    repeat_rows(ours, 3, new_tokens=3)
    theirs.batch_repeat_interleave(3)
    for kept in ([0, 1, 2, 3, 4, 5], [0, 2, 5], [1]):
        for cache in (ours, theirs):
            cache.batch_select_indices(torch.tensor(kept))
        for layer in range(2):
            new = torch.randn(2, len(kept), 3, 1, 5, generator=generator)
            for mine, own in zip(ours.update(*new, layer), theirs.update(*new, layer), strict=True):
                assert_close(mine, own, rtol=0, atol=0)
    assert ours.get_seq_length() == theirs.get_seq_length() == 4 + 3


def test_an_update_does_not_copy_what_is_held() -> None:
    cache = filled()
    repeat_rows(cache, 2, new_tokens=2)
    layer = cache.layers[0]
    assert isinstance(layer, RoomyLayer)
    place = layer.keys.data_ptr()
    assert cache.update(*torch.randn(2, 4, 3, 1, 5), 0)[0].data_ptr() == place


def drawn(name: str) -> list[list[Completion]]:
    request = SamplingRequest(PROMPTS, [3, 1, 4], SamplingSettings(4, 12), SamplingSeed(7, "test"), range(0, 300, 8))
    return plain.sample(random_model(FAMILIES[name]), request)


@pytest.mark.parametrize("name", FAMILIES)
def test_completions_are_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = drawn(name)
    monkeypatch.setattr(plain, "repeat_rows", lambda cache, samples, _: cache.batch_repeat_interleave(samples))
    assert len({len(completion.tokens) for group in ours for completion in group}) > 2  # rows end at different times
    assert ours == drawn(name)
