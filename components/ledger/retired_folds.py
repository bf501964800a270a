"""Sealed folds that are retired: written here alone. ``gate/folds.py`` decides which; a promotion retires its own."""

import sqlalchemy as sa

from ratchet.components.faults import point
from ratchet.components.ledger.database import Database, equal, now
from ratchet.components.ledger.tables import retired_folds


def retire_fold(connection: sa.Connection, model: str, fold: str, reason: str, *, instead: bool = False) -> None:
    """Write that a fold is retired, ``instead`` of an earlier reason.

    Raises:
        IntegrityError: if it is retired already, and not ``instead``.
    """
    here = {"model": model, "fold_digest": fold}
    if instead:
        connection.execute(retired_folds.delete().where(*equal(retired_folds, here)))
    connection.execute(retired_folds.insert().values(**here, reason=reason, at=now()))


class RetiredFolds(Database):
    """Which folds are never used again, and why."""

    def retire(self, model: str, fold: str, reason: str) -> None:
        """Retire a fold; it is never used again. Repeating is harmless, and the first reason stays."""
        here = {"model": model, "fold_digest": fold}
        with self.decision() as connection:
            if connection.execute(sa.select(retired_folds.c.reason).where(*equal(retired_folds, here))).first() is not None:
                return
            retire_fold(connection, model, fold, reason)
        point("ledger:retired")

    def retired(self, model: str) -> dict[str, str]:
        """Fold digest -> why it was retired."""
        with self.transaction() as connection:
            rows = connection.execute(sa.select(retired_folds).where(retired_folds.c.model == model)).mappings().all()
        return {row["fold_digest"]: row["reason"] for row in rows}
