"""The names of measures, for rules and guards; components/evaluation/measures.py computes them."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from pydantic import AfterValidator


class Kind(NamedTuple):
    """What a test must know about a measure."""

    more_is_better: bool = True
    binary: bool = False  # one sample of it is 0 or 1
    share: bool = False  # lies in [0, 1]
    per_item: bool = False  # one value for all samples of an item together
    corpus: bool = False  # one value for all items together


KINDS = {
    "accuracy": Kind(binary=True, share=True),  # right by the gold, sampled
    "gold": Kind(share=True),  # the mean score of the gold; of one that says right or wrong, a recipe reads it as accuracy
    "accuracy_lenient": Kind(binary=True, share=True),  # of numbers: by the last number, however it is marked
    "greedy_accuracy": Kind(binary=True, share=True, per_item=True),
    "format_rate": Kind(binary=True, share=True),  # of numbers: there is one in the strict form
    "macro_f1": Kind(share=True, corpus=True),  # of labels: the mean of the classes' F1
    "mcc": Kind(corpus=True),  # of labels: Matthews' correlation
    "balanced_accuracy": Kind(share=True, corpus=True),  # of labels: the mean of the classes' recall
    "chrf": Kind(share=True, corpus=True),  # of texts: the F-score of the corpus's character n-grams
    "gold/PART": Kind(),  # a part of the gold's grade
    "grader/NAME": Kind(share=True),  # the mean score of another grader
    "length": Kind(more_is_better=False),  # tokens
    "kl": Kind(more_is_better=False),  # to the starting policy, nats per completion
    "kl_incumbent": Kind(more_is_better=False),  # to the incumbent
    "diversity": Kind(share=True, per_item=True),  # distinct-2
    "reward": Kind(),
    "reward/PART": Kind(),
    "pass@K": Kind(share=True, per_item=True),
    "maj@K": Kind(binary=True, share=True, per_item=True),
}
OF_NUMBERS = ("accuracy_lenient", "format_rate")
OF_LABELS = ("macro_f1", "mcc", "balanced_accuracy")
OF_TEXTS = ("chrf",)
OF_GOLD = re.compile(
    rf"gold|gold/.+|accuracy|accuracy_lenient|greedy_accuracy|format_rate|{'|'.join(OF_LABELS + OF_TEXTS)}|(?:pass|maj)@\d+"
)
OF_SAMPLES = re.compile(r"(pass|maj)@([1-9]\d{0,3})")


def kind_of(name: str) -> Kind:
    """The properties of a measure.

    Raises:
        ValueError: if there is no such measure.
    """
    general = re.sub(r"@[1-9]\d{0,3}$", "@K", re.sub(r"^(reward|gold)/[A-Za-z0-9_.-]+$", r"\1/PART", name))
    general = re.sub(r"^grader/[A-Za-z0-9_-]+$", "grader/NAME", general)
    if general not in KINDS or name in ("pass@K", "maj@K"):
        raise ValueError(f"unknown measure {name!r}; use one of {', '.join(KINDS)}")
    return KINDS[general]


def is_of_gold(name: str) -> bool:
    """Whether a measure comes from the gold's grades, so that a completion without one has no such figure."""
    return OF_GOLD.fullmatch(name) is not None


def is_measure(name: str) -> bool:
    """Whether there is such a measure; a part of a grade may have a name that is none, such as one with a space."""
    try:
        kind_of(name)
    except ValueError:
        return False
    return True


def headline(figures: Mapping[str, Any]) -> str:
    """The gold's own measure among an evaluation's: its score, or where that is right or wrong, the accuracy."""
    return "gold" if "gold" in figures else "accuracy"


def samples_needed(name: str) -> int:
    """Samples per item without which a measure does not exist."""
    match = OF_SAMPLES.fullmatch(name)
    return int(match[2]) if match else 1


def _known(name: str) -> str:
    kind_of(name)
    return name


Measure = Annotated[str, AfterValidator(_known)]
