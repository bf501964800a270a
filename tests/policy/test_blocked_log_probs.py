"""Log-probs in blocks of tokens and of the vocabulary: values and gradients are those of the whole softmax."""

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.policy import blocked_log_probs
from ratchet.components.policy.blocked_log_probs import BlockedLogProbs
from ratchet.components.policy.logits import LogitTransform

TOKENS, WIDTH, VOCABULARY = 11, 6, 37
GENERATOR = torch.Generator().manual_seed(0)
HIDDEN, WEIGHT, BIAS = (
    2 * torch.randn(shape, generator=GENERATOR) for shape in ((TOKENS, WIDTH), (VOCABULARY, WIDTH), (VOCABULARY,))
)
TARGETS = torch.tensor([0, 36, 5, 5, 12, 3, 20, 21, 36, 1, 9])  # the first and the last id, and one twice
UPSTREAM = torch.linspace(-1, 2, TOKENS)


def in_blocks(shape: LogitTransform, bias: Tensor | None = BIAS) -> list[Tensor]:
    inputs = [x.clone().requires_grad_() for x in (HIDDEN, WEIGHT, *([] if bias is None else [bias]))]
    hidden, weight, *rest = inputs
    scores = BlockedLogProbs.apply(hidden, weight, rest[0] if rest else None, TARGETS, shape)  # type: ignore[no-untyped-call]
    return [scores, *torch.autograd.grad((scores * UPSTREAM).sum(), inputs)]


def whole(shape: LogitTransform, bias: Tensor | None = BIAS) -> list[Tensor]:
    """By autograd through torch's own softmax, in fp64."""
    inputs = [x.double().requires_grad_() for x in (HIDDEN, WEIGHT, *([] if bias is None else [bias]))]
    logits = torch.nn.functional.linear(*inputs)
    if shape.cap is not None:
        logits = shape.cap * torch.tanh(logits / shape.cap)
    scores = (logits / shape.temperature).log_softmax(-1).gather(-1, TARGETS[:, None])[:, 0]
    return [x.float() for x in (scores, *torch.autograd.grad((scores * UPSTREAM).sum(), inputs))]


@pytest.mark.parametrize("rows", [1, 4, 2048])
@pytest.mark.parametrize("block", [1, 40, 10**6])  # logits
def test_blocks_of_any_size_give_the_softmax_of_the_whole(monkeypatch: pytest.MonkeyPatch, rows: int, block: int) -> None:
    monkeypatch.setattr(blocked_log_probs, "ROWS", rows)
    monkeypatch.setattr(blocked_log_probs, "BLOCK", block)
    for found, expected in zip(in_blocks(LogitTransform()), whole(LogitTransform()), strict=True):
        assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bias", [None, BIAS], ids=["no bias", "bias"])
@pytest.mark.parametrize("shape", [LogitTransform(0.5), LogitTransform(1.0, 3.0), LogitTransform(2.0, 1.5)])
def test_temperature_cap_and_bias_count(monkeypatch: pytest.MonkeyPatch, shape: LogitTransform, bias: Tensor | None) -> None:
    monkeypatch.setattr(blocked_log_probs, "BLOCK", 50)
    for found, expected in zip(in_blocks(shape, bias), whole(shape, bias), strict=True):
        assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_logits_far_above_what_exp_can_take_give_finite_scores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked_log_probs, "BLOCK", 50)
    shape = LogitTransform(1e-3)  # logits of some thousands
    for found, expected in zip(in_blocks(shape), whole(shape), strict=True):
        assert_close(found, expected, rtol=1e-4, atol=1e-2)


def test_a_frozen_head_has_no_gradient() -> None:
    hidden = HIDDEN.clone().requires_grad_()
    BlockedLogProbs.apply(hidden, WEIGHT, None, TARGETS, LogitTransform()).sum().backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    assert WEIGHT.grad is None
