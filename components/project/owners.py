"""Whose a stage or a dataset is: the retention of a recipe is for what its own runs used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import ValidationError

from ratchet.components.errors import StoreError
from ratchet.components.project.retention import DAY_SECONDS, Item, RunRecord
from ratchet.components.recipe import Retention
from ratchet.components.storage.files import read_json, write_json
from ratchet.components.storage.home import Home


def note_retention(home: Home, model: str, retention: Retention) -> None:
    """Note how a run's recipe has it, for other recipes that share stages with it."""
    write_json(home.retentions / f"{model}.json", retention.model_dump(mode="json"))


def noted_retentions(home: Home) -> dict[str, Retention]:
    """By model; without one that cannot be read."""
    found = {}
    for path in home.retentions.glob("*.json"):
        try:
            found[path.stem] = Retention.model_validate(read_json(path))
        except (StoreError, ValidationError):
            continue
    return found


@dataclass(frozen=True)
class Owners:
    """The models whose runs used the stages and datasets of a project."""

    model: str  # whose retention is applied now
    retention: Retention  # also for a shared stage's other model, if it has none here: that runs on another machine
    noted: Mapping[str, Retention]
    runs: Sequence[RunRecord]  # all that ended
    now: float

    @cached_property
    def _of(self) -> dict[str, set[str]]:
        owners: dict[str, set[str]] = {}
        for run in self.runs:
            for name in (*(f"{stage}/{key}" for stage, key in run.stages), run.dataset):
                if name is not None:
                    owners.setdefault(name, set()).add(run.model)
        return owners

    def policy(self, model: str) -> Retention:
        return self.retention if model == self.model else self.noted.get(model, self.retention)

    def spare(self, item: Item) -> bool:
        """Whether an item is another recipe's alone, or was used too recently for one that shares it."""
        owners = self._of.get(item.name, {self.model})
        days = max(self.policy(owner).keep_days for owner in owners)
        return self.model not in owners or item.used >= self.now - days * DAY_SECONDS
