"""Uses of sealed folds: counted before they are scored, their items noted."""

from collections.abc import Sequence

import sqlalchemy as sa

from ratchet.components.faults import point
from ratchet.components.ledger.database import equal, now
from ratchet.components.ledger.retired_folds import RetiredFolds
from ratchet.components.ledger.tables import fold_items, gate_uses, retired_folds


class GateUses(RetiredFolds):
    """What was asked of each sealed fold."""

    def count_use(self, model: str, fold: str, challenger: str, incumbent: str, rules: str) -> int:
        """Count one use of a sealed fold before it is scored, once per challenger, incumbent and rules; returns its number."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        with self.decision() as connection:
            here = sa.and_(gate_uses.c.model == model, gate_uses.c.fold_digest == fold)
            known = connection.execute(sa.select(gate_uses.c.use).where(here, *equal(gate_uses, pair))).scalar()
            if known is not None:
                return int(known)
            use = 1 + connection.execute(sa.select(sa.func.count()).select_from(gate_uses).where(here)).scalar_one()
            connection.execute(gate_uses.insert().values(**pair, fold_digest=fold, use=use, at=now()))
        point("ledger:use_counted")
        return int(use)

    def own_uses(self, model: str, challenger: str, incumbent: str, rules: str) -> dict[str, int]:
        """Fold digest -> number of the use that was counted for these two by these rules."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        with self.transaction() as connection:
            rows = connection.execute(sa.select(gate_uses).where(*equal(gate_uses, pair))).mappings()
            return {row["fold_digest"]: row["use"] for row in rows}

    def uses(self, model: str, fold: str) -> int:
        """Number of uses of a fold."""
        here = sa.and_(gate_uses.c.model == model, gate_uses.c.fold_digest == fold)
        with self.transaction() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(gate_uses).where(here)).scalar_one())

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

    def note_items(self, model: str, fold: str, items: Sequence[str]) -> None:
        """Record the items of a fold's uses; the first record stays."""
        here = {"model": model, "fold_digest": fold}
        with self.transaction() as connection:
            if connection.execute(sa.select(fold_items.c.item_ids).where(*equal(fold_items, here))).first() is None:
                connection.execute(fold_items.insert().values(**here, item_ids=" ".join(items)))

    def items_of_folds(self, model: str) -> dict[str, list[str]]:
        """Fold digest -> the items that were judged on it."""
        query = sa.select(fold_items).where(fold_items.c.model == model)
        with self.transaction() as connection:
            return {row["fold_digest"]: row["item_ids"].split() for row in connection.execute(query).mappings()}
