"""A training by ranks whose worker and whose Prefect server are killed: it continues, and the next flow run follows it."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ratchet.components.launch.job import Job
from ratchet.components.launch.processes import Process, end
from ratchet.components.storage.files import read_json, read_json_lines
from tests.commands import environment, free_port, new_project, ratchet
from tests.launch.runs import wait_until
from tests.places import MICRO

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

PATIENCE = 800.0  # seconds for a slot to come due, and for its run to train

# A reward that waits while a file is there: training lasts until the test has looked.
WAITING = """
import time
from pathlib import Path

HOLD = Path({hold!r})


def grade(prompts, completions, rows):
    while HOLD.exists():
        time.sleep(0.05)
    return [0.5 for _ in completions]
"""
TERMS = "reward.terms=[{name: right, weight: 1, of: verifier}, {name: wait, weight: 0.1, of: custom, function: wait.py:grade}]"
RECIPE = (
    *("launch={kind: torchrun, workers: 2}", "policy.warmup.steps=40", "train.steps=6", "train.prompts=4"),
    *("train.evaluate_every=2", "evaluation.dev_items=8", "reward.kind=sum", TERMS, "reward.limits.seconds=900"),
    "schedule.missed=all",  # on a slow machine, a newer slot may come due before a process starts
)


class Served:
    """A project whose schedule is served, and killed, again and again."""

    def __init__(self, project: Path) -> None:
        self.project, self.port, self.hold = project, free_port(), project / "hold"
        (project / "wait.py").write_text(WAITING.format(hold=str(self.hold)), encoding="utf-8")
        self.log = project / "schedule.log"

    @contextlib.contextmanager
    def schedule(self) -> Iterator["subprocess.Popen[bytes]"]:
        """``ratchet schedule``, which is killed at the end with the process of its run."""
        options = ["--every", "1m", "--recipe", str(MICRO), "--prefect-port", str(self.port)]
        command = ratchet("schedule", *options, *(f"--set={one}" for one in RECIPE))
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                command, cwd=self.project, env=environment(), start_new_session=True, stdout=log, stderr=log
            )
        try:
            yield process
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in [psutil.Process(process.pid), *psutil.Process(process.pid).children()]:
                    one.kill()
            process.wait()

    def job(self) -> Job:
        """The training in progress, once it has a checkpoint."""
        wait_until(lambda: any(self.project.glob(".ratchet/store/train/.work.*/step_000000")), PATIENCE)
        (job,) = self.project.glob(".ratchet/store/train/.work.*/job")
        return Job(job)

    def result(self) -> Path:
        """The finished training."""
        finished = ".ratchet/store/train/[!.]*/manifest.json"
        wait_until(lambda: any(self.project.glob(finished)), PATIENCE)
        (manifest,) = self.project.glob(finished)
        return manifest.parent

    def prefect_server(self) -> psutil.Process:
        """Who listens at the port."""
        found = psutil.net_connections("tcp")
        (number,) = {one.pid for one in found if one.laddr.port == self.port and one.status == psutil.CONN_LISTEN}
        return psutil.Process(number)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(new_project(tmp_path / "project"))
    yield served
    served.hold.unlink(missing_ok=True)
    for record in served.project.glob(".ratchet/store/train/.work.*/job"):
        end(Job(record).processes())


def followed_by_another(job: Job, before: Process) -> Process:
    """Who follows the job once it is another process."""
    wait_until(lambda: job.follower not in (before, None), PATIENCE)
    follower = job.follower
    assert follower is not None
    return follower


def test_a_job_goes_on_without_worker_and_server_and_the_next_flow_run_takes_its_result(served: Served) -> None:
    with served.schedule():
        job = served.job()
        served.hold.touch()
        first, launcher, name = job.follower, job.launcher, job.id
    assert launcher is not None
    assert launcher.found() is not None
    assert first is not None
    wait_until(lambda: first.found() is None)

    with served.schedule():
        second = followed_by_another(job, first)
        served.prefect_server().kill()
    assert launcher.found() is not None

    with served.schedule():
        followed_by_another(job, second)
        assert (job.launcher, job.id) == (launcher, name)  # no second training was started
        served.hold.unlink()
        made = served.result()
    facts, rows = read_json(made / "facts.json"), read_json_lines(made / "metrics.jsonl")
    assert facts["launch"] == {"kind": "torchrun", "ranks": 2, "sharded": False}
    assert [row["step"] for row in rows if "reward" in row["values"]] == list(range(1, facts["steps"] + 1))
