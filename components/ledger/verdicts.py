"""Verdicts as they were reached, whole: who may see which figure is decided where they are published."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ratchet.components.faults import point
from ratchet.components.ledger.database import equal, now
from ratchet.components.ledger.retired_folds import RetiredFolds
from ratchet.components.ledger.tables import settings_table, verdicts
from ratchet.components.storage.json_text import json_text


class Verdicts(RetiredFolds):
    """What uses of sealed folds ended in."""

    def record_verdict(self, model: str, record: Mapping[str, Any], digest: str, run_id: str) -> None:
        """Store a verdict's whole record; idempotent."""
        pair = {"model": model, "challenger": record["challenger"], "incumbent": record["incumbent"], "digest": digest}
        if self._newest_verdict(*equal(verdicts, pair)) is not None:
            return
        with self.decision() as connection:
            connection.execute(
                verdicts.insert().values(
                    **pair,
                    outcome=record["outcome"],
                    rules=record["rules"],
                    record=json_text(record, sort_keys=True),
                    run_id=run_id,
                    at=now(),
                )
            )
        point("ledger:verdict")

    def verdict(self, model: str, challenger: str, incumbent: str, rules: str) -> dict[str, Any] | None:
        """The newest verdict on a challenger against an incumbent by these rules: {digest, run_id, at, record}."""
        pair = {"model": model, "challenger": challenger, "incumbent": incumbent, "rules": rules}
        return self._newest_verdict(*equal(verdicts, pair))

    def verdict_by_digest(self, digest: str) -> dict[str, Any] | None:
        """The verdict with a digest: {digest, run_id, at, record}."""
        return self._newest_verdict(verdicts.c.digest == digest)

    def verdict_of_run(self, model: str, run_id: str) -> dict[str, Any] | None:
        """The newest verdict that a run reached: {digest, run_id, at, record}."""
        return self._newest_verdict(verdicts.c.model == model, verdicts.c.run_id == run_id)

    def _newest_verdict(self, *conditions: sa.ColumnElement[bool]) -> dict[str, Any] | None:
        query = sa.select(verdicts).where(*conditions).order_by(verdicts.c.id.desc()).limit(1)
        return next(iter(self._known(query)), None)

    def verdicts_on(self, model: str, challenger: str) -> list[dict[str, Any]]:
        """All verdicts on a challenger, oldest first: {digest, run_id, at, record}."""
        here = {"model": model, "challenger": challenger}
        return self._known(sa.select(verdicts).where(*equal(verdicts, here)).order_by(verdicts.c.id))

    def verdicts(self, model: str) -> list[dict[str, Any]]:
        """Every verdict, oldest first: {digest, run_id, at, record}."""
        return self._known(sa.select(verdicts).where(verdicts.c.model == model).order_by(verdicts.c.id))

    def _known(self, query: sa.Select[Any]) -> list[dict[str, Any]]:
        with self.transaction() as connection:
            rows = connection.execute(query).mappings().all()
        return [{**{k: row[k] for k in ("digest", "run_id", "at")}, "record": json.loads(row["record"])} for row in rows]

    def unpublished(self, model: str) -> list[dict[str, Any]]:
        """Verdicts whose fold is retired, and for which :meth:`note_published` was not called."""
        retired = self.retired(model)
        query = sa.select(settings_table.c.key).where(settings_table.c.key.like("published:%"))
        with self.transaction() as connection:
            published = {key.removeprefix("published:") for key in connection.execute(query).scalars()}
        hidden = [known for known in self.verdicts(model) if known["record"].get("fold_digest") in retired]
        return [known for known in hidden if known["digest"] not in published]

    def note_published(self, digest: str, run_id: str) -> None:
        """Record that a verdict's figures are in MLflow."""
        with self.transaction() as connection:
            connection.execute(settings_table.delete().where(settings_table.c.key == f"published:{digest}"))
            connection.execute(settings_table.insert().values(key=f"published:{digest}", value=run_id))
