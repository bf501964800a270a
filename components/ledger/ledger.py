"""The ledger: gate uses, verdicts, runs and, in this file, promotions, in its own small SQL database.

MLflow's aliases have no compare-and-set and no history; the ledger has both, and the alias follows it. Every write is
idempotent, so that a run killed at any point can be started again. Order is by sequence, never by clock; times are for people,
and for how long things are kept.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from ratchet.components.errors import RegistryError, StaleChampionError
from ratchet.components.faults import point
from ratchet.components.ledger import retired_folds
from ratchet.components.ledger.database import equal, now
from ratchet.components.ledger.engine import is_there
from ratchet.components.ledger.gate_uses import GateUses
from ratchet.components.ledger.runs import Runs
from ratchet.components.ledger.tables import alias_moves, leases, policies, promotions, runs
from ratchet.components.ledger.verdicts import Verdicts
from ratchet.components.storage.digests import digest_of


@dataclass(frozen=True)
class Promotion:
    """One row of the champion's history."""

    sequence: int
    version: str
    previous: str | None
    weights: str  # the policy's digest; the column is older than that
    by: str  # gate, override or rollback
    verdict: str | None
    reason: str | None
    run_id: str
    at: str
    digest: str = ""
    person: str | None = None  # who decided; of the gate's, who approved the verdict, if anybody did

    def chained(self, before: str) -> str:
        """sha256 of this row and the previous one: a changed or missing row breaks the chain.

        Without a person it is what releases computed that knew of none.
        """
        left_out = {"digest"} if self.person is not None else {"digest", "person"}
        return digest_of([before, {k: v for k, v in asdict(self).items() if k not in left_out}])

    @property
    def decided(self) -> str:
        """What and who decided, for people: ``gate``, ``gate (approved by ann)``, ``rollback (ann)``."""
        if self.person is None:
            return self.by
        return f"gate (approved by {self.person})" if self.by == "gate" else f"{self.by} ({self.person})"

    def as_json(self) -> dict[str, Any]:
        """The shape of ``history --json``."""
        return {k: getattr(self, k) for k in ("version", "previous", "at", "by", "verdict", "run_id", "person")}


