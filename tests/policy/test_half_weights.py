"""Linear layers that read bf16 copies give the bits that autocast gives, and their gradients arrive in the fp32 weights."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ratchet.components.policy.half_weights import half_copy, half_products
from ratchet.components.policy.loading import Policy
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, pack
from tests.tiny_models import same, tiny_policy

ROWS = [pack([Group([5, 6], [[7, 8], [9]])]), pack([Group([15, 16, 17], [[18, 3, 19]])])]


def half_policy() -> Policy:
    return replace(tiny_policy(layers=2), precision="bf16")


def passes(policy: Policy, with_copies: bool) -> list[Tensor]:
    """Log-probs of two batches, and the gradients that they add up to."""
    policy.model.zero_grad()
    found = []
    with half_products(policy.model, with_copies):
        for rows in ROWS:
            with policy.autocast():
                found.append(score_tokens(policy.model, rows))
            found[-1].sum().backward()
    gradients = [parameter.grad for parameter in policy.model.parameters()]
    assert all(gradient is not None and gradient.dtype == torch.float32 for gradient in gradients)
    return [x.detach().clone() for x in (*found, *gradients) if x is not None]


def test_the_bits_are_those_of_autocast() -> None:
    policy = half_policy()
    assert same(passes(policy, with_copies=True), passes(policy, with_copies=False))


def test_copies_follow_their_weights() -> None:
    policy = half_policy()
    passes(policy, with_copies=True)
    with torch.no_grad():
        for parameter in policy.model.parameters():
            parameter.mul_(0.5)
    assert same(passes(policy, with_copies=True), passes(policy, with_copies=False))


def test_the_weights_are_back_and_no_gradient_is_left_after_an_error() -> None:
    model = half_policy().model
    before = dict(model.named_parameters())
    layer = model.model.layers[0].mlp.up_proj
    copy = half_copy(layer.weight)

    def fails() -> None:
        assert layer.weight is copy
        copy.grad = torch.ones_like(copy)
        raise torch.OutOfMemoryError

    with pytest.raises(torch.OutOfMemoryError), half_products(model, wanted=True):
        fails()
    after = dict(model.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is before[name] for name in before)
    assert copy.grad is None


def test_a_frozen_weight_gets_no_gradient() -> None:
    policy = half_policy()
    frozen = policy.model.model.layers[0].mlp.up_proj.weight
    half_copy(frozen)  # as a sampler does before an adapter freezes it
    frozen.requires_grad_(False)
    with half_products(policy.model, wanted=True), policy.autocast():
        score_tokens(policy.model, ROWS[0]).sum().backward()
    assert frozen.grad is None


def test_a_copy_that_a_sampler_asked_for_first_can_be_trained() -> None:
    policy = half_policy()
    with torch.inference_mode():
        half_copy(policy.model.model.layers[0].mlp.up_proj.weight)
    assert same(passes(policy, with_copies=True), passes(policy, with_copies=False))


def test_a_weight_has_one_copy() -> None:
    weight = nn.Parameter(torch.randn(2, 3))
    assert half_copy(weight) is half_copy(weight)
    assert half_copy(nn.Parameter(weight.detach())) is not half_copy(weight)
