import torch
from torch import nn
from torch.distributed.tensor import DTensor

from ratchet.components.checkpoints.checkpoint import other_weights, trained_state
from ratchet.components.launch.ranks import Ranks
from ratchet.components.policy.adapters import Reference
from ratchet.components.policy.engines.engine import SamplingRequest, SamplingSeed, SamplingSettings
from ratchet.components.policy.engines.plain import generate
from ratchet.components.policy.packing import Group, pack
from ratchet.components.policy.sharding import Scorer, clipped_norm, one_token, parts_of, shard, sharded_reference, whole
from tests.ranks import on_ranks
from tests.tiny_models import tiny_policy

PROMPTS = [[5, 6, 7], [8], [9, 10]]
GROUPS = [Group([5, 6], [[7, 8], [9]]), Group([8], [[3, 4, 5]])]


def _drawn(ranks: Ranks) -> tuple[bool, bool, bool]:
    """Whether each rank draws alone as from a whole model, and holds shards before and after."""
    policy, expected = tiny_policy(layers=2), tiny_policy(layers=2)
    scorer = Scorer(policy.model)
    shard(scorer, False, lambda: scorer(one_token(policy.model.device)))
    before = all(isinstance(p, DTensor) for p in scorer.parameters())
    own = PROMPTS[: ranks.rank + 1]  # the second rank makes more passes: nothing may wait for the first
    settings = SamplingSettings(2, 4 + ranks.rank)
    request = SamplingRequest(own, range(len(own)), settings, SamplingSeed(0, "test"), policy.ends)
    with whole(scorer):
        equal = generate(policy, request) == generate(expected, request)
    return equal, before, all(isinstance(p, DTensor) for p in scorer.parameters())


def test_a_sampler_finds_a_whole_model_and_leaves_shards() -> None:
    assert on_ranks(2, _drawn) == [(True, True, True)] * 2


def _divergence(ranks: Ranks) -> bool:
    groups = GROUPS[: ranks.rank]  # nothing for the first rank: it must gather for the other
    reference = sharded_reference(tiny_policy(layers=2))
    with reference.together():
        found = reference.completion_log_probs(groups)
    return found == Reference(tiny_policy(layers=2)).completion_log_probs(groups)


def test_a_reference_in_shards_scores_as_a_whole_one() -> None:
    assert on_ranks(2, _divergence) == [True, True]


def _learned(ranks: Ranks) -> tuple[float, float, bool]:
    """The norm of a gradient that two ranks have halves of, that of the whole, and whether the shards' sum is the whole."""
    policy, expected = tiny_policy(layers=2), tiny_policy(layers=2)
    scorer = Scorer(policy.model)
    shard(scorer, False, lambda: scorer(one_token(policy.model.device)))
    scorer(pack(GROUPS[ranks.rank :][:1])).sum().backward()
    Scorer(expected.model)(pack(GROUPS)).sum().backward()
    wanted = [p.grad for p in expected.model.parameters() if p.grad is not None]
    found = [p.grad.full_tensor() for p in scorer.parameters() if isinstance(p.grad, DTensor)]
    near = all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(found, wanted, strict=True))
    whole_norm = float(torch.stack([grad.norm() for grad in wanted]).norm())
    return clipped_norm(list(scorer.parameters()), 1.0), whole_norm, near


def test_gradients_are_summed_and_their_norm_is_that_of_the_whole() -> None:
    for norm, expected, near in on_ranks(2, _learned):
        assert near
        assert abs(norm / expected - 1) < 1e-4


def test_a_model_that_is_not_sharded_has_no_parts() -> None:
    module = nn.Linear(2, 1)
    assert parts_of(module) == []
    assert parts_of(None) == []
    with whole(module):
        assert not isinstance(module.weight, DTensor)


def _other_for_a_while(ranks: Ranks) -> tuple[bool, bool, bool]:
    """Whether each rank draws from other weights within the block, from its own after it, and then holds shards again."""
    policy, other, expected = tiny_policy(0, layers=2), tiny_policy(9, layers=2), tiny_policy(0, layers=2)
    scorer = Scorer(policy.model)
    shard(scorer, False, lambda: scorer(one_token(policy.model.device)))
    request = SamplingRequest(PROMPTS, range(3), SamplingSettings(2, 4), SamplingSeed(0, "test"), policy.ends)
    with other_weights(scorer, trained_state(Scorer(other.model))), whole(scorer):
        within = generate(policy, request) == generate(other, request)
    sharded = all(isinstance(p, DTensor) for p in scorer.parameters())
    with whole(scorer):
        return within, generate(policy, request) == generate(expected, request), sharded


def test_a_model_in_shards_has_other_weights_within_a_block_alone() -> None:
    assert on_ranks(2, _other_for_a_while) == [(True, True, True)] * 2
