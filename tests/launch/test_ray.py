"""Ray Train with two workers on a cluster of this process: real, and slow to start."""

import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from ratchet.components.errors import PausedError
from tests.launch.runs import LONG, RAY, job_of, listening
from tests.launch.test_training import close, one_thread  # noqa: F401
from tests.stages.by_hand import watching
from tests.stages.tiny_training import Training

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

pytest.importorskip("ray")


def test_two_workers_make_what_one_process_makes_although_one_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ratchet.py").write_text("raise SystemExit(3)")  # neither Ray's workers nor the ranks may import it
    training, heard, killed = Training(tmp_path), set[str](), list[int]()
    context = training.context(RAY, *LONG)

    def kill_one() -> str | None:
        job = job_of(training)
        if not killed and len(job.beats()) == 2 and any(job.folder.parent.glob("step_*")):
            heard.update(listening(job))
            killed.append(job.beats()[1].process.pid)
            os.kill(killed[0], signal.SIGKILL)
        return None

    made = training.run(replace(context, pause=kill_one))
    assert made.facts.launch == {"kind": "ray", "ranks": 2, "sharded": False}
    alone = Training(tmp_path / "alone")
    assert close(made, alone.run(alone.context(*LONG)))
    assert killed
    assert [step for step, _ in watching(context).points] == [step for step, _ in made.points]  # each once
    assert heard == {"127.0.0.1"}


def test_a_pause_ends_workers_and_cluster(tmp_path: Path) -> None:
    training = Training(tmp_path)

    def asked() -> str | None:
        return "ann asked" if any(tmp_path.glob(".ratchet/store/train/.work.*/step_*")) else None

    with pytest.raises(PausedError, match="interrupted after a checkpoint"):
        training.run(replace(training.context(RAY, *LONG), pause=asked))
    assert all(process.found() is None for process in job_of(training).processes())
