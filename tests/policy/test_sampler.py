"""The sampler: the right distribution, the right figures, and the same token however the vocabulary is cut."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor
from torch.testing import assert_close

from ratchet.components.policy.sampler import BLOCK, LIKELY, SMALL, choose, nucleus_of

SHARES = torch.tensor([[0.2, 0.4, 0.1, 0.3]])


def test_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    logits = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0])
    draws = torch.from_numpy(np.random.default_rng(0).random(20_000))
    chosen = choose(logits.expand(20_000, 5), draws, 1.0).tokens
    counts = torch.bincount(chosen, minlength=5).numpy()
    expected = logits.double().softmax(0).numpy() * 20_000
    assert stats.chisquare(counts, expected).pvalue > 0.001


def test_temperature_sharpens_the_drawn_distribution() -> None:
    logits = torch.tensor([0.0, 1.0])
    draws = (torch.arange(1000, dtype=torch.float64) + 0.5) / 1000  # evenly spread: counts are exact to one
    chosen, log_probs, *_ = choose(logits.expand(1000, 2), draws, 0.5)
    share = (logits / 0.5).softmax(0)[1]  # e^2 / (1 + e^2) = 0.881
    assert int(chosen.sum()) == pytest.approx(1000 * float(share), abs=1)
    assert_close(log_probs[chosen == 1][0], share.log())


@pytest.mark.parametrize("where", [0.0, 0.5, 1 - 2**-53])
def test_a_token_without_probability_is_never_drawn(where: float) -> None:
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 1.0, -torch.inf]])
    assert int(choose(logits, torch.tensor([where], dtype=torch.float64), 1.0).tokens) in (1, 3)


def spread(count: int) -> torch.Tensor:
    """Uniforms at even distances, so that counts are exact to one."""
    return (torch.arange(count, dtype=torch.float64) + 0.5) / count


@pytest.mark.parametrize(
    ("top_p", "expected"),
    [
        (1e-9, [1]),  # never empty
        (0.35, [1]),
        (0.45, [1, 3]),  # 0.4 is not enough, 0.4 + 0.3 is
        (0.75, [0, 1, 3]),
        (0.95, [0, 1, 2, 3]),
    ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(top_p: float, expected: list[int]) -> None:
    assert nucleus_of(SHARES.log(), top_p)[0].nonzero()[:, 0].tolist() == expected


def test_of_equally_likely_tokens_the_nucleus_takes_the_first() -> None:
    assert nucleus_of(torch.full((1, 4), 0.25).log(), 0.4).tolist() == [[True, True, False, False]]


def test_each_row_has_its_own_nucleus() -> None:
    shares = torch.tensor([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    assert nucleus_of(shares.log(), 0.6).tolist() == [[True, False], [False, True], [True, True]]


def test_inside_the_nucleus_tokens_are_drawn_as_often_as_they_are_likely() -> None:
    chosen, log_probs, _, kept = choose(SHARES.log().expand(7000, 4), spread(7000), 1.0, top_p=0.6)
    counts = torch.bincount(chosen, minlength=4).tolist()
    assert counts == pytest.approx([0, 4000, 0, 3000], abs=1)  # 0.4 and 0.3 of 0.7
    assert_close(log_probs[chosen == 3][0], torch.tensor(math.log(3 / 7)))
    assert kept is not None
    assert kept.sum(-1).unique().tolist() == [2]


def test_temperature_comes_before_the_nucleus() -> None:
    # squared and renormalised: 4, 16, 1 and 9 of 30; 16/30 reaches 0.5 alone, 0.4 did not
    kept = choose(SHARES.log(), spread(1), 0.5, top_p=0.5).kept
    assert kept is not None
    assert kept.tolist() == [[False, True, False, False]]


@pytest.mark.parametrize("where", [0.0, 0.5, 1 - 2**-53])
def test_no_token_outside_the_nucleus_is_ever_drawn(where: float) -> None:
    logits = torch.randn(200, 50, generator=torch.Generator().manual_seed(0))
    chosen, log_probs, _, kept = choose(logits, torch.full((200,), where, dtype=torch.float64), 1.0, top_p=0.5)
    assert kept is not None
    assert kept[torch.arange(200), chosen].all()
    assert log_probs.isfinite().all()


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.0, 1.0), (0.0, 0.5)])
def test_where_all_tokens_are_left_there_is_no_nucleus(temperature: float, top_p: float) -> None:
    assert choose(SHARES.log(), spread(1), temperature, top_p).kept is None


@pytest.mark.parametrize(
    ("logits", "entropy"),
    [
        ([2.0, 2.0, 2.0, 2.0], math.log(4)),
        ([0.0, -torch.inf, 0.0, -torch.inf], math.log(2)),
        ([-torch.inf, 3.0, -torch.inf, -torch.inf], 0.0),
        ([math.log(0.5), math.log(0.25), math.log(0.25), -torch.inf], 1.5 * math.log(2)),  # 0.5 ln 2 + 2 x 0.25 ln 4
    ],
)
def test_entropies_in_nats(logits: list[float], entropy: float) -> None:
    found = choose(torch.tensor([logits]), spread(1), 1.0).entropies
    assert_close(found, torch.tensor([entropy]), rtol=0, atol=1e-6)
    assert (found >= 0).all()


def test_the_entropy_is_that_of_the_distribution_drawn_from() -> None:
    inside = torch.tensor([4 / 7, 3 / 7])
    assert_close(choose(SHARES.log(), spread(1), 1.0, top_p=0.6).entropies, -(inside * inside.log()).sum()[None])
    sharper = torch.tensor([4, 16, 1, 9]) / 30
    assert_close(choose(SHARES.log(), spread(1), 0.5).entropies, -(sharper * sharper.log()).sum()[None])


def test_a_greedy_tokens_figures_are_those_at_temperature_one() -> None:
    greedy = choose(SHARES.log(), spread(1), 0.0)
    assert int(greedy.tokens) == 1
    assert_close(greedy.log_probs, torch.tensor([math.log(0.4)]))
    assert_close(greedy.entropies, choose(SHARES.log(), spread(1), 1.0).entropies)


EDGE = 1e-6  # a draw so near to the edge between two tokens may fall on either side


def inverted(logits: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
    """The tokens by a cumulative distribution over the whole vocabulary in fp64, and each draw's distance to an edge, [B]."""
    cumulative = logits.double().softmax(-1).cumsum(-1)
    tokens = torch.searchsorted(cumulative, draws[:, None], right=True)[:, 0].clamp(max=logits.shape[1] - 1)
    return tokens, (cumulative - draws[:, None]).abs().amin(-1)


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1, 2, 300, BLOCK - 1, BLOCK, BLOCK + 1, SMALL, SMALL + 1, 2047, 5003]),
    st.floats(0.1, 20),
)
def test_two_passes_find_the_token_of_one(seed: int, vocabulary: int, spread: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(16, vocabulary, generator=generator) * spread
    draws = torch.rand(16, dtype=torch.float64, generator=generator)
    expected, distance = inverted(logits, draws)
    found = choose(logits, draws, 1.0)
    assert (found.tokens == expected)[distance > EDGE].all()
    exact = logits.double().log_softmax(-1)
    assert_close(found.log_probs.double(), exact.gather(1, found.tokens[:, None])[:, 0], rtol=1e-6, atol=2e-6)
    assert_close(found.entropies.double(), -(exact.exp() * exact).sum(-1), rtol=1e-6, atol=2e-6)


def test_over_a_large_vocabulary_next_to_no_draw_lies_near_an_edge_or_goes_elsewhere() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(64, 151_936, generator=generator) * 3
    draws = torch.rand(64, dtype=torch.float64, generator=generator)
    expected, distance = inverted(logits, draws)
    other = choose(logits, draws, 1.0).tokens != expected
    assert int(other.sum()) <= int((distance < EDGE).sum()) < 10
    assert (distance[other] < EDGE).all()


@pytest.mark.parametrize("where", [0.0, 0.25, 0.5, 1 - 2**-53])
def test_no_block_without_probability_is_drawn_from(where: float) -> None:
    logits = torch.full((1, 5 * BLOCK + 7), -torch.inf)
    logits[0, [BLOCK + 3, 3 * BLOCK - 1]] = 1.0  # the last of a block, and blocks without weight on both sides
    chosen = choose(logits, torch.tensor([where], dtype=torch.float64), 1.0)
    assert int(chosen.tokens) == (BLOCK + 3 if where < 0.5 else 3 * BLOCK - 1)
    assert_close(chosen.log_probs, torch.tensor([0.5]).log())


def test_a_draw_at_the_end_takes_the_last_token_however_a_block_sum_was_rounded() -> None:
    logits = torch.randn(200, SMALL + BLOCK, generator=torch.Generator().manual_seed(0))
    draws = torch.full((200,), 1 - 2**-53, dtype=torch.float64)
    assert choose(logits, draws, 1.0).tokens.unique().tolist() == [SMALL + BLOCK - 1]


def test_greedy_takes_the_first_of_the_most_likely_of_any_block() -> None:
    logits = torch.zeros(1, 3 * BLOCK)
    logits[0, [BLOCK + 5, 2 * BLOCK]] = 2.0
    assert int(choose(logits, torch.zeros(1), 0.0).tokens) == BLOCK + 5


def sorted_nucleus(log_probs: Tensor, top_p: float) -> Tensor:
    """By a stable sort of the whole vocabulary, in fp64."""
    ordered, ids = log_probs.exp().sort(dim=-1, descending=True, stable=True)
    before = ordered.double().cumsum(-1) - ordered.double()
    return torch.zeros_like(log_probs, dtype=torch.bool).scatter(-1, ids, before < top_p)


@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 5, 300, LIKELY, 3 * LIKELY]), st.sampled_from([0.1, 0.5, 0.9, 0.99]))
def test_the_nucleus_is_that_of_a_stable_sort(seed: int, vocabulary: int, top_p: float) -> None:
    # few distinct values, so that there are ties; flat, so that the likely tokens do not always reach top_p
    logits = torch.randint(0, 6, (4, vocabulary), generator=torch.Generator().manual_seed(seed)).float() / 2
    log_probs = logits.log_softmax(-1)
    assert torch.equal(nucleus_of(log_probs, top_p), sorted_nucleus(log_probs, top_p))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_cuda_the_tokens_are_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, draws = torch.randn(64, 5003, generator=generator) * 3, torch.rand(64, dtype=torch.float64, generator=generator)
    far = inverted(logits, draws)[1] > EDGE
    assert torch.equal(choose(logits.cuda(), draws.cuda(), 1.0).tokens.cpu()[far], choose(logits, draws, 1.0).tokens[far])
