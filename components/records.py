"""What crosses a slice: an item's result, a verdict, a registered version. Who may see which figure is decided here."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple

from ratchet.components.storage.digests import digest_of


class Arm(StrEnum):
    """The two policies that a gate compares."""

    CHALLENGER = "challenger"
    INCUMBENT = "incumbent"


class Decoding(StrEnum):
    """How an item is answered."""

    SAMPLED = "sampled"
    GREEDY = "greedy"


def rows_name(arm: Arm, decoding: Decoding) -> str:
    """The name of a file of rows, and of its figures in a summary."""
    return f"{arm}_{decoding}"


@dataclass(frozen=True)
class ItemResult:
    """One item, one completion, and the gold's grade of it.

    None means not measured, such as the length if a task only compares likelihoods.
    """

    id: str
    prompt: str
    completion: str
    passed: bool | None  # right or wrong, where the gold says so
    score: float | None  # the gold's; None if the completion could not be judged
    length: int | None  # tokens
    finished: bool | None
    kl: float | None  # to the starting policy: sum over tokens of log policy - log reference, nats
    kl_incumbent: float | None = None  # to the incumbent, likewise
    sample: int = 0  # number among the item's samples
    parts: dict[str, float] = field(default_factory=dict)  # of the gold's grade
    fault: str | None = None  # why the gold could not judge, if it failed
    answer: str | None = None  # what the gold read from the completion, which samples vote with
    expected: str | None = None  # the reference's label, where the gold is of labels
    tallies: Sequence[Sequence[int]] | None = None  # [3][6], where the gold is chrF (statistics/chrf.py)
    grades: dict[str, float | None] = field(default_factory=dict)  # scores of other graders by name
    rewards: dict[str, float | None] = field(default_factory=dict)  # reward, reward/PART; None could not be judged
    slices: list[str] = field(default_factory=list)  # evaluation.slices that the item belongs to
    cluster: str | None = None  # data.group of the item

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> "ItemResult":
        """A stored row, also one from before grades, when the gold was the strict final number."""
        if "correct" not in row:
            return cls(**row)
        old = dict(row)
        passed, marks = (
            old.pop("correct"),
            {"format_rate": old.pop("formatted"), "accuracy_lenient": old.pop("correct_lenient")},
        )
        parts = {name: float(value) for name, value in marks.items() if value is not None}
        return cls(**old, passed=passed, score=float(passed), parts=parts)


class Outcome(StrEnum):
    """What a gate can say. Only PROMOTE moves the champion."""

    PROMOTE = "PROMOTE"
    REJECT = "REJECT"
    UNDERPOWERED = "UNDERPOWERED"
    INVALID = "INVALID"
    ERROR = "ERROR"


@dataclass(frozen=True)
class Verdict:
    """A decision with every figure and reason.

    ``figures`` and ``sealed_reasons`` come from the sealed fold: they are never shown before the fold is retired.
    """

    outcome: Outcome
    reasons: list[str]  # may be shown at once
    challenger: str
    incumbent: str
    rules: str = ""  # digest of the rules that were applied
    fold: str | None = None
    fold_digest: str | None = None
    use: int | None = None
    alpha: float | None = None
    method: str = ""
    error_mode: str = ""
    first_champion: bool = False
    items: int | None = None  # sealed items that were judged
    samples: int = 1
    data: str = ""  # DVC md5 of the dataset version
    recipe: str = ""  # digest
    code: str = ""  # digest
    evidence: str = ""  # key of the stage with the sealed rows
    gold: str = ""  # digest of the grader
    dev_evidence: str = ""  # key of the stage with the rows that power was judged from
    figures: Mapping[str, float] = field(default_factory=dict)
    sealed_reasons: list[str] = field(default_factory=list)

    @property
    def tested(self) -> bool:
        """Whether it rests on sealed items. A challenger that is the incumbent itself is refused without them."""
        return self.outcome in (Outcome.PROMOTE, Outcome.REJECT) and self.fold_digest is not None

    def public(self) -> dict[str, Any]:
        """What may be shown before the fold is retired: the outcome, and nothing measured on sealed items."""
        return {k: v for k, v in self.as_json().items() if k not in ("figures", "sealed_reasons")}

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "outcome": self.outcome.value}

    @property
    def digest(self) -> str:
        """sha256 of the whole record. It could confirm a guess of sealed figures: it stays in the ledger until retirement."""
        return digest_of(self.as_json())

    @property
    def public_digest(self) -> str:
        """sha256 of what may be shown."""
        return digest_of(self.public())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Verdict":
        figures = {name: math.nan if figure is None else figure for name, figure in value.get("figures", {}).items()}
        return cls(**{**value, "outcome": Outcome(value["outcome"]), "figures": figures})


class Registered(NamedTuple):
    """What a promotion must know of a registered version."""

    version: str
    policy: str  # its digest
    run_id: str
