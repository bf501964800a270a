"""KL estimators against the exact KL of a small categorical, by enumerating its outcomes."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.algorithms.kl import adapted_coefficient, k1, k2, k3, weighted_k3

Estimator = Callable[[Tensor], Tensor]  # from the log-probs of all outcomes to the estimate at each

LOGITS = torch.tensor([0.7, -0.2, 0.4, 0.0], dtype=torch.float64)
ON_POLICY = LOGITS.log_softmax(0)
OFF_POLICY = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64).log()
REFERENCE = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64).log()


def exact_kl(first: Tensor, second: Tensor) -> Tensor:
    return (first.exp() * (first - second)).sum()


def exact_gradient() -> Tensor:
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad(exact_kl(logits.log_softmax(0), REFERENCE), logits)[0]


def expected_gradient(estimator: Estimator, sampler: Tensor) -> Tensor:
    """Mean gradient over the sampler's outcomes; their probabilities carry no gradient, as samples do not."""
    logits = LOGITS.clone().requires_grad_()
    return torch.autograd.grad((sampler.exp() * estimator(logits.log_softmax(0))).sum(), logits)[0]


def weighted(sampler: Tensor) -> Estimator:
    return lambda log_probs: weighted_k3(log_probs, sampler, REFERENCE)


def test_the_three_estimators_by_hand() -> None:
    log_prob, reference = torch.tensor(-1.0), torch.tensor(-1.5)  # d = 0.5
    assert float(k1(log_prob, reference)) == 0.5
    assert float(k2(log_prob, reference)) == 0.125
    assert float(k3(log_prob, reference)) == pytest.approx(0.1065307)  # exp(-0.5) - 1 + 0.5


def test_weighted_k3_is_k3_times_the_ratio() -> None:
    estimate = weighted_k3(torch.tensor(-1.0), torch.tensor(-3.0), torch.tensor(-1.5))
    assert float(estimate) == pytest.approx(0.7871612)  # exp(2) x 0.1065307


@pytest.mark.parametrize("estimator", [k1, k3])
def test_k1_and_k3_have_the_kl_as_their_mean(estimator: Callable[[Tensor, Tensor], Tensor]) -> None:
    mean = (ON_POLICY.exp() * estimator(ON_POLICY, REFERENCE)).sum()
    assert_close(mean, exact_kl(ON_POLICY, REFERENCE))


@pytest.mark.parametrize("sampler", [ON_POLICY, OFF_POLICY], ids=["on_policy", "off_policy"])
def test_weighted_k3_has_the_kl_as_its_mean_over_the_old_policy(sampler: Tensor) -> None:
    mean = (sampler.exp() * weighted_k3(ON_POLICY, sampler, REFERENCE)).sum()
    assert_close(mean, exact_kl(ON_POLICY, REFERENCE))


def test_k2_has_the_gradient_of_the_kl_on_policy() -> None:
    assert_close(expected_gradient(lambda log_probs: k2(log_probs, REFERENCE), ON_POLICY), exact_gradient())


@pytest.mark.parametrize("sampler", [ON_POLICY, OFF_POLICY], ids=["at_ratio_one", "away_from_it"])
def test_weighted_k3_has_the_gradient_of_the_kl_over_the_old_policy(sampler: Tensor) -> None:
    assert_close(expected_gradient(weighted(sampler), sampler), exact_gradient())


def test_k1_has_no_gradient_on_average() -> None:
    assert_close(expected_gradient(lambda log_probs: k1(log_probs, REFERENCE), ON_POLICY), torch.zeros_like(LOGITS))


def test_plain_k3_has_the_gradient_of_the_reverse_kl() -> None:
    logits = LOGITS.clone().requires_grad_()
    reverse = torch.autograd.grad(exact_kl(REFERENCE, logits.log_softmax(0)), logits)[0]
    assert_close(expected_gradient(lambda log_probs: k3(log_probs, REFERENCE), ON_POLICY), reverse)


@pytest.mark.parametrize(
    ("estimator", "sampler"),
    [
        (lambda log_probs: k2(log_probs, REFERENCE), ON_POLICY),
        (weighted(ON_POLICY), ON_POLICY),
        (weighted(OFF_POLICY), OFF_POLICY),
    ],
    ids=["k2", "weighted_k3", "weighted_k3_off_policy"],
)
def test_descending_reduces_the_kl(estimator: Estimator, sampler: Tensor) -> None:
    moved = (LOGITS - 0.1 * expected_gradient(estimator, sampler)).log_softmax(0)
    assert exact_kl(moved, REFERENCE) < exact_kl(ON_POLICY, REFERENCE)


@settings(deadline=None, max_examples=100)
@given(st.floats(-50, 0, width=32), st.floats(-50, 0, width=32))
def test_k2_and_k3_are_never_negative(log_prob: float, reference: float) -> None:
    pair = torch.tensor(log_prob), torch.tensor(reference)
    assert k2(*pair) >= 0
    assert k3(*pair) >= 0


@pytest.mark.parametrize("log_prob", [-1e4, 1e4])
def test_k3_stays_finite_in_value_and_gradient(log_prob: float) -> None:
    log_probs = torch.tensor(log_prob, requires_grad=True)
    estimate = weighted_k3(log_probs, torch.tensor(0.0), torch.tensor(0.0))
    estimate.backward()
    assert estimate.isfinite()
    assert log_probs.grad is not None
    assert log_probs.grad.isfinite()


@pytest.mark.parametrize(
    ("divergence", "expected"),
    [
        (6.0, 0.02),  # on target
        (6.6, 0.0204),  # 10% above: 0.02 (1 + 0.1 x 256 / 1280)
        (5.4, 0.0196),  # 10% below: 0.02 (1 - 0.1 x 256 / 1280)
        (60.0, 0.0208),  # far above counts as 20%: 0.02 (1 + 0.2 x 256 / 1280)
        (0.0, 0.0192),  # far below counts as 20%: 0.02 (1 - 0.2 x 256 / 1280)
    ],
)
def test_the_coefficient_follows_the_divergence(divergence: float, expected: float) -> None:
    coefficient = adapted_coefficient(0.02, divergence, target=6.0, samples=256, horizon=1280)
    assert coefficient == pytest.approx(expected)
