"""The grouped engine draws what the plain engine draws."""

from copy import deepcopy

import pytest
import torch
from torch.testing import assert_close

from ratchet.components.errors import ModelError
from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines import plain
from ratchet.components.policy.engines.engine import Completion, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.grouped import GroupedEngine
from ratchet.components.policy.loading import Policy
from tests.policy.engines.test_slots import HOT, PROMPTS, SEED, asked, ending_policy, flat
from tests.policy.families import FAMILIES, random_model
from tests.policy.scoring import sampled
from tests.tiny_models import tiny_policy, tiny_tokenizer


def same_as_plain(policy: Policy, settings: SamplingSettings, seed: SamplingSeed = SEED) -> list[Completion]:
    request = asked(policy, settings, seed)
    expected, found = plain.generate(policy, request), GroupedEngine(policy)(policy, request)
    assert [c.tokens for c in flat(found)] == [c.tokens for c in flat(expected)]
    assert [c.finished for c in flat(found)] == [c.finished for c in flat(expected)]
    assert [c.nucleus for c in flat(found)] == [c.nucleus for c in flat(expected)]
    assert_close(sampled(found), sampled(expected), rtol=0, atol=1e-4)  # other sums, fp32
    entropies = [torch.tensor([e for c in flat(drawn) for e in c.entropies]) for drawn in (found, expected)]
    assert_close(*entropies, rtol=0, atol=1e-4)
    return flat(found)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"gemma2"}))
def test_groups_draw_what_the_plain_engine_draws(family: str) -> None:
    same_as_plain(Policy(random_model(deepcopy(FAMILIES[family])), tiny_tokenizer()), SamplingSettings(2, 12))


@pytest.mark.parametrize("rows_at_once", [4, 16, 512])  # of 54 rows
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_batches_change_nothing(rows_at_once: int, temperature: float) -> None:
    same_as_plain(tiny_policy(layers=2), SamplingSettings(3, 11, temperature, rows_at_once=rows_at_once))


@pytest.mark.parametrize("samples", [1, 3, 5])
def test_rows_and_whole_groups_that_end_early_change_nothing(samples: int) -> None:
    lengths = [len(completion.tokens) for completion in same_as_plain(ending_policy(), SamplingSettings(samples, 21, HOT))]
    groups = [max(lengths[start : start + samples]) for start in range(0, len(lengths), samples)]
    assert min(lengths) == 1
    assert max(lengths) == 21
    assert min(groups) < 21  # some prompts are dropped before the last position


def test_top_ps_nucleus_is_recorded() -> None:
    drawn = same_as_plain(tiny_policy(layers=2), SamplingSettings(2, 8, 0.8, 0.6))
    assert all(completion.nucleus for completion in drawn)


def test_weights_are_read_where_they_are() -> None:
    policy = tiny_policy()
    engine, settings = GroupedEngine(policy), SamplingSettings(2, 8)
    before = engine(policy, asked(policy, settings))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.5)
    after = engine(policy, asked(policy, settings))
    assert flat(after) != flat(before)
    assert [c.tokens for c in flat(after)] == [c.tokens for c in flat(plain.generate(policy, asked(policy, settings)))]


def test_in_bf16_the_copy_of_the_weights_is_that_of_the_call() -> None:
    policy = Policy(tiny_policy(layers=2).model, tiny_tokenizer(), "bf16")
    engine, settings = GroupedEngine(policy), SamplingSettings(2, 8)
    before = engine(policy, asked(policy, settings))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(1.5)
    after = engine(policy, asked(policy, settings))
    assert flat(after) == flat(GroupedEngine(policy)(policy, asked(policy, settings)))
    assert flat(after) != flat(before)


def test_an_adapters_weights_count() -> None:
    policy = tiny_policy(layers=2)
    add_lora(policy, rank=2, alpha=64, seed=0)
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(generator=torch.Generator().manual_seed(0))
    same_as_plain(policy, SamplingSettings(2, 8))


def test_in_bf16_log_probs_are_near_those_of_the_models_own_pass() -> None:
    policy = Policy(tiny_policy(layers=2).model, tiny_tokenizer(), "bf16")
    settings = SamplingSettings(2, 12)
    found = GroupedEngine(policy)(policy, asked(policy, settings))
    for prompt, completion in zip(PROMPTS, (group[0] for group in found), strict=True):
        with torch.no_grad(), policy.autocast():
            logits = policy.model(input_ids=torch.tensor([prompt + completion.tokens])).logits[0].float()
        own = logits.log_softmax(-1)[len(prompt) - 1 : -1].gather(-1, torch.tensor(completion.tokens)[:, None])[:, 0]
        assert_close(torch.tensor(completion.log_probs), own, rtol=0, atol=0.05)


def test_attention_with_a_cap_is_refused() -> None:
    policy = Policy(random_model(deepcopy(FAMILIES["gemma2"])), tiny_tokenizer())
    with pytest.raises(ModelError, match=r"takes softcap\. The plain engine serves it"):
        GroupedEngine(policy)(policy, asked(policy, SamplingSettings(1, 2)))
