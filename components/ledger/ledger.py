"""The ledger: gate uses, verdicts, promotions and runs, in a small SQL database of its own.

MLflow's aliases have no compare-and-set and no history; the ledger has both, and the alias follows it. Every write is
idempotent, so that a run killed anywhere can be started again. Order is by sequence, never by clock.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from ratchet.components.digests import digest_of
from ratchet.components.errors import RegistryError, StaleChampionError
from ratchet.components.faults import point
from ratchet.components.ledger.tables import (
    SCHEMA_VERSION,
    alias_moves,
    fold_items,
    gate_uses,
    leases,
    metadata,
    promotions,
    retired_folds,
    runs,
    settings_table,
    verdicts,
)

LOCK_TIMEOUT_SECONDS = 20
OPEN = ("running", "failed", "killed")  # a run that did not reach its end, and is continued when it is started again


class Clock(Protocol):
    """What :mod:`time` gives, and a simulation can."""

    def time(self) -> float: ...
    def sleep(self, seconds: float, /) -> None: ...


@dataclass(frozen=True)
class Promotion:
    """One row of the champion's history."""

    sequence: int
    version: str
    previous: str | None
    weights: str
    by: str  # gate, override or rollback
    verdict: str | None
    reason: str | None
    run_id: str
    at: str
    digest: str = ""

    def chained(self, before: str) -> str:
        """sha256 of this row and of the one before it: a row that is changed or missing breaks the chain."""
        return digest_of([before, {k: v for k, v in asdict(self).items() if k != "digest"}])

    def as_json(self) -> dict[str, Any]:
        """The shape of ``history --json``."""
        return {k: getattr(self, k) for k in ("version", "previous", "at", "by", "verdict", "run_id")}


