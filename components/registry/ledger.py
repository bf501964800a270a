"""The ledger: gate uses, verdicts, promotions and runs, in a small SQL database of its own.

MLflow's aliases have no compare-and-set and no history; the ledger has both, and the alias follows it. Every write is
idempotent, so that a run killed anywhere can be started again.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError, OperationalError, SQLAlchemyError

from components.errors import RegistryError
from components.faults import point

SCHEMA_VERSION = "1"
LOCK_TIMEOUT_SECONDS = 20
OPEN = ("running", "failed", "killed")  # a run that did not reach its end, and is continued when it is started again

metadata = sa.MetaData()

settings_table = sa.Table(
    "settings", metadata, sa.Column("key", sa.String(80), primary_key=True), sa.Column("value", sa.String(256), nullable=False)
)
gate_uses = sa.Table(
    "gate_uses",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("fold_digest", sa.String(64), nullable=False),
    sa.Column("challenger", sa.String(64), nullable=False),
    sa.Column("incumbent", sa.String(64), nullable=False),
    sa.Column("rules", sa.String(64), nullable=False),
    sa.Column("use", sa.Integer, nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.UniqueConstraint("model", "fold_digest", "use"),
    sa.UniqueConstraint("model", "fold_digest", "challenger", "incumbent", "rules"),
)
retired_folds = sa.Table(
    "retired_folds",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("fold_digest", sa.String(64), primary_key=True),
    sa.Column("reason", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
fold_items = sa.Table(
    "fold_items",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("fold_digest", sa.String(64), primary_key=True),
    sa.Column("item_ids", sa.Text, nullable=False),
)
verdicts = sa.Table(
    "verdicts",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("challenger", sa.String(64), nullable=False),
    sa.Column("incumbent", sa.String(64), nullable=False),
    sa.Column("rules", sa.String(64), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("record", sa.Text, nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.UniqueConstraint("model", "challenger", "incumbent", "digest"),
)
promotions = sa.Table(
    "promotions",
    metadata,
    sa.Column("model", sa.String(64), primary_key=True),
    sa.Column("sequence", sa.Integer, primary_key=True),
    sa.Column("version", sa.String(32), nullable=False),
    sa.Column("previous", sa.String(32)),
    sa.Column("weights", sa.String(64), nullable=False),
    sa.Column("by", sa.String(16), nullable=False),
    sa.Column("verdict", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("at", sa.String(40), nullable=False),
)
runs = sa.Table(
    "runs",
    metadata,
    sa.Column("identity", sa.String(64), primary_key=True),
    sa.Column("model", sa.String(64), nullable=False),
    sa.Column("run_id", sa.String(64), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("started", sa.String(40), nullable=False),
    sa.Column("finished", sa.String(40)),
    sa.Column("result", sa.Text),
)


@dataclass(frozen=True)
class Promotion:
    """One row of the champion's history."""

    sequence: int
    version: str
    previous: str | None
    weights: str
    by: str
    verdict: str
    run_id: str
    at: str

    def as_json(self) -> dict[str, Any]:
        """The shape of ``history --json``."""
        return {k: getattr(self, k) for k in ("version", "previous", "at", "by", "verdict", "run_id")}


