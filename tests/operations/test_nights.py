"""A night of a project in server mode.

PostgreSQL, MLflow with logins, Prefect with a password, S3 and two workers, all of them real processes of this machine.
docs/server_mode.md says how they are put up.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.operations.runs import Runs, runs_of
from tests.operations.servers import Server
from tests.operations.stack import POOL, deployment, stack
from tests.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NIGHTLY = "nightly"
ROOM = "gate.rules.uses_per_epoch=4"  # more than one refusal before the last fold is retired


@pytest.fixture(scope="module")
def runs(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    with stack(postgres, tmp_path_factory.mktemp("nights")) as servers, runs_of(servers) as runs:
        yield runs


@pytest.fixture(scope="module")
def workers(runs: Runs) -> Iterator[list[Server]]:
    with ExitStack() as started:
        yield [started.enter_context(runs.stack.worker(name)) for name in ("one", "two")]


def test_a_schedule_fires_and_its_run_is_promoted(runs: Runs, workers: list[Server]) -> None:
    project = runs.stack.project
    runs.stack.verb("data", "prepare")
    runs.stack.verb("data", "push")
    (project / "prefect.yaml").write_text(deployment(NIGHTLY, [ROOM], seconds=20), encoding="utf-8")
    runs.stack.call("prefect", "work-pool", "create", POOL, "--type", "process", "--overwrite")
    runs.stack.call("prefect", "--no-prompt", "deploy", "--all")
    (run, *_) = runs.wait_for(lambda: runs.running(NIGHTLY))
    runs.pause(NIGHTLY)
    assert run.auto_scheduled
    assert runs.end_of(run.id) == "Promoted"
    assert [(promotion.version, promotion.by) for promotion in runs.ledger.history("micro")] == [("1", "gate")]
