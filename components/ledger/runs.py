"""Which runs were begun, and how they ended."""

import json
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa

from ratchet.components.ledger.database import Database, next_in, now
from ratchet.components.ledger.tables import claims, flow_runs, runs, slots
from ratchet.components.storage.json_text import json_text


class Runs(Database):
    """One row per run. Of the runs with one identity at most one is open (it has no result yet), and only that one changes."""

    def open_run(self, identity: str) -> str | None:
        """The MLflow run of an identity that began and did not finish; an id of ours until MLflow has opened it."""
        query = sa.select(runs.c.run_id).where(*_open(identity))
        with self.transaction() as connection:
            return connection.execute(query).scalar()

    def begun_at(self, identity: str) -> str:
        """When the open run of an identity began, in ISO 8601; now, if none is open."""
        query = sa.select(sa.func.coalesce(runs.c.begun, runs.c.started)).where(*_open(identity))
        with self.transaction() as connection:
            return connection.execute(query).scalar() or now()

    def begin_run(self, identity: str, model: str, run_id: str, roles: Mapping[str, list[str]] | None = None) -> None:
        """Record that a run has begun, or again, in which case it replaces the one that was open.

        Args:
            roles: who may decide by the run's recipe: names by decision.
        """
        with self.decision() as connection:
            first = sa.select(sa.func.coalesce(runs.c.begun, runs.c.started)).where(*_open(identity))
            begun = connection.execute(first).scalar()
            connection.execute(runs.delete().where(*_open(identity)))
            text = json.dumps(roles, sort_keys=True) if roles else None
            values = {"identity": identity, "model": model, "run_id": run_id, "begun": begun, "roles": text}
            connection.execute(runs.insert().values(**values, status="running", started=now(), sequence=next_in(runs)))

    def name_run(self, identity: str, before: str, run_id: str) -> None:
        """Record the id that MLflow gave to a run which began while it was away, under an id of ours."""
        if before != run_id:
            mine = sa.and_(runs.c.identity == identity, runs.c.run_id == before)
            with self.transaction() as connection:
                connection.execute(runs.update().where(mine).values(run_id=run_id))

    def finish_run(self, identity: str, result: Mapping[str, Any]) -> None:
        """Record how the open run of an identity ended."""
        with self.decision() as connection:
            text = json_text(result, sort_keys=True)
            values = {"status": result["status"], "finished": now(), "result": text}
            run_id = connection.execute(sa.select(runs.c.run_id).where(*_open(identity))).scalar()
            connection.execute(runs.update().where(*_open(identity)).values(**values))
            # In the same transaction: a process killed after it must not leave a slot whose work is done.
            taken = [slots.c.run == identity, slots.c.status == "running"]
            connection.execute(slots.update().where(*taken).values(status=result["status"], run_id=run_id, at=now()))

    def result_of(self, model: str, run_id: str) -> dict[str, Any]:
        """How a run ended, in the shape of ``run --json``; empty if it has not."""
        query = sa.select(runs.c.result).where(runs.c.model == model, runs.c.run_id == run_id, runs.c.result.is_not(None))
        with self.transaction() as connection:
            text = connection.execute(query.order_by(runs.c.sequence.desc()).limit(1)).scalar()
        found: dict[str, Any] = json.loads(text) if text else {}
        return found

    def break_run(self, identity: str, status: str) -> None:
        """Record that a process ended before its run did; ``status`` is failed, killed or stopped."""
        with self.transaction() as connection:
            connection.execute(runs.update().where(*_open(identity)).values(status=status))

    def unended(self) -> dict[str, str]:
        """Identities whose claim is held or whose run is running, each with its holder: alive, or killed."""
        running = sa.select(runs.c.identity).where(runs.c.status == "running")
        query = sa.select(claims.c.run, claims.c.holder).where(sa.or_(claims.c.held, claims.c.run.in_(running)))
        with self.transaction() as connection:
            return {row.run: row.holder for row in connection.execute(query)}

    def running(self, identity: str) -> dict[str, Any] | None:
        """The run of an identity that is recorded as running."""
        query = sa.select(runs).where(runs.c.identity == identity, runs.c.status == "running")
        with self.transaction() as connection:
            found = connection.execute(query).mappings().first()
        return dict(found) if found else None

    def note_flow_run(self, flow_run: str, identity: str, token: int) -> None:
        """Record which flow run of Prefect's acts under a claim."""
        with self.decision() as connection:
            connection.execute(flow_runs.delete().where(flow_runs.c.flow_run == flow_run))
            connection.execute(flow_runs.insert().values(flow_run=flow_run, run=identity, token=token))

    def flow_runs_at_work(self) -> dict[str, str]:
        """Flow runs that act under a claim, or did until their process died; each with its run's identity."""
        mine = sa.and_(claims.c.run == flow_runs.c.run, claims.c.token == flow_runs.c.token, claims.c.held)
        query = sa.select(flow_runs.c.flow_run, flow_runs.c.run).where(sa.exists().where(mine))
        with self.transaction() as connection:
            return dict(connection.execute(query).tuples().all())

    def past_flow_runs(self) -> list[str]:
        """Flow runs whose claim was released or taken over, and that were not forgotten."""
        mine = sa.and_(claims.c.run == flow_runs.c.run, claims.c.token == flow_runs.c.token, claims.c.held)
        with self.transaction() as connection:
            return list(connection.execute(sa.select(flow_runs.c.flow_run).where(~sa.exists().where(mine))).scalars())

    def forget_flow_run(self, flow_run: str, token: int | None = None) -> None:
        """It has ended in Prefect.

        Args:
            token: of the claim under which it acted: another process that resumed it meanwhile stays known.
        """
        these = [flow_runs.c.flow_run == flow_run, *([flow_runs.c.token == token] if token is not None else [])]
        with self.transaction() as connection:
            connection.execute(flow_runs.delete().where(*these))

    def run_refused_by(self, model: str, stage: str, key: str) -> str | None:
        """The first run of a model that ended because the stage with this key refused its gold or its reward."""
        refused = sa.and_(runs.c.model == model, runs.c.status == "reward_refused", runs.c.result.is_not(None))
        with self.transaction() as connection:
            rows = list(connection.execute(sa.select(runs.c.run_id, runs.c.result).where(refused).order_by(runs.c.sequence)))
        return next((run_id for run_id, result in rows if _stages(result)[-1:] == [{"name": stage, "key": key}]), None)

    def makers(self) -> dict[tuple[str, str | None], tuple[str, float]]:
        """The first finished run that made a stage, and the seconds that it took, by the stage's name and key."""
        query = sa.select(runs.c.run_id, runs.c.result).where(runs.c.result.is_not(None)).order_by(runs.c.sequence)
        found: dict[tuple[str, str | None], tuple[str, float]] = {}
        with self.transaction() as connection:
            for run_id, result in connection.execute(query):
                for stage in json.loads(result)["stages"]:
                    if not stage.get("cached", True):
                        found.setdefault((stage["name"], stage["key"]), (run_id, stage["seconds"]))
        return found

    def running_runs(self) -> list[dict[str, Any]]:
        """Every run that is recorded as running, the newest first."""
        query = sa.select(runs).where(runs.c.status == "running").order_by(runs.c.sequence.desc())
        with self.transaction() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def latest_runs(self, limit: int | None = 10) -> list[dict[str, Any]]:
        """The newest runs first."""
        with self.transaction() as connection:
            query = sa.select(runs).order_by(runs.c.sequence.desc()).limit(limit)
            return [dict(row) for row in connection.execute(query).mappings()]

    def roles(self, model: str) -> dict[str, list[str]]:
        """Who may decide by the recipe of the model's newest run: names by decision."""
        query = sa.select(runs.c.roles).where(runs.c.model == model).order_by(runs.c.sequence.desc()).limit(1)
        with self.transaction() as connection:
            text = connection.execute(query).scalar()
        found: dict[str, list[str]] = json.loads(text) if text else {}
        return found

    def times_of_runs(self, model: str) -> list[tuple[str, str | None]]:
        """When each run of a model began, and when it finished, if it did; oldest first."""
        query = sa.select(sa.func.coalesce(runs.c.begun, runs.c.started), runs.c.finished).where(runs.c.model == model)
        with self.transaction() as connection:
            return sorted(((row[0], row[1]) for row in connection.execute(query)), key=lambda times: times[0])


def _open(identity: str) -> tuple[sa.ColumnElement[bool], ...]:
    return runs.c.identity == identity, runs.c.result.is_(None)


def _stages(result: str) -> list[dict[str, str]]:
    return [{"name": stage["name"], "key": stage["key"]} for stage in json.loads(result)["stages"]]
