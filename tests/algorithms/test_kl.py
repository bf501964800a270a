"""KL estimators against the exact KL of a small categorical, by enumerating its outcomes."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from components.algorithms.kl import k1, k2, k3

Estimator = Callable[[Tensor, Tensor], Tensor]
REFERENCE = torch.tensor([0.1, 0.2, 0.3, 0.4]).log()


def policy_logits() -> Tensor:
    return torch.tensor([0.7, -0.2, 0.4, 0.0], requires_grad=True)


def exact_kl(first: Tensor, second: Tensor) -> Tensor:
    return (first.exp() * (first - second)).sum()


def expected(estimator: Estimator, log_probs: Tensor) -> Tensor:
    """Mean over the policy's own outcomes; their probabilities carry no gradient, as samples do not."""
    return (log_probs.exp().detach() * estimator(log_probs, REFERENCE)).sum()


def expected_gradient(estimator: Estimator) -> Tensor:
    logits = policy_logits()
    return torch.autograd.grad(expected(estimator, logits.log_softmax(0)), logits)[0]


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_have_the_kl_as_their_mean(estimator: Estimator) -> None:
    log_probs = policy_logits().log_softmax(0)
    assert_close(expected(estimator, log_probs), exact_kl(log_probs, REFERENCE))


def test_k2_has_the_gradient_of_the_kl() -> None:
    logits = policy_logits()
    exact = torch.autograd.grad(exact_kl(logits.log_softmax(0), REFERENCE), logits)[0]
    assert_close(expected_gradient(k2), exact)


def test_k1_has_no_gradient_on_average() -> None:
    assert_close(expected_gradient(k1), torch.zeros(4))


def test_k3_has_the_gradient_of_the_reverse_kl() -> None:
    logits = policy_logits()
    reverse = torch.autograd.grad(exact_kl(REFERENCE, logits.log_softmax(0)), logits)[0]
    assert_close(expected_gradient(k3), reverse)


@settings(deadline=None, max_examples=60)
@given(st.floats(-50, 0, width=32), st.floats(-50, 0, width=32))
def test_k2_and_k3_are_never_negative(log_prob: float, reference: float) -> None:
    pair = torch.tensor(log_prob), torch.tensor(reference)
    assert float(k2(*pair)) >= 0
    assert float(k3(*pair)) >= -1e-6  # expm1(x) - x cancels to the last bit of x


def test_the_three_estimators_by_hand() -> None:
    log_prob, reference = torch.tensor(-1.0), torch.tensor(-1.5)  # d = 0.5
    assert float(k1(log_prob, reference)) == 0.5
    assert float(k2(log_prob, reference)) == 0.125
    assert float(k3(log_prob, reference)) == pytest.approx(0.1065307)  # exp(-0.5) - 1 + 0.5


def test_k3_stays_finite_where_the_policy_gives_a_token_no_chance() -> None:
    assert k3(torch.tensor(-1e4), torch.tensor(0.0)).isfinite()
