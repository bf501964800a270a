"""A full disk is named before a run begins, and when anything fails on it."""

import errno
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from ratchet.components.errors import RatchetError, StoreError
from ratchet.components.storage import disk
from ratchet.flows import cli, settings
from ratchet.flows.cli import options

MIB = 2**20


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """Free MiB of the disk of each folder, by its name."""
    found: dict[str, int] = {}
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=found[Path(place).name] * MIB))
    return found


def test_faults_too_little_space_is_an_error_with_place_and_figures(tmp_path: Path, free: dict[str, int]) -> None:
    free[tmp_path.name] = 40
    disk.require_space(tmp_path / "not" / "made", 40 * MIB)
    said = r"the disk of .*/made has 40.0 MiB free, and this run writes at least 41 MiB. Free space"
    with pytest.raises(StoreError, match=said):
        disk.require_space(tmp_path / "not" / "made", 41 * MIB)


def from_another(cause: Exception) -> Exception:
    try:
        raise RatchetError("the server did not answer.") from cause
    except RatchetError as error:
        return error


FULL = [
    OSError(errno.ENOSPC, "No space left on device"),
    OSError(errno.EDQUOT, "over"),
    RuntimeError("(sqlite3.OperationalError) database or disk is full"),
    from_another(OSError(errno.ENOSPC, "written")),
]
OTHERS = [RatchetError("the server did not answer."), OSError(errno.ENOENT, "No such file"), from_another(ValueError("a"))]


@pytest.mark.parametrize(("error", "named"), [*((one, True) for one in FULL), *((one, False) for one in OTHERS)])
def test_a_nearly_full_disk_is_named_only_with_an_error_that_says_so(
    tmp_path: Path, free: dict[str, int], error: Exception, named: bool
) -> None:
    free[tmp_path.name] = 1
    assert (disk.shortage(error, [tmp_path]) != "") is named


def test_faults_the_disk_that_is_nearly_full_is_named(tmp_path: Path, free: dict[str, int]) -> None:
    (tmp_path / "wide").mkdir()
    (tmp_path / "full").mkdir()
    free |= {"wide": 1000, "full": 1}
    assert disk.shortage(FULL[0], [tmp_path / "wide"]) == ""
    assert f"The disk of {tmp_path / 'full'} has 1.0 MiB free" in disk.shortage(FULL[0], [tmp_path / "wide", tmp_path / "full"])


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (RatchetError("the server did not answer."), False),
        (OSError("database or disk is full"), True),
        (StoreError("x."), False),
    ],
)
def test_faults_a_command_that_fails_on_a_full_disk_says_so(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception, named: bool
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1.5 * MIB))
    for place, name in ((settings, "apply"), (signal, "signal")):  # which would outlast this test
        monkeypatch.setattr(place, name, Mock())
    monkeypatch.setattr(options, "invocation", options.Invocation())
    monkeypatch.setattr(cli, "app", Mock(side_effect=error))
    with pytest.raises(SystemExit):
        cli.command()
    told = capsys.readouterr().err.splitlines()[-1]
    assert str(error) in told
    assert (f"The disk of {project} has 1.5 MiB free" in told) == named
