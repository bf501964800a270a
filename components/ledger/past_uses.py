"""What a model's sealed folds were used for, read in one transaction: what the next use depends on."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import sqlalchemy as sa

from ratchet.components.ledger.tables import fold_items, gate_uses, retired_folds, verdicts

PROMPT = "prompt"  # what an item asks that says its prompt itself, by the digest that is its id unless it has look-alikes
Judged = Mapping[str, Mapping[str, str]]  # id of an item -> what it asked; nothing of an item in schema 9


class Spend(NamedTuple):
    """What a use takes from the epoch of its items, which several versions of a fold may share."""

    number: int  # of the use in the epoch, from 1
    alpha: float  # level of its test


class Use(NamedTuple):
    """A use of a sealed fold. All but the last two are digests."""

    fold: str
    challenger: str
    incumbent: str
    rules: str
    number: int  # in the epoch; of a use in schema 8, that of its fold's version
    alpha: float | None  # None of a use in schema 8 that has no verdict


@dataclass(frozen=True)
class Past:
    """The past uses of a model's sealed folds."""

    retired: Mapping[str, str]  # fold digest -> why
    items: Mapping[str, Judged]  # fold digest -> the items that were judged, and what each asked
    uses: Sequence[Use]  # in the order in which they were counted
    records: Sequence[Mapping[str, Any]]  # of verdicts for which sealed rows were scored, oldest first

    @cached_property
    def published(self) -> list[Judged]:
        """The items of retired folds, each once; one that asked in several ways is in as many of these."""
        layers: list[dict[str, Mapping[str, str]]] = []
        for judged in (self.items[digest] for digest in self.retired if digest in self.items):
            for identity, asked in judged.items():
                if all(layer.setdefault(identity, asked) != asked for layer in layers):
                    layers.append({identity: asked})
        return list(layers)

    @property
    def unretired(self) -> dict[str, Judged]:
        """The items of each other fold, by its digest."""
        return {digest: judged for digest, judged in self.items.items() if digest not in self.retired}

    def own(self, fold: str, challenger: str, incumbent: str, rules: str) -> Use | None:
        """The use of a fold that was counted for these two by these rules."""
        return next((use for use in self.uses if use[:4] == (fold, challenger, incumbent, rules)), None)

    def uses_on(self, folds: set[str]) -> list[Use]:
        return [use for use in self.uses if use.fold in folds]

    def records_on(self, folds: set[str]) -> list[Mapping[str, Any]]:
        return [record for record in self.records if record["fold_digest"] in folds]


Rows = Mapping[str, Sequence[sa.RowMapping]]  # of a model, by table
State = tuple[frozenset[tuple[str, str]], int, int]  # what is retired and why, and the newest use and verdict


def read_rows(connection: sa.Connection, model: str) -> Rows:
    """What :func:`past_of` is made of, as a transaction sees it."""

    def rows(table: sa.Table) -> Sequence[sa.RowMapping]:
        return connection.execute(sa.select(table).where(table.c.model == model)).mappings().all()

    return {table.name: rows(table) for table in (retired_folds, fold_items, verdicts, gate_uses)}


def past_of(found: Rows) -> Past:
    """The past of a model. Slow where folds are large, so that it is not for a transaction, in which all others wait."""
    retired = {row["fold_digest"]: row["reason"] for row in found["retired_folds"]}
    known: dict[str, dict[str, str]] = {}
    items = {row["fold_digest"]: judged_in(row, known) for row in found["fold_items"]}
    reached = [json.loads(row["record"]) for row in sorted(found["verdicts"], key=lambda row: row["id"])]
    records = [record for record in reached if record.get("evidence")]
    levels = {_whose(record): record.get("alpha") for record in records}
    uses = [_use(row, levels) for row in sorted(found["gate_uses"], key=lambda row: row["id"])]
    return Past(retired, items, uses, records)


def state_of(connection: sa.Connection, model: str) -> State:
    """What differs once anything of a model's past has changed: uses and verdicts are only added."""

    def newest(table: sa.Table) -> int:
        query = sa.select(sa.func.coalesce(sa.func.max(table.c.id), 0)).where(table.c.model == model)
        return int(connection.execute(query).scalar_one())

    retired = sa.select(retired_folds.c.fold_digest, retired_folds.c.reason).where(retired_folds.c.model == model)
    return frozenset((row[0], row[1]) for row in connection.execute(retired)), newest(gate_uses), newest(verdicts)


def judged_in(row: sa.RowMapping, known: dict[str, dict[str, str]]) -> dict[str, dict[str, str]]:
    """The items of a row of ``fold_items``, and what each asked.

    Args:
        known: what items of other rows asked; versions of a fold share most items, and so their memory.
    """
    ids = row["item_ids"].split()
    if row["asked"] is None:
        return {identity: {} for identity in ids}
    asked = json.loads(row["asked"])
    found = {identity: asked.get(identity) or {PROMPT: identity} for identity in ids}
    return {identity: same if (same := known.setdefault(identity, asks)) == asks else asks for identity, asks in found.items()}


def _whose(row: Any) -> tuple[str, str, str, str]:
    return row["fold_digest"], row["challenger"], row["incumbent"], row["rules"]


def _use(row: sa.RowMapping, levels: Mapping[tuple[str, str, str, str], float | None]) -> Use:
    whose = _whose(row)
    if row["alpha"] is None:
        return Use(*whose, row["use"], levels.get(whose))
    return Use(*whose, row["epoch_use"], row["alpha"])
