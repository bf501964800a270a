"""A checkpoint whose tensors are not the module's own, whole and finite, restores nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from ratchet.components.errors import StoreError
from ratchet.components.training.checkpoints import load_latest, load_weights, save_checkpoint, trained_state
from tests.tiny_models import tiny_policy

NORM = "model.norm.weight"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda weights: {f"_orig_mod.{name}": tensor for name, tensor in weights.items()}, "another model .22 tensors"),
        (lambda weights: {n: tensor for n, tensor in weights.items() if n != NORM}, "1 tensors, the first model.norm"),
        (lambda weights: weights | {NORM: torch.ones(3)}, "1 tensors, the first model.norm"),
        (lambda weights: weights | {NORM: torch.full((32,), float("nan"))}, "NaN or infinity .1 tensors, the first model.norm"),
    ],
)
def test_other_weights_are_refused_and_change_nothing(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], complaint: str
) -> None:
    module = tiny_policy().model
    before = {name: tensor.clone() for name, tensor in trained_state(module).items()}
    with pytest.raises(StoreError, match=complaint):
        load_weights(module, change(trained_state(tiny_policy(seed=1).model)))
    assert all(torch.equal(tensor, before[name]) for name, tensor in trained_state(module).items())


def test_moments_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    module = nn.Linear(2, 1)
    optimizer = torch.optim.AdamW(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    optimizer.state[module.weight]["exp_avg"].fill_(float("nan"))
    save_checkpoint(tmp_path, 1, {"policy": (module, optimizer)}, {})
    with pytest.raises(StoreError, match=r"NaN or infinity .*exp_avg"):
        load_latest(tmp_path, {"policy": (module, optimizer)})