class Ledger:
    """The database behind promotions. SQLite runs with ``synchronous=FULL``; another database is a URL."""

    def __init__(self, url: str, clock: Clock = time) -> None:
        """
        Raises:
            RegistryError: if the database cannot be opened or has another schema.
        """
        self.clock = clock
        self.fence: Callable[[sa.Connection], None] = lambda _: None  # a run's claim puts its check here
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.url = sa.make_url(url)
        arguments = {"timeout": LOCK_TIMEOUT_SECONDS} if self.url.get_backend_name() == "sqlite" else {}
        # With its parameters an error would print sealed figures.
        self.engine = sa.create_engine(self.url, connect_args=arguments, hide_parameters=True)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with self.transaction() as connection:
            metadata.create_all(connection)
            found = connection.execute(sa.select(settings_table.c.value).where(settings_table.c.key == "schema")).scalar()
            if found is None:
                connection.execute(settings_table.insert().values(key="schema", value=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise RegistryError(f"the ledger has schema {found}, this version reads {SCHEMA_VERSION}. Use its own version.")

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        place = self.url.render_as_string(hide_password=True)
        try:
            with self.engine.begin() as connection:
                yield connection
        except OperationalError as error:
            remedy = "Close the program that holds it, or free the disk, and run again."
            raise RegistryError(f"the ledger {place} cannot be used: {error.orig}. {remedy}") from error
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise RegistryError(f"the ledger {place} is damaged: {error}. Restore it from a backup.") from error

    @contextmanager
    def decision(self) -> Iterator[sa.Connection]:
        """A transaction that passes the fence first: a run that lost its claim decides nothing."""
        with self.transaction() as connection:
            self.fence(connection)
            yield connection

    def champion(self, model: str) -> Promotion | None:
        """The newest promotion, or None before the first."""
        history = self.history(model)
        return history[-1] if history else None

    def history(self, model: str) -> list[Promotion]:
        """All promotions, oldest first.

        Raises:
            RegistryError: if a row was changed or removed.
        """
        with self.transaction() as connection:
            return self._history(connection, model)

    def _history(self, connection: sa.Connection, model: str) -> list[Promotion]:
        query = sa.select(promotions).where(promotions.c.model == model).order_by(promotions.c.sequence)
        rows = [Promotion(**{k: v for k, v in row.items() if k != "model"}) for row in connection.execute(query).mappings()]
        before = ""
        for number, row in enumerate(rows, 1):
            if row.sequence != number or row.digest != row.chained(before):
                place = self.url.render_as_string(hide_password=True)
                raise RegistryError(
                    f"promotion {number} of {model} in {place} was altered. Restore the ledger from its backup."
                )
            before = row.digest
        return rows

    def promote(self, model: str, row: Promotion, *, token: int, retire_fold: str | None = None) -> Promotion:
        """Compare-and-set: append ``row`` if it is the next one and ``token`` is the newest lease's.

        The fold that showed it is retired in the same transaction. Repeating a promotion that happened returns it.

        Raises:
            StaleChampionError: if another promotion came first; the challenger must be judged again.
            RegistryError: if the lease or the run's claim was lost, or the verdict was used before.
        """
        try:
            with self.decision() as connection:
                history = self._history(connection, model)
                known = [p for p in history if row.verdict is not None and p.verdict == row.verdict]
                if known and known[-1] is history[-1] and known[-1].version == row.version:
                    return known[-1]
                newest = connection.execute(sa.select(leases.c.token).where(leases.c.model == model)).scalar()
                _check_next(model, history, row, known, newest, token)
                row = replace(row, digest=row.chained(history[-1].digest if history else ""))
                connection.execute(promotions.insert().values(model=model, **asdict(row)))
                if retire_fold is not None:
                    fold = {"model": model, "fold_digest": retire_fold}
                    connection.execute(retired_folds.delete().where(*_equal(retired_folds, fold)))
                    connection.execute(retired_folds.insert().values(**fold, reason="promoted", at=now()))
        except IntegrityError as error:
            raise StaleChampionError(model) from error
        point("ledger:promoted")
        return row

    def begin_move(self, promotion: Promotion, model: str) -> int:
        """Note that the champion alias is about to be set to a promotion's version; returns the intent's number."""
        values = {"model": model, "sequence": promotion.sequence, "version": promotion.version, "done": False, "at": now()}
        with self.transaction() as connection:
            number = connection.execute(alias_moves.insert().values(**values)).inserted_primary_key
        assert number is not None
        return int(number[0])

    def end_move(self, number: int) -> None:
        """Note that the alias was read back where the intent put it."""
        with self.transaction() as connection:
            connection.execute(alias_moves.update().where(alias_moves.c.id == number).values(done=True))

    def open_moves(self, model: str) -> set[str]:
        """Versions to which a process may still be about to set the alias, or died before saying that it did."""
        query = sa.select(alias_moves.c.version).where(alias_moves.c.model == model, alias_moves.c.done.is_(False))
        with self.transaction() as connection:
            return set(connection.execute(query).scalars())

    def followed(self, model: str, sequence: int) -> bool:
        """Whether the alias has once been at promotion number ``sequence``."""
        query = sa.select(sa.func.count()).where(
            alias_moves.c.model == model, alias_moves.c.sequence == sequence, alias_moves.c.done.is_(True)
        )
        with self.transaction() as connection:
            return bool(connection.execute(query).scalar_one())

    def count_use(self, model: str, fold: str, challenger: str, incumbent: str, rules: str) -> int:
        """Count one use of a sealed fold before it is scored, once per challenger, incumbent and rules; returns its number."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        with self.decision() as connection:
            here = sa.and_(gate_uses.c.model == model, gate_uses.c.fold_digest == fold)
            known = connection.execute(sa.select(gate_uses.c.use).where(here, *_equal(gate_uses, pair))).scalar()
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
            rows = connection.execute(sa.select(gate_uses).where(*_equal(gate_uses, pair))).mappings()
            return {row["fold_digest"]: row["use"] for row in rows}

    def uses(self, model: str, fold: str) -> int:
        """How often a fold was used."""
        here = sa.and_(gate_uses.c.model == model, gate_uses.c.fold_digest == fold)
        with self.transaction() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(gate_uses).where(here)).scalar_one())

    def retire(self, model: str, fold: str, reason: str) -> None:
        """Retire a fold; it is never used again. Repeating is harmless."""
        if fold in self.retired(model):
            return
        with self.decision() as connection:
            connection.execute(retired_folds.insert().values(model=model, fold_digest=fold, reason=reason, at=now()))
        point("ledger:retired")

    def retired(self, model: str) -> dict[str, str]:
        """Fold digest -> why it was retired."""
        with self.transaction() as connection:
            rows = connection.execute(sa.select(retired_folds).where(retired_folds.c.model == model)).mappings().all()
        return {row["fold_digest"]: row["reason"] for row in rows}

    def record_verdict(self, model: str, record: Mapping[str, Any], digest: str, run_id: str) -> None:
        """Store a verdict's whole record; repeating is harmless."""
        pair = {"model": model, "challenger": record["challenger"], "incumbent": record["incumbent"], "digest": digest}
        if self._newest_verdict(*_equal(verdicts, pair)) is not None:
            return
        with self.decision() as connection:
            connection.execute(
                verdicts.insert().values(
                    **pair,
                    outcome=record["outcome"],
                    rules=record["rules"],
                    record=json.dumps(record, sort_keys=True),
                    run_id=run_id,
                    at=now(),
                )
            )
        point("ledger:verdict")

    def verdict(self, model: str, challenger: str, incumbent: str, rules: str) -> dict[str, Any] | None:
        """The newest verdict on a challenger against an incumbent by these rules: {digest, run_id, record}."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        return self._newest_verdict(*_equal(verdicts, pair))

    def verdict_by_digest(self, digest: str) -> dict[str, Any] | None:
        """The verdict with a digest: {digest, run_id, record}."""
        return self._newest_verdict(verdicts.c.digest == digest)

    def verdict_of_run(self, model: str, run_id: str) -> dict[str, Any] | None:
        """The newest verdict that a run reached: {digest, run_id, record}."""
        return self._newest_verdict(verdicts.c.model == model, verdicts.c.run_id == run_id)

    def _newest_verdict(self, *conditions: sa.ColumnElement[bool]) -> dict[str, Any] | None:
        query = sa.select(verdicts).where(*conditions).order_by(verdicts.c.id.desc()).limit(1)
        with self.transaction() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else {"digest": row["digest"], "run_id": row["run_id"], "record": json.loads(row["record"])}

    def open_run(self, identity: str) -> str | None:
        """The MLflow run of an identity that was begun and did not finish."""
        query = sa.select(runs.c.run_id).where(runs.c.identity == identity, runs.c.status.in_(OPEN))
        with self.transaction() as connection:
            return connection.execute(query).scalar()

    def begin_run(self, identity: str, model: str, run_id: str) -> None:
        """Note that a run has begun (again)."""
        with self.decision() as connection:
            connection.execute(runs.delete().where(runs.c.identity == identity))
            values = {"identity": identity, "model": model, "run_id": run_id}
            connection.execute(runs.insert().values(**values, status="running", started=now()))

    def finish_run(self, identity: str, result: Mapping[str, Any]) -> None:
        """Note how a run ended."""
        with self.decision() as connection:
            text = json.dumps(result, sort_keys=True)
            values = {"status": result["status"], "finished": now(), "result": text}
            connection.execute(runs.update().where(runs.c.identity == identity).values(**values))

    def break_run(self, identity: str, status: str) -> None:
        """Note that a process ended before its run did; ``status`` is failed or killed."""
        with self.transaction() as connection:
            connection.execute(runs.update().where(runs.c.identity == identity).values(status=status))

    def verdicts_on(self, model: str, challenger: str) -> list[dict[str, Any]]:
        """All verdicts on a challenger, oldest first: {digest, run_id, record}."""
        query = (
            sa.select(verdicts).where(verdicts.c.model == model, verdicts.c.challenger == challenger).order_by(verdicts.c.id)
        )
        with self.transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return [{"digest": row["digest"], "run_id": row["run_id"], "record": json.loads(row["record"])} for row in rows]

    def promotions(self) -> list[tuple[str, Promotion]]:
        """All promotions of all models, each model's oldest first."""
        with self.transaction() as connection:
            models = connection.execute(sa.select(promotions.c.model).distinct()).scalars().all()
        return [(model, promotion) for model in models for promotion in self.history(model)]

    def unretired_uses(self) -> list[dict[str, str]]:
        """Uses of folds that are not retired: {model, fold_digest, challenger, incumbent}. Their scores are still sealed."""
        names = ("model", "fold_digest", "challenger", "incumbent")
        retired = sa.select(retired_folds.c.fold_digest).where(
            retired_folds.c.model == gate_uses.c.model, retired_folds.c.fold_digest == gate_uses.c.fold_digest
        )
        query = sa.select(*(gate_uses.c[name] for name in names)).where(~retired.exists())
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def latest_runs(self, limit: int = 10) -> list[dict[str, Any]]:
        """The newest runs first."""
        with self.transaction() as connection:
            query = sa.select(runs).order_by(runs.c.started.desc()).limit(limit)
            return [dict(row) for row in connection.execute(query).mappings()]

    def note_items(self, model: str, fold: str, items: Sequence[str]) -> None:
        """Note which items a fold's uses are on; the first note stays."""
        here = {"model": model, "fold_digest": fold}
        with self.transaction() as connection:
            if connection.execute(sa.select(fold_items.c.item_ids).where(*_equal(fold_items, here))).first() is None:
                connection.execute(fold_items.insert().values(**here, item_ids=" ".join(items)))

    def items_of_folds(self, model: str) -> dict[str, list[str]]:
        """Fold digest -> the items that were judged on it."""
        query = sa.select(fold_items).where(fold_items.c.model == model)
        with self.transaction() as connection:
            return {row["fold_digest"]: row["item_ids"].split() for row in connection.execute(query).mappings()}

    def verdicts(self, model: str) -> list[dict[str, Any]]:
        """Every verdict, oldest first: {digest, run_id, at, record}."""
        query = sa.select(verdicts).where(verdicts.c.model == model).order_by(verdicts.c.id)
        with self.transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return [{**{k: row[k] for k in ("digest", "run_id", "at")}, "record": json.loads(row["record"])} for row in rows]

    def unpublished(self, model: str) -> list[dict[str, Any]]:
        """Verdicts whose fold is retired, and that :meth:`note_published` has not seen."""
        retired = self.retired(model)
        query = sa.select(settings_table.c.key).where(settings_table.c.key.like("published:%"))
        with self.transaction() as connection:
            published = {key.removeprefix("published:") for key in connection.execute(query).scalars()}
        hidden = [known for known in self.verdicts(model) if known["record"].get("fold_digest") in retired]
        return [known for known in hidden if known["digest"] not in published]

    def note_published(self, digest: str, run_id: str) -> None:
        """Note that a verdict's figures are in MLflow."""
        with self.transaction() as connection:
            connection.execute(settings_table.delete().where(settings_table.c.key == f"published:{digest}"))
            connection.execute(settings_table.insert().values(key=f"published:{digest}", value=run_id))


def _check_next(
    model: str, history: list[Promotion], row: Promotion, known: list[Promotion], newest: int | None, token: int
) -> None:
    """
    Raises:
        StaleChampionError, RegistryError: if ``row`` may not follow.
    """
    if known:
        raise RegistryError(f"the verdict on version {row.version} of {model} was used before. Train a new challenger.")
    if len(history) != row.sequence - 1:
        raise StaleChampionError(model)
    if newest != token:
        raise RegistryError(f"another process took over promotions of {model} while this one was paused. Run again.")


def _equal(table: sa.Table, values: Mapping[str, str]) -> list[sa.ColumnElement[bool]]:
    return [table.c[name] == value for name, value in values.items()]


def now() -> str:
    """The time in UTC, for people; order never depends on it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _sqlite_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # SQLAlchemy's own BEGIN IMMEDIATE, not the driver's late one
    cursor = connection.cursor()
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()
