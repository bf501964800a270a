"""The section ``data``: sources, cleaning, splits."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.recipe.base import Count, Section, Share


class WordProblems(Section):
    """Generated GSM8K-format word problems."""

    kind: Literal["word_problems"] = "word_problems"
    problems: Count = 24_000
    max_operand: Annotated[int, Field(ge=2, le=1000)] = 20
    demo_noise: Share = 0.34


class JsonLines(Section):
    """A JSONL file with a question and a worked answer that ends ``#### N``, such as GSM8K's own."""

    kind: Literal["jsonl"]
    path: str
    question: str = "question"
    answer: str = "answer"
    pairs: str | None = None  # JSONL of question, chosen, rejected; without it near misses are derived from the answers
    limit: Count | None = None


class Split(Section):
    """Shares of the prompts, assigned by a hash of the normalised prompt; what is left over is train."""

    dev: Annotated[float, Field(gt=0, lt=1)] = 0.03
    sealed: Annotated[float, Field(gt=0, lt=1)] = 0.12  # divided into the reserve folds
    sealed_folds: Annotated[int, Field(ge=1, le=64)] = 4
    guard: Share = 0.02
    pairs: Share = 0.40
    pairs_heldout: Share = 0.10  # of the pairs

    @model_validator(mode="after")
    def _room_for_train(self) -> "Split":
        total = self.dev + self.sealed + self.guard + self.pairs
        if total >= 1:
            raise ValueError(f"dev + sealed + guard + pairs is {total:g}, which leaves no train split; lower one of them")
        return self


class Data(Section):
    """Versioned dataset preparation."""

    source: Annotated[WordProblems | JsonLines, Field(discriminator="kind")] = WordProblems()
    seed: int = 1
    pair_noise: Share = 0.05
    max_prompt_chars: Count = 2_000
    split: Split = Split()
