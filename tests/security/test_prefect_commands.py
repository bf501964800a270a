"""``prefect`` in a shell that took ``ratchet ui --env``, against our server: client and server fit each other."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.commands import environment
from tests.places import ROOT

from .doors import Door

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def shell(door: Door, script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a script whose first line asks the project for its server."""
    ratchet = f"'{sys.executable}' -m ratchet ui --env --prefect-port {door.port}"
    script = f'cd "{door.project}" && eval "$({ratchet})" && cd "{folder}" && {script}'
    return subprocess.run(["sh", "-c", script], env=environment(), capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture(scope="module")
def deployed(doors: dict[str, Door]) -> Door:
    """``prefect.yaml`` deployed as infra/README.md says, from the checkout, which it leaves as it was."""
    pool = "prefect work-pool create ratchet --type process"
    done = shell(doors["ui"], f"{pool} && prefect --no-prompt deploy --name nightly", ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return doors["ui"]


@pytest.mark.parametrize(
    ("command", "shows"),
    [("deployment ls", "finetune/nightly"), ("work-pool ls", "ratchet"), ("flow-run ls", "Flow Runs")],
)
def test_prefect_lists_what_was_deployed(deployed: Door, command: str, shows: str) -> None:
    done = shell(deployed, f"prefect {command}", deployed.project)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shows in done.stdout


def test_env_prints_one_line_for_a_shell_and_nothing_else(doors: dict[str, Door]) -> None:
    door = doors["ui"]
    command = [sys.executable, "-m", "ratchet", "ui", "--env", "--prefect-port", str(door.port)]
    done = subprocess.run(command, cwd=door.project, env=environment(), capture_output=True, text=True, check=True, timeout=240)
    url = f"http://127.0.0.1:{door.port}/api"
    assert done.stdout == f"export PREFECT_API_URL={url} PREFECT_API_AUTH_STRING={door.token}\n"
