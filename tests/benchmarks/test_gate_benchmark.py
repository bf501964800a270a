"""The gate's simulation: its arms are what they claim, and its attacker has teeth."""

import numpy as np
import pytest

from benchmarks.gate import KINDS, attacker, decides, paired, promotes
from ratchet.components.randomness import stream


@pytest.mark.parametrize("effect", [0.0, 0.05])
def test_simulated_arms_have_their_gain_and_discordance(effect: float) -> None:
    ours, theirs = paired(stream(1, "test"), 200_000, effect, 0.2)
    assert ours.mean() - theirs.mean() == pytest.approx(effect, abs=0.004)
    assert (ours != theirs).mean() == pytest.approx(0.2, abs=0.004)


def test_the_products_own_decision_is_asked() -> None:
    assert promotes(np.ones(500, dtype=bool), np.zeros(500, dtype=bool))
    assert not promotes(np.ones(500, dtype=bool), np.ones(500, dtype=bool))


def test_an_attacker_needs_leaked_scores() -> None:
    leaked, bits = (sum(attacker(stream(1, "test", i), leak) for i in range(15)) for leak in (True, False))
    assert leaked > 5
    assert bits <= 3


def test_each_kind_of_measure_can_promote_and_does_not_promote_most_nulls() -> None:
    assert [kind.__name__ for kind in KINDS] == ["binary", "bounded", "skewed", "clustered", "pairwise", "corpus", "chrf"]
    assert all(sum(kind(stream(1, "test", i)) for i in range(5)) == 0 for kind in KINDS)
    draws = stream(1, "test")
    assert decides("reward", draws.random((200, 1)) + 0.3, draws.random((200, 1)), draws)
    assert decides("gold", 0.3 + 0.7 * draws.random((200, 1)), 0.7 * draws.random((200, 1)), draws)
    assert decides("accuracy", np.ones((50, 4)), np.zeros((50, 4)), draws)
