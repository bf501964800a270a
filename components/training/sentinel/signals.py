"""What the sentinel looks at beyond the usual figures, from the tokens and rewards of a step's rollouts."""

from collections.abc import Hashable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

FEW = 4


def distinct_2(completions: Sequence[Sequence[int]]) -> float | None:
    """Distinct pairs of neighbouring tokens over all pairs, averaged over completions of two tokens or more.

    Li et al. 2016, arXiv:1510.03055 (distinct-n), within each completion: the phrases of many right answers are alike, those
    of a text that goes round in circles repeat within it. [1, 2, 1, 2] has the pairs 12, 21, 12: 2/3. None without any pair.
    """
    shares = [len(set(pairwise(c))) / (len(c) - 1) for c in completions if len(c) > 1]
    return sum(shares) / len(shares) if shares else None


def identical_and_wrong(groups: Sequence[tuple[Sequence[Hashable], Sequence[bool]]]) -> float:
    """Share of completions that are wrong and equal another of their group. Right answers may well be all alike.

    Args:
        groups: of each prompt the completions, and whether each is right.
    """
    repeated = [not good and texts.count(text) > 1 for texts, right in groups for text, good in zip(texts, right, strict=True)]
    return sum(repeated) / len(repeated)


def unsolved_silent(signal: Sequence[bool], solved: Sequence[bool]) -> float | None:
    """Share of groups without a signal, of those that are not solved; None with fewer than ``FEW`` of them.

    Groups that are all right and all paid alike are where training leads, and no fault.
    """
    open_ = [has_signal for has_signal, done in zip(signal, solved, strict=True) if not done]
    return open_.count(False) / len(open_) if len(open_) >= FEW else None


def length_correlation(rewards: NDArray[np.float64], lengths: NDArray[np.int64]) -> float | None:
    """Spearman correlation of reward and length within groups, pooled over them.

    Both are [P, k]; ranks are taken in each group, ties shared, and centred there, so that prompts that call for long answers
    do not count. Groups with a missing reward (NaN) are left out. None where nothing varies.
    """
    whole = ~np.isnan(rewards).any(1)
    a, b = (_centred_ranks(values[whole]) for values in (rewards, lengths))
    scale = float(np.sqrt((a**2).sum() * (b**2).sum()))
    return float((a * b).sum()) / scale if scale > 0 else None


def _centred_ranks(values: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    if not values.size:
        return np.zeros(values.shape)
    ranks: NDArray[np.float64] = rankdata(values, axis=1)
    centred: NDArray[np.float64] = ranks - ranks.mean(1, keepdims=True)
    return centred
