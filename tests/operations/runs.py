"""What Prefect, the ledger, MLflow's database and the store say about the project's runs."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString
from uuid import UUID

import psycopg
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterName
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from ratchet.components.ledger.ledger import Ledger
from tests.operations.credentials import command_lines, found_in
from tests.operations.stack import Stack

PATIENCE_SECONDS = 600
FIGURES = """
    SELECT metrics.key, metrics.step, metrics.value FROM metrics
    JOIN tags parent ON parent.run_uuid = metrics.run_uuid AND parent.key = 'mlflow.parentRunId' AND parent.value = %s
    JOIN tags stage ON stage.run_uuid = metrics.run_uuid AND stage.key = 'stage' AND stage.value = 'train'
"""
PARENTS = "SELECT run_uuid FROM runs WHERE run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'mlflow.parentRunId')"

Figure = tuple[str, int, float]


@dataclass
class Runs:
    """The runs of a deployment. Whoever waits here also looks at the process list."""

    stack: Stack
    prefect: SyncPrefectClient
    exposed: set[str] = field(default_factory=set)  # names of secrets that were seen among the arguments of a process

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.stack.variables["RATCHET_LEDGER_URL"])

    def wait_for(self, what: Callable[[], Any]) -> Any:
        """The first true value."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not (value := what()):
            assert time.monotonic() < deadline, f"nothing came within {PATIENCE_SECONDS} s"
            self.exposed.update(found_in(command_lines(), self.stack.secrets))
            time.sleep(1)
        return value

    def known(self, deployment: str) -> list[FlowRun]:
        """Every flow run of a deployment, due ones too."""
        of_ours = DeploymentFilter(name=DeploymentFilterName(any_=[deployment]))
        return self.prefect.read_flow_runs(deployment_filter=of_ours)

    def running(self, deployment: str) -> list[FlowRun]:
        return [run for run in self.known(deployment) if run.state is not None and run.state.is_running()]

    def pause(self, deployment: str) -> None:
        """No slot is due from now on; those that wait for their turn are deleted."""
        found = self.prefect.read_deployment_by_name(f"finetune/{deployment}")
        for schedule in found.schedules:
            self.prefect.update_deployment_schedule(found.id, schedule.id, active=False)
        for run in self.known(deployment):
            if run.state is None or run.state.is_scheduled():
                self.prefect.delete_flow_run(run.id)

    def start(self, deployment: str, overrides: Sequence[str]) -> UUID:
        """A run by hand."""
        found = self.prefect.read_deployment_by_name(f"finetune/{deployment}")
        parameters = {"recipe": "ratchet.yaml", "overrides": list(overrides)}
        return self.prefect.create_flow_run_from_deployment(found.id, parameters=parameters).id

    def end_of(self, run: UUID) -> str:
        """The name of a run's last state, once it has ended."""
        state = self.wait_for(lambda: (found := self.prefect.read_flow_run(run).state) and found.is_final() and found)
        return str(state.name)

    def wait_for_checkpoint(self, step: int, begun: float) -> None:
        """Until a training that began after a time of this machine's clock has committed this step or a later one."""
        train = self.stack.project / ".ratchet" / "store" / "train"

        def committed() -> bool:
            found = [path for path in train.glob(".work.*/step_*") if int(path.name.removeprefix("step_")) >= step]
            return any(path.stat().st_mtime > begun for path in found if path.exists())

        self.wait_for(committed)

    def results(self) -> list[dict[str, Any]]:
        """What the ledger says about the runs that ended, the oldest first."""
        return [json.loads(row["result"]) for row in reversed(self.ledger.latest_runs(100)) if row["result"]]

    def figures_in_store(self, result: dict[str, Any]) -> set[Figure]:
        """What a run's training committed, except what is not a number, for which MLflow has a column of its own."""
        (key,) = [stage["key"] for stage in result["stages"] if stage["name"] == "train"]
        lines = (self.stack.project / ".ratchet" / "store" / "train" / key / "metrics.jsonl").read_text(encoding="utf-8")
        rows = [json.loads(line) for line in lines.splitlines()]
        return {(name, row["step"], value) for row in rows for name, value in row["values"].items() if value == value}

    def figures_in_mlflow(self, run_id: str) -> set[Figure]:
        """What MLflow's database has of a run's training."""
        return set(self._mlflow(FIGURES, run_id))

    def parents_in_mlflow(self) -> list[str]:
        """MLflow's runs that are not of a stage."""
        return [run_id for (run_id,) in self._mlflow(PARENTS)]

    def versions_in_mlflow(self) -> list[str]:
        """Every registered version, the oldest first."""
        return [str(version) for (version,) in self._mlflow("SELECT version FROM model_versions ORDER BY version")]

    def _mlflow(self, query: LiteralString, *values: str) -> list[Any]:
        with psycopg.connect(self.stack.databases["mlflow"]) as connection:
            return connection.execute(query, values).fetchall()


@contextmanager
def runs_of(stack: Stack) -> Iterator[Runs]:
    settings = {
        PREFECT_API_URL: stack.variables["PREFECT_API_URL"],
        PREFECT_API_AUTH_STRING: stack.variables["PREFECT_API_AUTH_STRING"],
    }
    with temporary_settings(settings), get_client(sync_client=True) as client:
        yield Runs(stack, client)
