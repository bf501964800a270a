"""A whole run in a folder whose name means something to shells, URLs, SQL, configurations, markup and templates."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import environment
from tests.places import MICRO, ROOT

ODD = "-a #b?c'd\"e;f$g é%d,h&i:j [j]\\k"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def ratchet(project: Path, *arguments: str) -> str:
    command = [sys.executable, "-m", "ratchet", *arguments]
    done = subprocess.run(command, cwd=project, env=environment(), capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_faults_a_whole_run_promotes_in_an_odd_folder_and_is_verified_elsewhere(tmp_path: Path) -> None:
    project = tmp_path / ODD
    (project / "mlflow").mkdir(parents=True)
    shutil.copy(ROOT / "mlflow" / "model-card.md.j2", project / "mlflow")
    shutil.copy(MICRO, project / "ratchet.yaml")
    (project / "inner").mkdir()
    result = json.loads(ratchet(project / "inner", "run", "--json"))
    assert result["status"] == "promoted"
    assert Path(result["report"]).is_file()
    assert {path.name for path in tmp_path.iterdir()} == {ODD}
    assert {path.name for path in project.iterdir()} == {".ratchet", "inner", "mlflow", "ratchet.yaml"}
    assert {path.name for path in (project / "mlflow").iterdir()} == {"artifacts", "mlflow.db", "model-card.md.j2"}
    for place in ("dvc/cache", "ledger.db", "prefect/prefect.db"):
        assert (project / ".ratchet" / place).exists(), place

    moved = project.rename(tmp_path / "moved")
    checks = json.loads(ratchet(moved, "verify", "1", "--json"))["checks"]
    assert {check["state"] for check in checks if check["item"] == "weights"} == {"ok"}
