"""What the optimiser trains: a whole model or its adapter, and the head of a shared critic."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.checkpoints.checkpoint import trained_state
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.recipe import Train
from ratchet.components.training.actor import Actor
from ratchet.components.training.micro_batches import MicroBatch, micro_batches
from ratchet.components.training.update import parameters_of
from tests.tiny_models import same, tiny_policy, weights
from tests.training.rollouts import sampled

BATCH, FLAT = (
    next(micro_batches(sampled([1.0, 0.0, 0.5, 0.25], 2), [0, 1], 16_384, torch.device("cpu"), flat)) for flat in (False, True)
)
SHARED = {"algorithm": "ppo", "critic": {"trunk": "shared"}}


def actor_of(**values: object) -> Actor:
    return Actor(tiny_policy(), Train(**values), 7)


def log_probs(actor: Actor) -> Tensor:
    with torch.no_grad():
        scored: Tensor = actor(BATCH, 1.0)[0]
    return scored


def shaken(actor: Actor) -> Actor:
    """The same actor, with everything that it trains moved."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in parameters_of(actor):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return actor


def gradient(actor: Actor, batch: MicroBatch = BATCH) -> list[Tensor]:
    actor(batch, 1.0)[0].sum().backward()
    return [p.grad for p in parameters_of(actor) if p.grad is not None]


def test_an_actor_scores_as_its_policy_does() -> None:
    actor = actor_of()
    for temperature in (1.0, 0.5):
        with torch.no_grad():
            scored, values = actor(BATCH, temperature)
            assert torch.equal(scored, score_tokens(tiny_policy().model, BATCH.rows, temperature))
        assert values is None


def test_a_shared_critic_gives_one_value_a_token_from_the_same_forward_pass() -> None:
    actor = shaken(actor_of(**SHARED))
    with torch.no_grad():
        scored, values = actor(BATCH, 1.0)
    assert values is not None
    assert values.shape == scored.shape
    assert_close(actor.values(BATCH.rows).detach(), values)


def test_a_shared_critic_starts_at_zero() -> None:
    assert not actor_of(**SHARED).values(BATCH.rows).any()


def test_values_alone_pull_on_the_head_alone() -> None:
    actor = shaken(actor_of(**SHARED))
    actor.values(BATCH.rows).sum().backward()
    assert actor.value_head is not None
    assert {id(p) for p in actor.parameters() if p.grad is not None} == {id(p) for p in actor.value_head.parameters()}


@pytest.mark.parametrize("values", [{"algorithm": "grpo"}, {"algorithm": "ppo"}])
def test_without_a_shared_critic_there_is_no_head(values: dict[str, str]) -> None:
    assert actor_of(**values).value_head is None


def test_dropout_stays_off() -> None:
    policy = tiny_policy()
    policy.model.train()
    actor = Actor(policy, Train(gradient_checkpointing=True), 0)
    with actor.updating():
        assert not any(module.training for module in actor.model.modules() if isinstance(module, torch.nn.Dropout))
    assert not any(module.training for module in actor.model.modules())


# LoRA.


def test_only_the_adapter_is_trained_and_kept_in_checkpoints() -> None:
    actor = actor_of(lora={"rank": 4})
    trained = sum(p.numel() for p in parameters_of(actor))
    assert trained < 0.5 * sum(p.numel() for p in actor.parameters())
    names = trained_state(actor)
    assert all(".lora_" in name for name in names)
    assert sum(tensor.numel() for tensor in names.values()) == trained


def test_an_adapter_with_a_shared_critic_keeps_the_head_too() -> None:
    names = trained_state(actor_of(**SHARED, lora={"rank": 4}))
    assert {name for name in names if ".lora_" not in name} == {"value_head.linear.weight", "value_head.linear.bias"}


def test_a_new_adapter_changes_nothing() -> None:
    assert torch.equal(log_probs(actor_of(lora={"rank": 4})), log_probs(actor_of()))


def test_the_seed_decides_the_adapter() -> None:
    adapters = [trained_state(Actor(tiny_policy(), Train(lora={"rank": 4}), seed)) for seed in (7, 7, 8)]
    assert same(list(adapters[0].values()), list(adapters[1].values()))
    assert not same(list(adapters[0].values()), list(adapters[2].values()))


