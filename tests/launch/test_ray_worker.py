"""A worker of Ray, without Ray: it starts the rank, and fails where a restart may help."""

import os
import sys
from pathlib import Path

import pytest

from ratchet.components.launch.ray_worker import run_rank_process
from ratchet.components.storage.files import read_json
from tests.launch.test_rank import begun


@pytest.fixture
def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "RANK": "0", "WORLD_SIZE": "1"}


def test_the_rank_runs_in_the_runs_folder_with_its_threads(tmp_path: Path, environment: dict[str, str]) -> None:
    job = begun(tmp_path, "work")
    run_rank_process(job, 0, environment)
    assert read_json(job.folder / "done.0.json") == {"threads": "3", "folder": os.getcwd()}


def test_a_rank_runs_no_file_of_the_project(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dataclasses.py").write_text("raise SystemExit(3)")
    run_rank_process(begun(tmp_path, "work"), 0, environment)


def test_an_error_of_ours_is_no_reason_to_restart(tmp_path: Path, environment: dict[str, str]) -> None:
    job = begun(tmp_path, "raise")
    run_rank_process(job, 0, environment)
    (end,) = job.exits()
    assert (end.rank, end.code) == (0, 1)


def test_any_other_end_is_one(tmp_path: Path, environment: dict[str, str]) -> None:
    job = begun(tmp_path, "hang", hours=0.5 / 3600)
    with pytest.raises(RuntimeError, match="rank 0 ended with 1"):
        run_rank_process(job, 0, environment)
    assert [beat.ended for beat in job.beats()] == [True]  # it is gone, and not silent
