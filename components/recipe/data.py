"""The section ``data``: sources, checks, cleaning, splits."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from ratchet.components.recipe.base import Count, Section, Share
from ratchet.components.recipe.sources import Example, Source, WordProblems, parts
from ratchet.components.recipe.task import Task

# What the tables of a dataset always keep of a row; ``item`` and ``group`` come with data.keep and data.group.
PROBLEM_COLUMNS = ("id", "prompt", "answer", "demonstration")
PAIR_COLUMNS = ("id", "prompt", "answer", "chosen", "rejected")

Script = Literal[
    "Latin", "Cyrillic", "Greek", "Arabic", "Hebrew", "Devanagari", "Bengali", "Thai", "Han", "Hiragana", "Katakana", "Hangul"
]


class Checks(Section):
    """What a row must be. Shares are of the rows that were read."""

    answers: Literal["number", "text", "optional"] = "number"  # number: must end in "#### N"; optional: plain prompts
    max_bad_rows: Share = (
        0.0  # above this share refused; up to it dropped, listed, counted. Other references for one prompt too
    )
    odd_text: Literal["keep", "drop", "refuse"] = "keep"  # control, bidi and zero-width characters, broken encodings
    scripts: list[Script] = Field(default_factory=list)  # a text whose letters are mostly of other scripts is odd; none: any
    max_contradictory_pairs: Share = 0.0  # share of pairs that contradict: one says A over B, another B over A
    max_same_label: Share = 0.95  # one final answer, or one chosen text, on more of the rows than this is not a label


class LengthLimit(Section):
    """Length in tokens. Without a tokenizer a token is a word or a punctuation mark."""

    tokenizer: str | None = None  # tokenizer.json, or the directory that contains it
    max_prompt: Count | None = None  # tokens; null: no limit
    max_answer: Count | None = None  # tokens of answers, demonstrations, chosen and rejected; longer ones are always dropped
    policy: Literal["drop", "truncate"] = "drop"  # what happens to prompts that are too long


class NearDuplicates(Section):
    """Rows whose prompts share most of their word sequences count as one: MinHash finds candidates, Jaccard decides.

    Boilerplate counts as one word.
    """

    # The Jaccard similarity of word sequences from which on two rows count as the same.
    similarity: Annotated[float, Field(gt=0, le=1)] = 0.8
    words: Annotated[int, Field(ge=1, le=20)] = 5  # length of a sequence


class Decontaminate(Section):
    """Training rows must share no sequence of words with rows that are evaluated on; boilerplate does not count."""

    words: Annotated[int, Field(ge=1, le=50)] = 8  # length of a sequence of words that must not recur
    benchmarks: list[str] = Field(default_factory=list)  # further prompts, in any form that data.source takes
    policy: Literal["drop", "refuse"] = "drop"  # what happens to train rows that share a sequence with dev, sealed or guard


class Split(Section):
    """Shares of the prompts, assigned by a hash of the folded question; what is left over is train."""

    dev: Annotated[float, Field(gt=0, lt=1)] = 0.03  # share of the prompts
    sealed: Annotated[float, Field(gt=0, lt=1)] = 0.12  # divided into the reserve folds
    sealed_folds: Annotated[int, Field(ge=1, le=64)] = 4  # one is retired at each promotion
    guard: Share = 0.02  # share of the prompts, for guards
    pairs: Share = 0.40  # share of the prompts whose preferences train the reward model
    pairs_heldout: Share = 0.10  # share of the pairs that validates the reward model

    @model_validator(mode="after")
    def _room_for_train(self) -> "Split":
        total = self.dev + self.sealed + self.guard + self.pairs
        if total >= 1:
            raise ValueError(f"dev + sealed + guard + pairs is {total:g}, which leaves no train split; lower one of them")
        return self


class Data(Section):
    """Versioned dataset preparation. ``auto`` is on, except for generated problems."""

    source: Source = WordProblems()  # a path, or a source of one of the kinds below
    task: Task | None = None  # the recipe's section ``task``, which is written next to data
    keep: list[str] | Literal["small"] = "small"  # further columns, as item.*; small: all with values of up to 16 KiB
    distinct: list[str] = Field(default_factory=list)  # kept columns in which rows with one prompt are different rows
    group: str | None = None  # a column: rows with an equal value stay in one split, and are one cluster in every test
    seed: int = 1  # seed of generated rows and of the split
    pair_noise: Share = 0.05  # share of preference pairs with swapped labels
    max_prompt_chars: Count = 2_000  # longer prompts are dropped
    checks: Checks = Checks()
    length: LengthLimit = LengthLimit()
    near_duplicates: NearDuplicates | Literal["auto"] | None = "auto"  # auto: on, but off for generated problems; null: off
    decontaminate: Decontaminate | Literal["auto"] | None = "auto"  # auto: on, but off for generated problems; null: off
    split: Split = Split()

    @field_validator("keep", "distinct")
    @classmethod
    def _once(cls, keep: list[str] | str) -> list[str] | str:
        twice = sorted({name for name in keep if keep.count(name) > 1}) if isinstance(keep, list) else []
        if twice:
            raise ValueError(f"the column {twice[0]!r} is named twice; remove one")
        return keep

    @model_validator(mode="after")
    def _distinct_columns_are_kept(self) -> "Data":
        lost = [name for name in self.distinct if not self.keeps(f"item.{name}")]
        if lost:
            raise ValueError(f"distinct names the column {lost[0]!r}, which keep does not; add it there")
        return self

    @model_validator(mode="after")
    def _task_has_rows(self) -> "Data":
        if self.task is not None and any(isinstance(part.source, WordProblems) for part in parts(self.source)):
            raise ValueError(
                "task asks with the fields of your rows, and generated problems have none; give data.source a path"
            )
        return self

    @model_validator(mode="after")
    def _columns_exist(self) -> "Data":
        sources = [part.source for part in parts(self.source)]
        if self.group is not None and any(isinstance(source, WordProblems) for source in sources):
            raise ValueError("data.group names a column, and generated problems have none; remove it")
        if self.group is not None and any(getattr(source, "group", None) not in (None, self.group) for source in sources):
            raise ValueError("data.group and data.source.group name different columns; remove data.source.group")
        return self

    def keeps(self, field: str) -> bool:
        """Whether ``item.NAME`` may be in the tables, as far as the recipe alone says so."""
        name = field.removeprefix("item.").partition(".")[0]
        return field.startswith("item.") and (self.keep == "small" or name in self.keep)

    @property
    def generated(self) -> bool:
        """Whether a source is generated from templates: its problems resemble one another, and all share word sequences."""
        return any(isinstance(part.source, WordProblems | Example) for part in parts(self.source))

    @property
    def near_duplicate_rule(self) -> NearDuplicates | None:
        """The rule with ``auto`` resolved."""
        if self.near_duplicates == "auto":
            return None if self.generated else NearDuplicates()
        return self.near_duplicates

    @property
    def decontamination_rule(self) -> Decontaminate | None:
        """The rule with ``auto`` resolved."""
        if self.decontaminate == "auto":
            return None if self.generated else Decontaminate()
        return self.decontaminate
