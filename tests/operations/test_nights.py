"""Six nights of a project in server mode, in their order: each test continues where the one before it ended.

PostgreSQL, MLflow with logins, Prefect with a password, S3 and two workers, all of them real processes of this machine.
docs/server_mode.md says how they are put up.
"""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.operations.credentials import found_in, places_of
from tests.operations.runs import Runs, runs_of
from tests.operations.servers import Server
from tests.operations.stack import DATABASES, deployment, stack
from tests.postgres import Postgres

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

NIGHTLY = "nightly"
LONG = "train.steps=96"  # still training when it is killed; with a small lr it is refused, so that a fold is left
ROOM = "gate.rules.uses_per_epoch=4"  # more than one refusal before the last fold is retired
ALL = "schedule.missed=all"  # on a slow machine, slots come due faster than a process starts, and the newest never would be
JUDGED = {"Promoted", "Refused"}
NEW_ROW = {"question": "Tom has 2 boxes with 2 pens each. How many pens are there?", "answer": "#### 4"}


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
    (project / "prefect.yaml").write_text(deployment(NIGHTLY, [ROOM, ALL], seconds=20), encoding="utf-8")
    runs.stack.verb("deploy", "--create-pool")
    runs.wait_for(lambda: runs.ledger.latest_runs(1))
    (run,) = runs.running(NIGHTLY)
    runs.pause(NIGHTLY)
    assert run.auto_scheduled
    assert runs.end_of(run.id) == "Promoted"
    assert [(promotion.version, promotion.by) for promotion in runs.ledger.history("micro")] == [("1", "gate")]


def test_the_same_recipe_again_is_unchanged(runs: Runs, workers: list[Server]) -> None:
    assert runs.end_of(runs.start(NIGHTLY, [ROOM])) == "Unchanged"
    assert len(runs.ledger.verdicts("micro")) == 1


def test_a_reward_that_fails_a_check_ends_before_training(runs: Runs, workers: list[Server]) -> None:
    overrides = [ROOM, "reward.validation.pair_accuracy_lower_bound=0.999"]
    assert runs.end_of(runs.start(NIGHTLY, overrides)) == "RewardRefused"
    assert len(runs.ledger.verdicts("micro")) == 1


def test_added_data_are_trained_on_and_a_weak_candidate_is_refused(runs: Runs, workers: list[Server]) -> None:
    before = runs.results()[0]["dataset"]
    (runs.stack.project / "new.jsonl").write_text(json.dumps(NEW_ROW), encoding="utf-8")
    runs.stack.verb("data", "add", "new.jsonl")
    runs.stack.verb("data", "push")
    assert runs.end_of(runs.start(NIGHTLY, [ROOM, "train.lr=1e-6", "train.steps=1"])) == "Refused"
    assert runs.results()[-1]["dataset"] != before


def test_a_killed_engine_and_a_killed_worker_lose_nothing(runs: Runs, workers: list[Server]) -> None:
    overrides = [ROOM, "train.lr=1e-5", LONG]
    begun, run = time.time(), runs.start(NIGHTLY, overrides)
    runs.wait_for_checkpoint(8, begun)
    (engine,) = [engine for worker in workers for engine in worker.children()]
    engine.kill()
    assert runs.end_of(run) == "Crashed"

    begun, run = time.time(), runs.start(NIGHTLY, overrides)
    runs.wait_for_checkpoint(40, begun)
    (worker,) = [worker for worker in workers if worker.children()]
    worker.kill()
    runs.stack.verb("reconcile")  # nobody else is left to tell Prefect, in whose view the run still has the only slot
    assert runs.end_of(run) == "Crashed"
    assert runs.end_of(runs.start(NIGHTLY, overrides)) in JUDGED


def test_servers_that_are_restarted_in_mid_run_lose_nothing(runs: Runs, workers: list[Server]) -> None:
    begun, run = time.time(), runs.start(NIGHTLY, [ROOM, "train.lr=2e-5", LONG])
    runs.wait_for_checkpoint(8, begun)
    runs.stack.restart_servers()
    assert runs.end_of(run) in JUDGED


def test_every_figure_is_in_mlflow_and_every_verdict_in_the_ledger_once(runs: Runs) -> None:
    results, verdicts = runs.results(), runs.ledger.verdicts("micro")
    judged = [result for result in results if result["verdict"]]
    assert [verdict["run_id"] for verdict in verdicts] == [result["run_id"] for result in judged]
    assert [result["version"] for result in judged] == runs.versions_in_mlflow()
    assert sorted(runs.parents_in_mlflow()) == sorted(result["run_id"] for result in results)
    for result in judged:
        assert (committed := runs.figures_in_store(result))
        assert committed - runs.figures_in_mlflow(result["run_id"]) == set()


def test_data_come_back_from_the_bucket(runs: Runs) -> None:
    project = runs.stack.project
    rows = (project / "data" / "train.jsonl").read_bytes()
    for folder in (project / "data", project / ".ratchet" / "dvc" / "cache"):
        shutil.rmtree(folder)
    runs.stack.verb("data", "pull")
    assert (project / "data" / "train.jsonl").read_bytes() == rows


def test_no_secret_is_in_a_database_a_file_or_a_process_list(runs: Runs) -> None:
    secrets = {name: secret for name, secret in runs.stack.secrets.items() if name != "s3_id"}  # it is in every signed address
    dumps = {name: runs.stack.dump(name) for name in DATABASES}
    assert {name: found_in(text, secrets) for name, text in dumps.items()} == {name: [] for name in DATABASES}
    assert all("micro" in text for text in dumps.values())  # they are not empty
    assert set(places_of(secrets, runs.stack.logs.parent)) == {"logins.ini"}  # which we wrote, with mode 0600
    assert runs.exposed == set()
