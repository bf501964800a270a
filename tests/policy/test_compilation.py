"""What is compiled, and where: no CUDA device is needed to see it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ratchet.components.policy import compilation
from ratchet.components.policy.compilation import compiled_layers, compiled_on_cuda
from ratchet.components.policy.log_probs import score_tokens
from ratchet.components.policy.packing import Group, pack
from tests.tiny_models import tiny_policy

ROWS = pack([Group([5, 6], [[7, 8], [9]])])
LAYERS = 2


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Counts what is compiled, and calls of that."""
    counts = {"compiled": 0, "called": 0}

    def compile(function: Callable[..., Any], dynamic: bool) -> Callable[..., Any]:
        assert dynamic  # one kernel for all lengths: bits do not depend on which came first
        counts["compiled"] += 1

        def call(*arguments: Any, **named: Any) -> Any:
            counts["called"] += 1
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(torch, "compile", compile)
    return counts


def test_layers_are_compiled_once_and_used_within_alone(monkeypatch: pytest.MonkeyPatch, compiled: dict[str, int]) -> None:
    monkeypatch.setattr(compilation, "_on_cuda", lambda module: True)
    model = tiny_policy(layers=LAYERS).model
    before = score_tokens(model, ROWS)
    for times in (1, 2):
        with compiled_layers(model):
            assert torch.equal(score_tokens(model, ROWS), before)
        assert compiled == {"compiled": LAYERS, "called": times * LAYERS}
    score_tokens(model, ROWS)
    assert compiled["called"] == 2 * LAYERS


def test_layers_are_themselves_again_after_an_error(monkeypatch: pytest.MonkeyPatch, compiled: dict[str, int]) -> None:
    monkeypatch.setattr(compilation, "_on_cuda", lambda module: True)
    model = tiny_policy().model
    with pytest.raises(torch.OutOfMemoryError), compiled_layers(model):
        raise torch.OutOfMemoryError
    score_tokens(model, ROWS)
    assert compiled["called"] == 0


def test_on_a_cpu_nothing_is_compiled(compiled: dict[str, int]) -> None:
    model = tiny_policy().model
    with compiled_layers(model):
        score_tokens(model, ROWS)
    assert compiled_on_cuda(torch.neg)(torch.ones(1)).item() == -1
    assert compiled == {"compiled": 0, "called": 0}
