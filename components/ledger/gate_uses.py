"""Uses of sealed folds: admitted by what is so when they are counted, before the fold is scored."""

import json
from collections.abc import Callable

import sqlalchemy as sa

from ratchet.components.faults import point
from ratchet.components.ledger.database import Database, equal, now
from ratchet.components.ledger.past_uses import PROMPT, Judged, Past, Spend, judged_in, past_of, read_rows, state_of
from ratchet.components.ledger.tables import fold_items, gate_uses, retired_folds


class GateUses(Database):
    """What was asked of each sealed fold."""

    def past(self, model: str) -> Past:
        """What was asked of a model's folds until now."""
        with self.transaction() as connection:
            rows = read_rows(connection, model)
        return past_of(rows)

    def count_use(
        self,
        model: str,
        fold: str,
        challenger: str,
        incumbent: str,
        rules: str,
        items: Judged,
        admit: Callable[[Past], Spend | None],
    ) -> Spend | None:
        """Count one use of a sealed fold before it is scored, once per challenger, incumbent and rules.

        Args:
            items: those that will be judged, and what each asks; what is recorded of a fold's items stays.
            admit: what the use takes, or None if the fold must not be used; the same again for a use that was counted.
                It is slow where folds are large, so that it is asked before the transaction of the count; and again if
                anything was counted, judged or retired since it was given the past.

        Returns:
            The answer of ``admit``.
        """
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        while True:
            with self.transaction() as connection:
                rows, state = read_rows(connection, model), state_of(connection, model)
            past = past_of(rows)
            spend = admit(past)
            with self.decision() as connection:
                if state_of(connection, model) != state:
                    continue
                if spend is None or past.own(fold, challenger, incumbent, rules) is not None:
                    return spend
                _note_items(connection, model, fold, items)
                values = {"use": 1 + len(past.uses_on({fold})), "epoch_use": spend.number, "alpha": spend.alpha}
                connection.execute(gate_uses.insert().values(**pair, fold_digest=fold, **values, at=now()))
            point("ledger:use_counted")
            return spend

    def times_of_uses(self, model: str) -> list[str]:
        """When each use of a fold was counted, in UTC, oldest first."""
        query = sa.select(gate_uses.c.at).where(gate_uses.c.model == model).order_by(gate_uses.c.at)
        with self.transaction() as connection:
            return list(connection.execute(query).scalars())

    def unretired_uses(self) -> list[dict[str, str]]:
        """Uses of folds that are not retired: {model, fold_digest, challenger, incumbent}. Their scores are still sealed."""
        names = ("model", "fold_digest", "challenger", "incumbent")
        retired = sa.select(retired_folds.c.fold_digest).where(
            retired_folds.c.model == gate_uses.c.model, retired_folds.c.fold_digest == gate_uses.c.fold_digest
        )
        query = sa.select(*(gate_uses.c[name] for name in names)).where(~retired.exists())
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def items_of_folds(self, model: str) -> dict[str, list[str]]:
        """Fold digest -> the items that were judged on it."""
        query = sa.select(fold_items).where(fold_items.c.model == model)
        with self.transaction() as connection:
            return {row["fold_digest"]: row["item_ids"].split() for row in connection.execute(query).mappings()}


def _note_items(connection: sa.Connection, model: str, fold: str, items: Judged) -> None:
    here = {"model": model, "fold_digest": fold}
    row = connection.execute(sa.select(fold_items).where(*equal(fold_items, here))).mappings().first()
    known = {} if row is None else judged_in(row, {})
    if row is not None and items.keys() <= known.keys():
        return
    noted = {**known, **items}
    asked = {identity: asks for identity, asks in noted.items() if asks != {PROMPT: identity}}
    values = {"item_ids": " ".join(noted), "asked": json.dumps(asked)}
    connection.execute(fold_items.delete().where(*equal(fold_items, here)))
    connection.execute(fold_items.insert().values(**here, **values))