class Ledger(GateUses, Verdicts, Runs):
    """The database behind promotions: who is champion, by compare-and-set, and where the alias is on its way to."""

    @classmethod
    def to_read(cls, url: str) -> "Ledger":
        """A ledger that nothing will be written to: one whose file is not there is empty, and the file is not created."""
        return cls(url if is_there(url) else "sqlite://")

    def champion(self, model: str) -> Promotion | None:
        """The newest promotion, or None before the first."""
        history = self.history(model)
        return history[-1] if history else None

    def history(self, model: str) -> list[Promotion]:
        """All promotions, oldest first, each with its policy's digest where that is known.

        Raises:
            RegistryError: if a row was changed or removed.
        """
        query = sa.select(policies.c.weights, policies.c.policy).where(policies.c.model == model)
        with self.transaction() as connection:
            rows, known = self._history(connection, model), dict(connection.execute(query).tuples().all())
        return [replace(row, weights=known.get(row.weights, row.weights)) for row in rows]

    def identify(self, model: str, weights: str, policy: str) -> None:
        """Record the digest of a policy that an earlier release promoted by that of its weights; idempotent."""
        values = {"model": model, "weights": weights}
        with self.transaction() as connection:
            if connection.execute(sa.select(policies).where(*equal(policies, values))).first() is None:
                connection.execute(policies.insert().values(**values, policy=policy))

    def _history(self, connection: sa.Connection, model: str) -> list[Promotion]:
        query = sa.select(promotions).where(promotions.c.model == model).order_by(promotions.c.sequence)
        rows = [Promotion(**{k: v for k, v in row.items() if k != "model"}) for row in connection.execute(query).mappings()]
        before = ""
        for number, row in enumerate(rows, 1):
            if row.sequence != number or row.digest != row.chained(before):
                raise RegistryError(
                    f"promotion {number} of {model} in {self.place} was altered. Restore the ledger from its backup."
                )
            before = row.digest
        return rows

    def models(self) -> list[str]:
        """Names of the models that were ever run or promoted, in order."""
        with self.transaction() as connection:
            query = sa.union(sa.select(runs.c.model), sa.select(promotions.c.model))
            return sorted(connection.execute(query).scalars())

    def promotions(self) -> list[tuple[str, Promotion]]:
        """All promotions of all models, each model's oldest first."""
        with self.transaction() as connection:
            models = connection.execute(sa.select(promotions.c.model).distinct()).scalars().all()
        return [(model, promotion) for model in models for promotion in self.history(model)]

    def promote(self, model: str, row: Promotion, *, token: int, retire_fold: str | None = None) -> Promotion:
        """Compare-and-set: append ``row`` if it is the next one and ``token`` is the newest lease's.

        The fold of its verdict is retired in the same transaction. Repeating a promotion returns it.

        Raises:
            StaleChampionError: if another promotion came first; the challenger must be judged again.
            RegistryError: if the lease or the run's claim was lost, or the verdict was used before.
        """
        try:
            with self.decision() as connection:
                # History and token are read in the transaction that appends: read before it, either may be old by now.
                history = self._history(connection, model)
                known = [p for p in history if row.verdict is not None and p.verdict == row.verdict]
                # Before the token: who repeats its own promotion after a pause has an old one, and nothing to fear.
                if known and known[-1] is history[-1] and known[-1].version == row.version:
                    return known[-1]
                newest = connection.execute(sa.select(leases.c.token).where(leases.c.model == model)).scalar()
                _check_next(model, history, row, known, newest, token)
                row = replace(row, digest=row.chained(history[-1].digest if history else ""))
                connection.execute(promotions.insert().values(model=model, **asdict(row)))
                if retire_fold is not None:
                    # With the promotion or not at all: a fold that said yes must not be asked again, whatever dies next.
                    retired_folds.retire_fold(connection, model, retire_fold, "promoted", instead=True)
        except IntegrityError as error:  # where transactions do not exclude one another, the primary key lets one through
            raise StaleChampionError(model) from error
        point("ledger:promoted")
        return row

    def begin_move(self, promotion: Promotion, model: str) -> int:
        """Record that the champion alias is about to be set to a promotion's version; returns the intent's number."""
        values = {"model": model, "sequence": promotion.sequence, "version": promotion.version, "done": False, "at": now()}
        with self.transaction() as connection:
            number = connection.execute(alias_moves.insert().values(**values)).inserted_primary_key
        assert number is not None
        return int(number[0])

    def end_move(self, number: int) -> None:
        """Record that the alias was read back as the intent set it."""
        with self.transaction() as connection:
            connection.execute(alias_moves.update().where(alias_moves.c.id == number).values(done=True))

    def open_moves(self, model: str) -> set[str]:
        """Versions to which a process may still set the alias, or set it and died before closing the intent."""
        query = sa.select(alias_moves.c.version).where(alias_moves.c.model == model, alias_moves.c.done.is_(False))
        with self.transaction() as connection:
            return set(connection.execute(query).scalars())

    def moves(self) -> tuple[int, list[tuple[int, bool]]]:
        """How many promotions there are, of all models, and each intent to move an alias with whether it was closed."""
        with self.transaction() as connection:
            count = connection.execute(sa.select(sa.func.count()).select_from(promotions)).scalar_one()
            rows = connection.execute(sa.select(alias_moves.c.id, alias_moves.c.done).order_by(alias_moves.c.id))
            return int(count), [(row.id, row.done) for row in rows]

    def followed(self, model: str, sequence: int) -> bool:
        """Whether the alias has ever been at promotion number ``sequence``."""
        query = sa.select(sa.func.count()).where(
            alias_moves.c.model == model, alias_moves.c.sequence == sequence, alias_moves.c.done.is_(True)
        )
        with self.transaction() as connection:
            return bool(connection.execute(query).scalar_one())

    def pending(self) -> dict[str, Promotion]:
        """By model, the champions at which the alias is not known to have been: killed before it moved, or it was refused."""
        champions = {model: self.champion(model) for model in self.models()}
        return {model: one for model, one in champions.items() if one is not None and not self.followed(model, one.sequence)}


def _check_next(
    model: str, history: list[Promotion], row: Promotion, known: list[Promotion], newest: int | None, token: int
) -> None:
    """
    Raises:
        StaleChampionError, RegistryError: if ``row`` may not be appended.
    """
    if known:
        raise RegistryError(f"the verdict on version {row.version} of {model} has been used before. Train a new challenger.")
    if len(history) != row.sequence - 1:
        raise StaleChampionError(model)
    if newest != token:
        raise RegistryError(f"another process took over promotions of {model} while this one was paused. Run again.")
