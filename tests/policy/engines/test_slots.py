"""The engine with slots draws what the plain engine draws: on a CPU's terms, and on those of CUDA with a graph that is none."""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import replace
from itertools import chain

import pytest
import torch
from torch.testing import assert_close
from transformers import GPT2Config

from ratchet.components.errors import ModelError
from ratchet.components.policy.adapters import add_lora
from ratchet.components.policy.engines import plain
from ratchet.components.policy.engines.decoder import Drawing
from ratchet.components.policy.engines.engine import Completion, SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.execution import ON_CPU, Execution, Step
from ratchet.components.policy.engines.slots import SlotEngine
from ratchet.components.policy.loading import Policy
from tests.policy.families import ENDS, FAMILIES, LONG_ROPE, random_model
from tests.policy.scoring import sampled
from tests.tiny_models import tiny_policy, tiny_tokenizer

PROMPTS = [
    [5, 6, 7],
    [8],
    [9, 10, 11, 12, 13, 14],
    [15, 16],
    [20] * 17,
    [17, 18, 19],
] * 3  # of three padded widths, and of one token
ITEMS = list(range(len(PROMPTS)))
SEED = SamplingSeed(7, "test", 2)
HOT = 5.0  # the temperature at which the tiny policy is next to uniform


def warm_up_three_times() -> Callable[[Step], Step]:
    """Stands for the capture of a graph: runs the step first, as a capture does."""

    def capture(step: Step) -> Step:
        for _ in range(3):
            step()
        return step

    return capture


AS_ON_CUDA = Execution(warm_up_three_times, captures=True, read_every=8, ratio=4, least=8, prefill_tokens=64, cache_bytes=1e12)
EXECUTIONS = pytest.mark.parametrize("execution", [ON_CPU, AS_ON_CUDA], ids=["cpu", "as on cuda"])


def ending_policy() -> Policy:
    """At ``HOT`` about one token in ten ends a completion."""
    policy = tiny_policy(layers=2)
    bias = torch.zeros(300)
    bias[policy.end_of_sequence] = HOT * math.log(300 / 10)
    policy.model.lm_head.bias = torch.nn.Parameter(bias)
    return policy


def flat(drawn: Sequence[Sequence[Completion]]) -> list[Completion]:
    return list(chain.from_iterable(drawn))


def asked(policy: Policy, settings: SamplingSettings, seed: SamplingSeed = SEED) -> SamplingRequest:
    return SamplingRequest(PROMPTS, ITEMS, settings, seed, policy.ends)


def same_as_plain(
    policy: Policy, engine: SlotEngine, settings: SamplingSettings, seed: SamplingSeed = SEED
) -> list[Completion]:
    expected, found = (draw(policy, asked(policy, settings, seed)) for draw in (plain.generate, engine))
    assert [c.tokens for c in flat(found)] == [c.tokens for c in flat(expected)]
    assert [c.finished for c in flat(found)] == [c.finished for c in flat(expected)]
    assert_close(sampled(found), sampled(expected), rtol=0, atol=1e-4)  # other shapes, fp32
    entropies = [torch.tensor([e for c in flat(drawn) for e in c.entropies]) for drawn in (found, expected)]
    assert_close(*entropies, rtol=0, atol=1e-4)
    return flat(found)


@EXECUTIONS
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"gemma2"}))
def test_slots_draw_what_the_plain_engine_draws(family: str, execution: Execution) -> None:
    policy = Policy(random_model(deepcopy(FAMILIES[family])), tiny_tokenizer())
    same_as_plain(policy, SlotEngine(policy, execution), SamplingSettings(2, 12))


@EXECUTIONS
@pytest.mark.parametrize("rows_at_once", [8, 16, 512])  # of 54 rows
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_refills_change_nothing(rows_at_once: int, temperature: float, execution: Execution) -> None:
    policy = tiny_policy(layers=2)
    same_as_plain(policy, SlotEngine(policy, execution), SamplingSettings(3, 11, temperature, rows_at_once=rows_at_once))


@EXECUTIONS
@pytest.mark.parametrize("rows_at_once", [6, 16, 512])
def test_early_ends_and_smaller_buckets_change_nothing(rows_at_once: int, execution: Execution) -> None:
    policy = ending_policy()
    drawn = same_as_plain(policy, SlotEngine(policy, execution), SamplingSettings(3, 21, HOT, rows_at_once=rows_at_once))
    lengths = [len(completion.tokens) for completion in drawn]
    assert min(lengths) == 1
    assert max(lengths) == 21
    assert 20 < sum(completion.finished for completion in drawn) < 54


def test_a_prompt_whose_padding_goes_past_the_models_context_is_drawn_from() -> None:
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=1, n_head=2, n_positions=100, **ENDS)
    policy, settings = Policy(random_model(config), tiny_tokenizer()), SamplingSettings(1, 8)
    request = SamplingRequest([list(range(5, 90))], [0], settings, SEED, policy.ends)  # padded to 128
    expected, found = plain.generate(policy, request), SlotEngine(policy, AS_ON_CUDA)(policy, request)
    assert found[0][0].tokens == expected[0][0].tokens


def test_padding_past_the_length_at_which_longrope_changes_changes_nothing() -> None:
    policy = Policy(random_model(LONG_ROPE), tiny_tokenizer())
    request = SamplingRequest([list(range(5, 23))], [0], SamplingSettings(1, 6), SEED, policy.ends)  # padded to 32
    expected, found = plain.generate(policy, request), SlotEngine(policy, AS_ON_CUDA)(policy, request)
    assert_close(sampled(found), sampled(expected), rtol=0, atol=1e-4)


