"""The gate's rules on chrF of all texts together."""

import numpy as np

from ratchet.components.evaluation.comparison import Arms, compare
from ratchet.components.gate.power import power_from
from ratchet.components.gate.rules import SealedDecision, check_integrity, decide
from ratchet.components.recipe import Primary, Rules
from ratchet.components.records import ItemResult
from tests.evaluation.texts import written

DIGESTS = {"challenger": "c" * 64, "incumbent": "i" * 64}
ALPHA = 0.05 / 26
LETTERS = np.array(list("abcdefgh"))


def of_texts(rng: np.random.Generator, ours: float, theirs: float, items: int = 80) -> Arms:
    """Arms that keep each letter of a reference of 5 to 40 so often, and else write a dot."""
    arms: tuple[dict[str, list[ItemResult]], ...] = ({}, {})
    for n in range(items):
        reference = rng.choice(LETTERS, rng.integers(5, 40))
        for arm, share in zip(arms, (ours, theirs), strict=True):
            kept = np.where(rng.random(len(reference)) < share, reference, ".")
            arm[str(n)] = written("".join(reference), ["".join(kept)], str(n))
    return Arms([str(n) for n in range(items)], *arms, *DIGESTS.values())


def judged(arms: Arms) -> SealedDecision:
    rules = Rules.model_validate({"primary": {"measure": "chrf"}, "guards": [], "floor": 0.2})
    places, tests = {"sealed": compare(arms, rules.measures)}, {"chrf": "randomization"}
    draws = np.random.default_rng(0)
    return decide(places, rules, tests=tests, alpha=ALPHA, first_champion=True, draws=draws)


def test_a_better_challenger_is_promoted_and_the_worse_one_is_not() -> None:
    arms = of_texts(np.random.default_rng(0), 0.85, 0.7)
    decision = judged(arms)
    assert decision.promote
    assert decision.figures["gain"] == decision.figures["challenger_chrf"] - decision.figures["incumbent_chrf"] > 0.1
    assert decision.reasons[0].startswith("primary: approximate randomization, p = ")
    swapped = Arms(arms.items, arms.incumbent, arms.challenger, *DIGESTS.values())
    assert not judged(swapped).promote
    assert not judged(of_texts(np.random.default_rng(1), 0.7, 0.7)).promote


def test_missing_items_do_not_pay() -> None:
    arms = of_texts(np.random.default_rng(0), 0.85, 0.7)
    few = {item: group for item, group in arms.challenger.items() if int(item) % 2}
    assert not judged(Arms(arms.items, few, arms.incumbent, *DIGESTS.values())).promote


def test_long_texts_outweigh_short_ones() -> None:
    """8 items of 40 letters lost against 20 of 4 gained: the mean of single texts rises, chrF of the corpus falls."""
    good, bad = written("abcdefgh" * 5, ["abcdefgh" * 5]), written("abcdefgh" * 5, ["." * 40])
    short, empty = written("abcd", ["abcd"]), written("abcd", ["...."])
    ours, theirs = (dict(enumerate([one] * 8 + [other] * 20)) for one, other in ((bad, short), (good, empty)))
    arms = Arms([str(n) for n in ours], *({str(n): one for n, one in arm.items()} for arm in (ours, theirs)), *DIGESTS.values())
    place = compare(arms, ["chrf", "gold"])
    assert np.subtract(*place.figures("gold")) > 0 > np.subtract(*place.figures("chrf"))


def test_results_without_tallies_cannot_be_judged() -> None:
    bare = {str(n): [ItemResult(str(n), "p", "t", None, 0.5, 10, True, 1.0)] for n in range(3)}
    arms = Arms(["0", "1", "2"], bare, bare, *DIGESTS.values())
    faults = check_integrity(arms, Rules(), DIGESTS, ["chrf"])
    assert "chrf could not be measured on 3 of 3 items of the challenger" in faults


def test_power_is_simulated_from_dev_rows() -> None:
    rules = Rules(primary=Primary(measure="chrf"), target_effect=0.1)
    dev = compare(of_texts(np.random.default_rng(0), 0.75, 0.7), ["chrf"])
    found = power_from(dev, rules, 100, 0.05)
    assert (found.binary, found.source) == (False, "dev results")
    assert 0.02 < found.detectable <= 0.1
    assert found.needed is not None and found.needed <= 100
