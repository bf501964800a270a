"""Small generated tasks whose gold is not a number, so that recipes of their kinds run offline in minutes.

A task's rows are all combinations of its words, in random order. A stated share of the demonstrations is wrong in one respect:
the noise that RL has to remove. The rejected answer of a row is wrong in the same way.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from ratchet.components.data.examples import bills, shop, tickets
from ratchet.components.randomness import stream

TASKS: dict[str, Callable[[np.random.Generator], Iterator[dict[str, Any]]]] = {
    "tickets": tickets.rows,
    "bills": bills.rows,
    "shop": shop.rows,
}


def generate(name: str, demo_noise: float, seed: int) -> Iterator[dict[str, Any]]:
    """The records of a task, with the fields ``answer``, ``demonstration``, ``chosen``, ``rejected`` and the task's own.

    Args:
        demo_noise: share of demonstrations that are wrong.
        seed: the data's own seed.
    """
    draws = stream(seed, f"example:{name}")
    for row in TASKS[name](draws):
        right, wrong = row.pop("right"), row.pop("wrong")
        given = wrong if draws.random() < demo_noise else right
        yield {**row, "answer": right, "demonstration": given, "chosen": right, "rejected": wrong}