class Ledger:
    """The database behind promotions. SQLite runs with ``synchronous=FULL``; another database is a URL."""

    def __init__(self, url: str) -> None:
        """
        Raises:
            RegistryError: if the database cannot be opened or has another schema.
        """
        if url.startswith("sqlite:///"):
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.url = sa.make_url(url)
        arguments = {"timeout": LOCK_TIMEOUT_SECONDS} if self.url.get_backend_name() == "sqlite" else {}
        self.engine = sa.create_engine(self.url, connect_args=arguments)
        if self.engine.dialect.name == "sqlite":
            sa.event.listen(self.engine, "connect", _sqlite_connect)
            sa.event.listen(self.engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
        with self._transaction() as connection:
            metadata.create_all(connection)
            found = connection.execute(sa.select(settings_table.c.value).where(settings_table.c.key == "schema")).scalar()
            if found is None:
                connection.execute(settings_table.insert().values(key="schema", value=SCHEMA_VERSION))
            elif found != SCHEMA_VERSION:
                raise RegistryError(f"the ledger has schema {found}, this version reads {SCHEMA_VERSION}. Use its own version.")

    @contextmanager
    def _transaction(self) -> Iterator[sa.Connection]:
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

    def champion(self, model: str) -> Promotion | None:
        """The newest promotion, or None before the first."""
        history = self.history(model)
        return history[-1] if history else None

    def history(self, model: str) -> list[Promotion]:
        """All promotions, oldest first; ordered by sequence, never by clock."""
        query = sa.select(promotions).where(promotions.c.model == model).order_by(promotions.c.sequence)
        with self._transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return [Promotion(**{k: v for k, v in row.items() if k != "model"}) for row in rows]

    def promote(
        self,
        model: str,
        *,
        expected: int,
        version: str,
        weights: str,
        by: str,
        verdict: str,
        run_id: str,
        retire_fold: str | None = None,
    ) -> Promotion:
        """Compare-and-set: make ``version`` champion if the history still has ``expected`` rows.

        The fold that showed it is retired in the same transaction. Repeating a promotion that happened returns it.

        Raises:
            RegistryError: if another promotion came first; the verdict is stale and the challenger must be judged again.
        """
        champion = self.champion(model)
        if champion is not None and champion.verdict == verdict and champion.version == version:
            return champion
        previous = champion.version if champion else None
        row = Promotion(expected + 1, version, previous, weights, by, verdict, run_id, now())
        try:
            with self._transaction() as connection:
                count = connection.execute(
                    sa.select(sa.func.count()).select_from(promotions).where(promotions.c.model == model)
                ).scalar_one()
                if count != expected:
                    raise RegistryError(f"the champion of {model} changed while this challenger was judged. Run again.")
                connection.execute(promotions.insert().values(model=model, **row.__dict__))
                if retire_fold is not None:
                    fold = {"model": model, "fold_digest": retire_fold}
                    connection.execute(retired_folds.delete().where(*_equal(retired_folds, fold)))
                    connection.execute(retired_folds.insert().values(**fold, reason="promoted", at=now()))
        except IntegrityError as error:
            raise RegistryError(f"the champion of {model} changed while this challenger was judged. Run again.") from error
        point("ledger:promoted")
        return row

    def count_use(self, model: str, fold: str, challenger: str, incumbent: str, rules: str) -> int:
        """Count one use of a sealed fold before it is scored, once per challenger, incumbent and rules; returns its number."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        with self._transaction() as connection:
            here = sa.and_(gate_uses.c.model == model, gate_uses.c.fold_digest == fold)
            known = connection.execute(sa.select(gate_uses.c.use).where(here, *_equal(gate_uses, pair))).scalar()
            if known is not None:
                return int(known)
            use = 1 + connection.execute(sa.select(sa.func.count()).select_from(gate_uses).where(here)).scalar_one()
            connection.execute(gate_uses.insert().values(**pair, fold_digest=fold, use=use, at=now()))
        point("ledger:use_counted")
        return int(use)

    def folds_used(self, model: str, challenger: str, incumbent: str, rules: str) -> set[str]:
        """Digests of the folds on which these two were judged by these rules."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        with self._transaction() as connection:
            return set(connection.execute(sa.select(gate_uses.c.fold_digest).where(*_equal(gate_uses, pair))).scalars())

    def uses(self, model: str, fold: str) -> int:
        """How often a fold was used."""
        here = sa.and_(gate_uses.c.model == model, gate_uses.c.fold_digest == fold)
        with self._transaction() as connection:
            return int(connection.execute(sa.select(sa.func.count()).select_from(gate_uses).where(here)).scalar_one())

    def retire(self, model: str, fold: str, reason: str) -> None:
        """Retire a fold; it is never used again. Repeating is harmless."""
        if fold in self.retired(model):
            return
        with self._transaction() as connection:
            connection.execute(retired_folds.insert().values(model=model, fold_digest=fold, reason=reason, at=now()))
        point("ledger:retired")

    def retired(self, model: str) -> dict[str, str]:
        """Fold digest -> why it was retired."""
        with self._transaction() as connection:
            rows = connection.execute(sa.select(retired_folds).where(retired_folds.c.model == model)).mappings().all()
        return {row["fold_digest"]: row["reason"] for row in rows}

    def record_verdict(self, model: str, record: Mapping[str, Any], digest: str, run_id: str) -> None:
        """Store a verdict's whole record; repeating is harmless."""
        pair = {"model": model, "challenger": record["challenger"], "incumbent": record["incumbent"], "digest": digest}
        if self._newest_verdict(*_equal(verdicts, pair)) is not None:
            return
        with self._transaction() as connection:
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

    def _newest_verdict(self, *conditions: sa.ColumnElement[bool]) -> dict[str, Any] | None:
        query = sa.select(verdicts).where(*conditions).order_by(verdicts.c.id.desc()).limit(1)
        with self._transaction() as connection:
            row = connection.execute(query).mappings().first()
        return None if row is None else {"digest": row["digest"], "run_id": row["run_id"], "record": json.loads(row["record"])}

    def note_alias(self, model: str, sequence: int) -> None:
        """Note that the champion alias has followed promotion number ``sequence``."""
        with self._transaction() as connection:
            key = f"alias:{model}"
            connection.execute(settings_table.delete().where(settings_table.c.key == key))
            connection.execute(settings_table.insert().values(key=key, value=str(sequence)))

    def alias_sequence(self, model: str) -> int:
        """Number of the promotion that the champion alias has followed; 0 before the first."""
        query = sa.select(settings_table.c.value).where(settings_table.c.key == f"alias:{model}")
        with self._transaction() as connection:
            return int(connection.execute(query).scalar() or 0)

    def open_run(self, identity: str) -> str | None:
        """The MLflow run of an identity that was begun and did not finish."""
        query = sa.select(runs.c.run_id).where(runs.c.identity == identity, runs.c.status.in_(OPEN))
        with self._transaction() as connection:
            return connection.execute(query).scalar()

    def begin_run(self, identity: str, model: str, run_id: str) -> None:
        """Note that a run has begun (again)."""
        with self._transaction() as connection:
            connection.execute(runs.delete().where(runs.c.identity == identity))
            values = {"identity": identity, "model": model, "run_id": run_id}
            connection.execute(runs.insert().values(**values, status="running", started=now()))

    def finish_run(self, identity: str, result: Mapping[str, Any]) -> None:
        """Note how a run ended."""
        with self._transaction() as connection:
            text = json.dumps(result, sort_keys=True)
            values = {"status": result["status"], "finished": now(), "result": text}
            connection.execute(runs.update().where(runs.c.identity == identity).values(**values))

    def break_run(self, identity: str, status: str) -> None:
        """Note that a process ended before its run did; ``status`` is failed or killed."""
        with self._transaction() as connection:
            connection.execute(runs.update().where(runs.c.identity == identity).values(status=status))

    def latest_runs(self, limit: int = 10) -> list[dict[str, Any]]:
        """The newest runs first."""
        with self._transaction() as connection:
            query = sa.select(runs).order_by(runs.c.started.desc()).limit(limit)
            return [dict(row) for row in connection.execute(query).mappings()]

    def note_items(self, model: str, fold: str, items: Sequence[str]) -> None:
        """Note which items a fold's uses are on; the first note stays."""
        here = {"model": model, "fold_digest": fold}
        with self._transaction() as connection:
            if connection.execute(sa.select(fold_items.c.item_ids).where(*_equal(fold_items, here))).first() is None:
                connection.execute(fold_items.insert().values(**here, item_ids=" ".join(items)))

    def items_of_folds(self, model: str) -> dict[str, list[str]]:
        """Fold digest -> the items that were judged on it."""
        query = sa.select(fold_items).where(fold_items.c.model == model)
        with self._transaction() as connection:
            return {row["fold_digest"]: row["item_ids"].split() for row in connection.execute(query).mappings()}

    def verdicts(self, model: str) -> list[dict[str, Any]]:
        """Every verdict, oldest first: {digest, run_id, at, record}."""
        query = sa.select(verdicts).where(verdicts.c.model == model).order_by(verdicts.c.id)
        with self._transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return [{**{k: row[k] for k in ("digest", "run_id", "at")}, "record": json.loads(row["record"])} for row in rows]

    def unpublished(self, model: str) -> list[dict[str, Any]]:
        """Verdicts whose fold is retired, and that :meth:`note_published` has not seen."""
        retired = self.retired(model)
        query = sa.select(settings_table.c.key).where(settings_table.c.key.like("published:%"))
        with self._transaction() as connection:
            published = {key.removeprefix("published:") for key in connection.execute(query).scalars()}
        hidden = [known for known in self.verdicts(model) if known["record"].get("fold_digest") in retired]
        return [known for known in hidden if known["digest"] not in published]

    def note_published(self, digest: str, run_id: str) -> None:
        """Note that a verdict's figures are in MLflow."""
        with self._transaction() as connection:
            connection.execute(settings_table.delete().where(settings_table.c.key == f"published:{digest}"))
            connection.execute(settings_table.insert().values(key=f"published:{digest}", value=run_id))


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
