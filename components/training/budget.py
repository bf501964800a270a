"""How many packed tokens a forward pass takes: half as many from where memory ran out, recorded so that it can be repeated.

The cut of a batch into micro-batches decides the order of its sums, and so the last bits of every weight. A rebuild is
therefore given where the cut changed, and does not have to run out of memory in the same place.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from ratchet.components.errors import ModelError

Result = TypeVar("Result")


@dataclass
class TokenBudget:
    """Packed tokens per forward pass, over a run. A *call* is a scoring pass or a minibatch, numbered from 1 in each step."""

    tokens: int
    given: Mapping[str, int] = field(default_factory=dict)  # "step.call": tokens from there on, of the run that is repeated
    smaller: dict[str, int] = field(default_factory=dict)  # the same of this run
    step: int = 0
    call: int = 0

    def __post_init__(self) -> None:
        self.tokens = min([self.tokens, *self.smaller.values()])

    def begin(self, step: int) -> None:
        """Number the calls of another step."""
        self.step, self.call = step, 0

    def spend(self, call: Callable[[int], Result], largest: int) -> Result:
        """The result of a call that is given the number of tokens; after running out of memory, again with half of them.

        Args:
            largest: tokens of the largest group, which no micro-batch cuts.

        Raises:
            ModelError: if one group at a time is too much.
        """
        self.call += 1
        if self._here in self.given:
            self._set(self.given[self._here])
        while True:
            try:
                return call(self.tokens)
            except torch.OutOfMemoryError as error:
                reason = str(error).split(". ")[0]
            # Out here nothing refers to the call's tensors any more.
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._halve(largest, reason)

    @property
    def _here(self) -> str:
        return f"{self.step}.{self.call}"

    def _set(self, tokens: int) -> None:
        self.tokens = self.smaller[self._here] = tokens

    def _halve(self, largest: int, reason: str) -> None:
        if self.tokens <= largest:
            raise ModelError(
                f"there is no memory to train on one group of {largest} tokens ({reason}). Set train.gradient_checkpointing, "
                "or lower train.k or policy.max_new_tokens."
            )
        self._set(max(1, self.tokens // 2))
        logging.getLogger(__name__).warning(
            "step %d: out of memory; train.micro_tokens is %d from here on", self.step + 1, self.tokens
        )
