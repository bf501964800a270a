"""Other modules around the same weights, or around a copy that follows them."""

import torch

from ratchet.components.policy.engines.shared_weights import SharedWeights
from ratchet.components.policy.engines.slot_attention import DECODE
from tests.tiny_models import tiny_policy


def addresses(module: torch.nn.Module) -> list[int]:
    return [parameter.data_ptr() for parameter in module.parameters()]


def test_a_twin_reads_the_models_own_weights() -> None:
    model = tiny_policy().model
    twin = SharedWeights(model, half=False).clone(model, DECODE)
    assert addresses(twin) == addresses(model)
    assert twin.config._attn_implementation == DECODE
    assert twin.base_model is not model.base_model


def test_a_copy_follows_the_model_at_its_own_addresses() -> None:
    model = tiny_policy().model
    shared = SharedWeights(model, half=True)
    twin = shared.clone(model, DECODE)
    before = addresses(twin)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    shared.refresh()
    assert addresses(twin) == before
    ours, theirs = (m.base_model.layers[0].mlp.up_proj.weight for m in (twin, model))
    assert torch.equal(ours, theirs.bfloat16())


def test_products_alone_are_copied() -> None:
    model = tiny_policy().model
    twin = SharedWeights(model, half=True).clone(model, DECODE)
    kinds = {name: parameter.dtype for name, parameter in twin.named_parameters()}
    assert {name.split(".")[-2] for name, kind in kinds.items() if kind == torch.bfloat16} == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "lm_head")
    }
    assert twin.get_input_embeddings().weight is model.get_input_embeddings().weight  # tied to the head, which has a copy


def test_a_copy_is_not_trained() -> None:
    model = tiny_policy().model
    twin = SharedWeights(model, half=True).clone(model, DECODE)
    assert not twin.get_output_embeddings().weight.requires_grad
    assert all(parameter.requires_grad for parameter in model.parameters())


def test_weights_that_lie_elsewhere_are_not_theirs() -> None:
    model = tiny_policy().model
    shared = SharedWeights(model, half=True)
    assert shared.belong_to(model)
    assert not shared.belong_to(tiny_policy().model)
