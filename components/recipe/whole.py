"""The whole recipe."""

import hashlib
from typing import Annotated, Literal

from pydantic import Field, model_validator

from components.recipe.base import Name, Section, digest_of
from components.recipe.data import Data
from components.recipe.gate import Evaluation, Gate
from components.recipe.policy import Policy
from components.recipe.retention import Retention
from components.recipe.reward import Reward
from components.recipe.train import Train


class Recipe(Section):
    """A complete run. ``seed: slot`` derives the seed from the logical date, so that a scheduled run trains anew."""

    name: Name
    seed: Annotated[int, Field(ge=0, lt=2**63)] | Literal["slot"] = 7
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: Annotated[int, Field(ge=0)] = 0  # CPU threads; 0 leaves torch's choice
    data: Data = Data()
    policy: Policy = Policy()
    reward: Reward = Reward()
    train: Train = Train()
    evaluation: Evaluation = Evaluation()
    gate: Gate
    retention: Retention = Retention()

    @model_validator(mode="after")
    def _reward_model_has_pairs(self) -> "Recipe":
        split = self.data.split
        if self.reward.needs_model and (split.pairs == 0 or not 0 < split.pairs_heldout < 1):
            raise ValueError(
                f"reward.kind={self.reward.kind} trains a reward model, but data.split leaves no pairs to train or to "
                "validate it on; raise data.split.pairs, and put data.split.pairs_heldout between 0 and 1"
            )
        return self

    @property
    def digest(self) -> str:
        """sha256 of everything that decides what comes out; what is kept afterwards does not."""
        return digest_of(self.model_dump(mode="json", exclude={"retention"}))

    @property
    def run_seed(self) -> int:
        """The resolved seed; ``with_slot`` must have been called where the recipe says ``slot``."""
        assert isinstance(self.seed, int), "seed: slot was not resolved"
        return self.seed

    def with_slot(self, slot: str) -> "Recipe":
        """The recipe with ``seed: slot`` replaced by a seed derived from the logical date."""
        if self.seed != "slot":
            return self
        seed = int(hashlib.sha256(f"{self.name}:{slot}".encode()).hexdigest()[:12], 16)
        return self.model_copy(update={"seed": seed})
