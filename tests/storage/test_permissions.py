"""The state is its owner's alone, unless RATCHET_UMASK says otherwise; a project's own files are not state."""

import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ratchet.components.errors import StoreError
from ratchet.components.storage.permissions import as_user_writes, protect, used_by_others, wanted_umask
from tests import commands
from tests.places import ROOT


@pytest.fixture(autouse=True)
def umask(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("RATCHET_UMASK", raising=False)
    before = os.umask(0o022)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def written(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("x")
    return path


def test_new_files_and_folders_are_the_owners_alone(tmp_path: Path) -> None:
    protect([])
    path = written(tmp_path / "state" / "file")
    assert (mode(path), mode(path.parent)) == (0o600, 0o700)


def test_an_existing_state_is_tightened_and_what_is_outside_is_not(tmp_path: Path) -> None:
    outside = written(tmp_path / "outside")
    root, path = tmp_path / "state", written(tmp_path / "state" / "a" / "file")
    (root / "link").symlink_to(outside)
    read_only = written(root / "cache")
    read_only.chmod(0o444)
    protect([root, tmp_path / "absent"])
    assert [mode(one) for one in (root, path.parent, path, read_only, outside)] == [0o700, 0o700, 0o600, 0o400, 0o644]


def test_a_group_may_share_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_UMASK", "007")
    old = written(tmp_path / "state" / "file")
    old.chmod(0o666)
    (tmp_path / "state").chmod(0o2777)  # the group is inherited, which stays
    protect([tmp_path / "state"])
    assert (mode(old), mode(tmp_path / "state"), mode(written(tmp_path / "new"))) == (0o660, 0o2770, 0o660)


@pytest.mark.parametrize("text", ["", "7", "0777", "700", "rw", "08"])
def test_faults_another_umask_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("RATCHET_UMASK", text)
    with pytest.raises(StoreError, match="Write 077, 027 or 007"):
        wanted_umask()


def test_a_projects_own_files_have_the_users_modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ratchet.components.storage.permissions._usual", 0o022)
    protect([])
    with as_user_writes():
        assert mode(written(tmp_path / "data.dvc")) == 0o644
    assert mode(written(tmp_path / "ledger.db")) == 0o600


def test_a_command_tightens_the_state_and_writes_what_is_private(project: Path) -> None:
    database = written(project / ".ratchet" / "old.db")
    (project / "mlflow" / "artifacts").mkdir(mode=0o755)
    recipe = str(ROOT / "tests" / "recipes" / "micro.yaml")
    done = subprocess.run(
        [sys.executable, "-m", "ratchet", "status", "--recipe", recipe],
        cwd=project,
        env=commands.environment(),
        check=True,
        umask=0o022,
    )
    assert done.returncode == 0
    assert [mode(path) for path in (database, database.parent, project / "mlflow" / "artifacts")] == [0o600, 0o700, 0o700]
    assert {mode(path) for path in (project / ".ratchet").rglob("*") if path.is_file()} == {0o600}


def test_what_all_use_is_no_state() -> None:  # asked, not tried: a mistake would cost the machine
    assert used_by_others(Path("/"))
    assert used_by_others(Path(os.devnull))


def test_what_is_no_file_or_folder_keeps_its_rights(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o666)
    before = mode(tmp_path / "pipe")
    with pytest.raises(StoreError, match="Name a folder of its own"):
        protect([tmp_path / "pipe"])
    assert mode(tmp_path / "pipe") == before


def test_a_folder_of_all_users_keeps_its_rights(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    path = written(tmp_path / "theirs")
    with pytest.raises(StoreError, match="Name a folder of its own"):
        protect([tmp_path])
    assert (mode(tmp_path), mode(path)) == (0o1777, 0o644)
