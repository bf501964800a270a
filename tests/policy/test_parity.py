"""What is found out before training: wrong scores and too small a context. The families that pass are in test_families."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import BloomConfig, CohereConfig, GPTNeoConfig, GraniteConfig, MambaConfig

from ratchet.components.errors import ModelError
from ratchet.components.policy.engines import grouped, slot_attention
from ratchet.components.policy.engines.slots import SlotEngine
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.parity import check_context, check_engine, check_scoring
from tests.policy.families import LONG_ROPE, SHARED_KEYS, random_model
from tests.tiny_models import same, tiny_policy, tiny_tokenizer, weights

BLOOM = BloomConfig(vocab_size=300, hidden_size=32, n_layer=1, n_head=2)


def altered(module: torch.nn.Module, before: Callable[[dict[str, Any]], object], after: Callable[[Any], object]) -> None:
    """Let a module change its arguments and its output, as a model of another family would."""
    forward = module.forward

    def other(**arguments: Any) -> Any:
        before(arguments)
        out = forward(**arguments)
        after(out)
        return out

    module.forward = other  # type: ignore[method-assign]


def nothing(_: Any) -> None:
    pass


@pytest.mark.parametrize("precision", ["auto", "bf16"])
def test_a_model_that_scores_right_passes_and_is_left_as_it_was(precision: str) -> None:
    policy = Policy(tiny_policy().model, tiny_tokenizer(), precision)
    check_scoring(policy)
    assert same(weights(policy.model), weights(tiny_policy().model))


def test_logits_that_are_scaled_after_the_head_are_refused() -> None:
    policy = tiny_policy()
    altered(policy.model, nothing, lambda out: out.logits.mul_(0.5))
    with pytest.raises(ModelError, match=r"the packed scorer differs .* use another model"):
        check_scoring(policy)


def test_a_trunk_that_ignores_the_packed_mask_is_refused() -> None:
    def drop(arguments: dict[str, Any]) -> None:
        mask = arguments.get("attention_mask")
        if mask is not None and mask.dim() == 4:
            arguments["attention_mask"] = None

    policy = tiny_policy()
    altered(policy.model.base_model, drop, nothing)
    with pytest.raises(ModelError, match="the packed scorer differs"):
        check_scoring(policy)


def test_a_model_that_sees_its_padding_is_refused() -> None:
    policy = tiny_policy()
    altered(policy.model, lambda arguments: arguments.pop("attention_mask", None), nothing)
    with pytest.raises(ModelError, match="the sampler differs"):
        check_scoring(policy)


def test_a_model_that_ignores_positions_is_refused() -> None:
    policy = tiny_policy()
    altered(policy.model.base_model, lambda arguments: arguments.pop("position_ids", None), nothing)
    with pytest.raises(ModelError, match="differs"):
        check_scoring(policy)


def test_a_model_whose_log_probs_are_no_numbers_is_refused() -> None:
    policy = tiny_policy()
    policy.model.get_output_embeddings().weight.data.fill_(torch.nan)
    with pytest.raises(ModelError, match="differs"):
        check_scoring(policy)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        # scale their logits after the head
        (CohereConfig(**SHARED_KEYS), "scorer differs"),
        (GraniteConfig(**SHARED_KEYS, logits_scaling=2.0), "scorer differs"),
        # has a window of its own, by columns, and wider than a prompt and its completion
        (
            GPTNeoConfig(
                vocab_size=300,
                hidden_size=32,
                num_layers=2,
                num_heads=2,
                max_position_embeddings=512,
                window_size=64,
                attention_types=[[["global", "local"], 1]],
            ),
            "scorer differs",
        ),
        (BLOOM, "sampling and scoring fail"),  # no mask of ours
        (MambaConfig(vocab_size=300, hidden_size=32, state_size=4, num_hidden_layers=1), "sampling and scoring fail"),
    ],
    ids=lambda value: getattr(value, "model_type", ""),
)
def test_an_unsupported_family_is_refused_with_the_remedy(config: Any, complaint: str) -> None:
    with pytest.raises(ModelError, match=f"{config.model_type}: .*{complaint}.*use another model"):
        check_scoring(Policy(random_model(config), tiny_tokenizer()))


BOTH = pytest.mark.parametrize("slots", [True, False], ids=["slots", "groups"])


def test_slots_that_draw_right_give_an_engine_that_holds_nothing_yet() -> None:
    engine = check_engine(tiny_policy(), slots=True)
    assert isinstance(engine, SlotEngine)
    assert (engine.layout, engine.steps) == (None, {})


@BOTH
def test_an_engine_in_half_precision_is_near_enough(slots: bool) -> None:
    policy = Policy(tiny_policy().model, tiny_tokenizer(), "bf16")
    assert check_engine(policy, slots).half


def test_slots_whose_log_probs_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = slot_attention._plain
    monkeypatch.setattr(slot_attention, "_plain", lambda state, query, keys, *rest: right(state, query * 1.5, keys, *rest))
    with pytest.raises(ModelError, match=r"forward pass by \S+ nats at most in fp32. The plain engine serves it"):
        check_engine(tiny_policy(), slots=True)
    with pytest.raises(ModelError, match=r"in fp32 and by \S+ on average in bf16. The plain engine serves it"):
        check_engine(Policy(tiny_policy().model, tiny_tokenizer(), "bf16"), slots=True)


def test_groups_whose_log_probs_differ_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    right = grouped._attended
    monkeypatch.setattr(grouped, "_attended", lambda query, keys, *rest: right(query * 1.5, keys, *rest))
    with pytest.raises(ModelError, match=r"differ from the model's own forward pass by .* The plain engine serves it"):
        check_engine(tiny_policy(), slots=False)


@BOTH
def test_an_engine_that_fails_on_a_model_is_refused_with_the_error(slots: bool) -> None:
    policy = Policy(
        random_model(MambaConfig(vocab_size=300, hidden_size=32, state_size=4, num_hidden_layers=1)), tiny_tokenizer()
    )
    with pytest.raises(ModelError, match="The plain engine serves it"):
        check_engine(policy, slots)


def asked(*prompts: str) -> list[dict[str, str]]:
    return [{"prompt": prompt} for prompt in prompts]


def test_a_prompt_that_fills_the_context_passes() -> None:
    policy = tiny_policy()
    longest = len(policy.encode_prompt("x" * 20))
    check_context(policy, asked("x", "x" * 20), 128 - longest)


def test_a_prompt_that_leaves_too_little_room_is_refused_with_both_numbers() -> None:
    policy = tiny_policy()
    longest = len(policy.encode_prompt("x" * 20))
    complaint = f"a prompt of {longest} tokens and policy.max_new_tokens={129 - longest} exceed the model's context of 128"
    with pytest.raises(ModelError, match=f"{complaint}.*Lower policy.max_new_tokens"):
        check_context(policy, asked("x" * 20, "x"), 129 - longest)


def test_a_prompt_at_which_longrope_changes_every_row_is_refused() -> None:
    policy = Policy(random_model(LONG_ROPE), tiny_tokenizer())
    longest = len(policy.encode_prompt("x" * 20))
    check_context(policy, asked("x" * 20), 24 - longest)
    with pytest.raises(ModelError, match=r"exceed the 24 tokens \(original_max_position_embeddings\).*Lower policy"):
        check_context(policy, asked("x" * 20), 25 - longest)


def test_no_prompts_fit_any_context() -> None:
    check_context(tiny_policy(), [], 128)


def test_a_model_without_a_limit_takes_any_prompt() -> None:
    check_context(Policy(random_model(BLOOM), tiny_tokenizer()), asked("x" * 500), 10_000)
