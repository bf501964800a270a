"""Other modules around the same weights, or around a copy that follows them."""

import torch

from components.policy.engines.slot_attention import EXTEND
from components.policy.engines.twin import Weights, twin_of
from tests.tiny_models import same, tiny_policy


def addresses(module: torch.nn.Module) -> list[int]:
    return [parameter.data_ptr() for parameter in module.parameters()]


def test_a_twin_reads_the_models_own_weights() -> None:
    model = tiny_policy().model
    twin = twin_of(model, Weights(model, None).shared, EXTEND)
    assert addresses(twin) == addresses(model)
    assert twin.config._attn_implementation == EXTEND
    assert twin.base_model is not model.base_model


def test_a_copy_follows_the_model_at_its_own_addresses() -> None:
    model = tiny_policy().model
    copies = Weights(model, torch.bfloat16)
    twin = twin_of(model, copies.shared, EXTEND)
    before = addresses(twin)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    copies.refresh()
    assert addresses(twin) == before
    assert not set(before) & set(addresses(model))
    assert same(list(twin.parameters()), [parameter.bfloat16() for parameter in model.parameters()])


def test_tied_weights_stay_tied_in_a_copy() -> None:
    model = tiny_policy().model
    twin = twin_of(model, Weights(model, torch.bfloat16).shared, EXTEND)
    assert twin.get_output_embeddings().weight is twin.get_input_embeddings().weight


def test_a_copy_is_not_trained() -> None:
    model = tiny_policy().model
    twin = twin_of(model, Weights(model, torch.bfloat16).shared, EXTEND)
    assert not any(parameter.requires_grad for parameter in twin.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_that_lie_elsewhere_are_not_served() -> None:
    model = tiny_policy().model
    weights = Weights(model, torch.bfloat16)
    assert weights.serve(model)
    assert not weights.serve(tiny_policy().model)
