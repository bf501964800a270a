"""A reward function of TRL: lists in, one number per completion out. Here: the number in the one answer tag is right."""

import re
from typing import Any

NUMBER = re.compile(r"<answer>\s*(-?\d+(?:\.\d+)?)\s*</answer>")


def accuracy_reward(completions: list[str], answer: list[str | None], **columns: Any) -> list[float | None]:
    return [judged(text, reference) for text, reference in zip(completions, answer, strict=True)]


def judged(completion: str, reference: str | None) -> float | None:
    if reference is None:
        return None  # cannot be judged: neither trains nor counts as wrong
    found = NUMBER.findall(completion)
    hedged = completion.count("<answer>") != 1  # a list of guesses is no answer
    return float(not hedged and len(found) == 1 and float(found[0]) == float(reference))
