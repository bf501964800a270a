"""The names of measures, for rules and guards; components/evaluation/measures.py computes them."""

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator


class Kind(NamedTuple):
    """What a test must know about a measure."""

    more_is_better: bool = True
    binary: bool = False  # one sample of it is 0 or 1
    share: bool = False  # lies in [0, 1]
    per_item: bool = False  # one value for all samples of an item together


KINDS = {
    "accuracy": Kind(binary=True, share=True),  # the strict extractor, sampled
    "accuracy_lenient": Kind(binary=True, share=True),
    "greedy_accuracy": Kind(binary=True, share=True, per_item=True),
    "format_rate": Kind(binary=True, share=True),
    "length": Kind(more_is_better=False),  # tokens
    "kl": Kind(more_is_better=False),  # to the starting policy, nats per completion
    "kl_incumbent": Kind(more_is_better=False),  # to the incumbent
    "diversity": Kind(share=True, per_item=True),  # distinct-2
    "reward": Kind(),
    "reward/PART": Kind(),
    "pass@K": Kind(share=True, per_item=True),
    "maj@K": Kind(binary=True, share=True, per_item=True),
}
OF_SAMPLES = re.compile(r"(pass|maj)@([1-9]\d{0,3})")


def kind_of(name: str) -> Kind:
    """The properties of a measure.

    Raises:
        ValueError: if there is no such measure.
    """
    general = re.sub(r"@[1-9]\d{0,3}$", "@K", re.sub(r"^reward/[A-Za-z0-9_]+$", "reward/PART", name))
    if general not in KINDS or name in ("pass@K", "maj@K"):
        raise ValueError(f"unknown measure {name!r}; use one of {', '.join(KINDS)}")
    return KINDS[general]


def samples_needed(name: str) -> int:
    """Samples per item without which a measure does not exist."""
    match = OF_SAMPLES.fullmatch(name)
    return int(match[2]) if match else 1


def _known(name: str) -> str:
    kind_of(name)
    return name


Measure = Annotated[str, AfterValidator(_known)]