def test_an_engine_goes_on_to_other_shapes_and_back() -> None:
    policy = tiny_policy()
    engine = SlotEngine(policy, AS_ON_CUDA)
    for settings in (
        SamplingSettings(2, 9),
        SamplingSettings(1, 4, 0.5),
        SamplingSettings(4, 9, rows_at_once=8),
        SamplingSettings(2, 9),
    ):
        same_as_plain(policy, engine, settings)
    engine.release()
    same_as_plain(policy, engine, SamplingSettings(2, 9))


def test_rows_leave_for_a_smaller_bucket() -> None:
    policy, engine, sizes = ending_policy(), SlotEngine(ending_policy(), AS_ON_CUDA), []
    own = engine.step_of

    def noted(drawing: Drawing) -> object:
        sizes.append(drawing.slots)
        return own(drawing)

    engine.step_of = noted  # type: ignore[method-assign,assignment]
    same_as_plain(policy, engine, SamplingSettings(2, 40, HOT, rows_at_once=64))
    captured, stepped = sizes[:2], sizes[2:]
    assert captured == [64, 16]  # before the first step, the largest first
    assert stepped == sorted(stepped, reverse=True)
    assert set(stepped) == {64, 16}


def test_steps_are_captured_once_and_kept_between_calls() -> None:
    captures: list[Step] = []

    def counted() -> Callable[[Step], Step]:
        def capture(step: Step) -> Step:
            captures.append(step)
            return step

        return capture

    policy = tiny_policy()
    engine = SlotEngine(policy, replace(AS_ON_CUDA, graphs=counted))
    for step in range(3):
        engine(policy, asked(policy, SamplingSettings(1, 8), SamplingSeed(7, "test", step)))
    assert len(captures) == 2  # 32 slots, and 8
    engine.release()
    engine(policy, asked(policy, SamplingSettings(1, 8)))
    assert len(captures) == 4


def test_for_one_count_of_slots_a_completion_is_the_same_to_the_last_bit_beside_others() -> None:
    policy, settings = tiny_policy(layers=2), SamplingSettings(2, 16, rows_at_once=32)
    together = SlotEngine(policy, AS_ON_CUDA)(policy, asked(policy, settings))
    some = [0, 17, 4, 5, 1, 8, 9, 2, 3]  # 18 rows: 32 slots too
    apart = SlotEngine(policy, AS_ON_CUDA)(policy, asked(policy, settings).only(some))
    assert apart == [together[i] for i in some]


def test_in_a_smaller_bucket_a_completion_keeps_its_tokens() -> None:
    policy, settings = ending_policy(), SamplingSettings(2, 24, HOT, rows_at_once=64)
    steady = SlotEngine(policy, replace(AS_ON_CUDA, ratio=1000))(policy, asked(policy, settings))
    shrinking = SlotEngine(policy, AS_ON_CUDA)(policy, asked(policy, settings))
    assert [c.tokens for c in flat(shrinking)] == [c.tokens for c in flat(steady)]
    assert_close(sampled(shrinking), sampled(steady), rtol=0, atol=1e-4)  # other numbers of rows, fp32


def test_the_weights_are_those_of_the_call() -> None:
    policy = tiny_policy()
    engine = SlotEngine(policy, AS_ON_CUDA)
    before = engine(policy, asked(policy, SamplingSettings(1, 8)))
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(0.5)
    assert same_as_plain(policy, engine, SamplingSettings(1, 8)) != flat(before)


def test_an_adapter_is_served() -> None:
    policy = tiny_policy()
    adapter = add_lora(policy, rank=4, alpha=8, seed=0)
    engine = SlotEngine(policy, AS_ON_CUDA)
    before = engine(policy, asked(policy, SamplingSettings(1, 8)))
    with torch.no_grad():
        for name, parameter in policy.model.named_parameters():
            if "lora_B" in name:
                parameter.add_(1.0)
    assert same_as_plain(policy, engine, SamplingSettings(1, 8)) != flat(before)
    assert engine.shared_weights.belong_to(policy.model)
    assert not engine.shared_weights.belong_to(adapter.merge().model)


def test_slots_are_as_many_as_rows_memory_and_settings_allow() -> None:
    engine = SlotEngine(tiny_policy(), AS_ON_CUDA)
    settings = SamplingSettings(4, 8, rows_at_once=100)
    assert engine.slots_for(33, 20, settings) == 64
    assert engine.slots_for(1000, 20, settings) == 100
    token = 2 * 32 * 4  # keys and values of one layer of width 32, fp32
    engine.execution = replace(AS_ON_CUDA, cache_bytes=20 * 20 * token)
    assert engine.slots_for(33, 20, settings) == 16
    engine.execution = replace(AS_ON_CUDA, cache_bytes=1)
    assert engine.slots_for(33, 20, settings) == 4  # a prompt's samples at least


def test_no_prompts_give_no_completions() -> None:
    policy = tiny_policy()
    assert SlotEngine(policy, ON_CPU)(policy, asked(policy, SamplingSettings(2, 4)).only([])) == []


def test_a_prompt_that_would_run_past_the_models_context_is_refused() -> None:
    policy = tiny_policy()
    with pytest.raises(ModelError, match="120 tokens and 9 new ones exceed the model's context of 128"):
        SlotEngine(policy, ON_CPU)(policy, SamplingRequest([[5] * 120], [0], SamplingSettings(1, 9), SEED, policy.ends))


def test_attention_with_a_cap_is_refused() -> None:
    policy = Policy(random_model(deepcopy(FAMILIES["gemma2"])), tiny_tokenizer())
    with pytest.raises(ModelError, match="its attention takes softcap"):
        SlotEngine(policy, ON_CPU)


def test_the_model_keeps_its_own_attention() -> None:
    policy = tiny_policy()
    before = policy.model.config._attn_implementation
    SlotEngine(policy, ON_CPU)
    assert policy.model.config._attn_implementation == before