def test_the_adapter_switched_off_is_the_start() -> None:
    actor = shaken(actor_of(lora={"rank": 4}))
    reference = actor.reference()
    assert reference is not None
    with reference.scope(), torch.no_grad():
        switched_off = score_tokens(reference.policy.model, BATCH.rows)
    assert torch.equal(switched_off, log_probs(actor_of()))


def test_the_reference_leaves_the_adapter_as_it_was() -> None:
    actor = shaken(actor_of(lora={"rank": 4}))
    before, trained, reference = log_probs(actor), len(parameters_of(actor)), actor.reference()
    assert reference is not None
    with reference.scope():
        pass
    assert torch.equal(log_probs(actor), before)
    assert len(parameters_of(actor)) == trained


def test_without_an_adapter_a_copy_has_to_be_loaded() -> None:
    assert actor_of().reference() is None


def test_the_merged_policy_scores_as_the_adapted_one_did() -> None:
    actor = shaken(actor_of(lora={"rank": 4}))
    adapted, start = log_probs(actor), log_probs(actor_of())
    merged = actor.merged()
    with torch.no_grad():
        assert_close(score_tokens(merged.model, BATCH.rows), adapted, rtol=0, atol=1e-3)  # two products against one, fp32
    assert (adapted - start).abs().max() > 0.1
    assert {name for name, _ in merged.model.named_parameters()} == {n for n, _ in tiny_policy().model.named_parameters()}


def test_without_an_adapter_the_policy_itself_is_what_was_trained() -> None:
    actor = actor_of()
    assert actor.merged() is actor.policy


# Gradient checkpointing.


def attention_calls(actor: Actor) -> list[int]:
    """One entry each time that the first layer's attention runs."""
    calls: list[int] = []
    actor.model.base_model.layers[0].self_attn.register_forward_hook(lambda *_: calls.append(1))
    return calls


@pytest.mark.parametrize(("checkpointed", "expected"), [(False, 1), (True, 2)])
def test_a_checkpointed_layer_runs_again_in_the_backward_pass(checkpointed: bool, expected: int) -> None:
    actor = actor_of(gradient_checkpointing=checkpointed)
    calls = attention_calls(actor)
    with actor.updating():
        gradient(actor)
    assert len(calls) == expected


@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("lora", [None, {"rank": 4}])
@pytest.mark.parametrize("batch", [BATCH, FLAT], ids=["mask", "flat"])
def test_checkpointing_does_not_change_the_gradient(batch: MicroBatch, lora: dict[str, int] | None, offload: bool) -> None:
    options = ({}, {"gradient_checkpointing": True, "offload": offload})
    actors = [shaken(actor_of(lora=lora, **given)) for given in options]
    with actors[1].updating():
        plain, checkpointed = (gradient(actor, batch) for actor in actors)
    assert same(plain, checkpointed)
    assert sum(bool(g.any()) for g in plain) > len(plain) / 2


def test_what_memory_is_to_decide_must_have_been_decided() -> None:
    with pytest.raises(AssertionError, match="auto"):
        actor_of(gradient_checkpointing="auto")


def test_layers_are_back_in_evaluation_mode_after_a_failed_update() -> None:
    actor = actor_of(gradient_checkpointing=True)
    with pytest.raises(RuntimeError), actor.updating():
        raise RuntimeError
    assert not any(module.training for module in actor.model.modules())


def test_sampling_goes_on_with_checkpointing() -> None:
    def tokens(checkpointed: bool) -> Sequence[Sequence[int]]:
        policy = actor_of(gradient_checkpointing=checkpointed).policy
        ids = policy.model.generate(torch.tensor([[5, 6, 7]]), max_new_tokens=4, do_sample=False, pad_token_id=0)
        return ids.tolist()

    assert tokens(True) == tokens(False)


def test_an_update_moves_the_policy_that_samples() -> None:
    actor = actor_of(lora={"rank": 4})
    before = weights(actor.policy.model)
    shaken(actor)
    assert not same(weights(actor.policy.model), before)
