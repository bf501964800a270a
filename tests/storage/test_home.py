"""State lives in one place, which the environment can move."""

from pathlib import Path

import pytest

from ratchet.components.errors import StoreError
from ratchet.components.storage.home import Home, check_version
from ratchet.components.storage.sqlite_files import sqlite_file

VARIABLES = ("RATCHET_HOME", "RATCHET_LEDGER_URL", "MLFLOW_TRACKING_URI")


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_state_is_in_the_project_by_default(project: Path) -> None:
    home = Home.here()
    places = [home.store, home.workspaces, home.locks, home.reports, home.dvc]
    assert {place.parent for place in places} == {project / ".ratchet"}
    assert home.ledger == f"sqlite:///{project}/.ratchet/ledger.db"
    assert home.tracking_uri == f"sqlite:///{project}/mlflow/mlflow.db"


def test_ratchet_home_moves_the_state_and_leaves_the_project(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_HOME", "elsewhere")
    assert Home.here().store == project / "elsewhere" / "store"
    assert Home.here().project == project


def test_an_empty_ratchet_home_counts_as_none(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_HOME", "")
    assert Home.here().state == project / ".ratchet"


def test_servers_are_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RATCHET_LEDGER_URL", "postgresql://ledger")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow")
    assert (Home.here().ledger, Home.here().tracking_uri) == ("postgresql://ledger", "http://mlflow")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("a\nb", "control character"),
        ("a%25b", "MLflow decodes twice"),
        ("a{b}", "DVC takes for a template"),
        ("x" * 200 + "/" + "y" * 200, "more than 400 bytes"),
        ("é" * 90 + "/" + "é" * 90, "more than 400 bytes"),  # 361 characters
        (b"a\xff".decode(errors="surrogateescape"), "not UTF-8"),
    ],
)
def test_faults_a_place_that_a_library_cannot_use_is_rejected_at_once(
    project: Path, monkeypatch: pytest.MonkeyPatch, name: str, reason: str
) -> None:
    (project / name).mkdir(parents=True)
    monkeypatch.chdir(project / name)
    with pytest.raises(StoreError, match=reason) as error:
        Home.here()
    assert str(error.value).endswith("Rename that folder, or move the project.")
    str(error.value).encode()
    monkeypatch.chdir(project)
    monkeypatch.setenv("RATCHET_HOME", name)
    with pytest.raises(StoreError, match=f"{reason}.*RATCHET_HOME"):
        Home.here()


def test_faults_two_databases_never_share_a_file_cut_short_by_a_question_mark(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "a?b #c").mkdir()
    monkeypatch.chdir(project / "a?b #c")
    home = Home.here()
    assert sqlite_file(home.ledger) == project / "a?b #c" / ".ratchet" / "ledger.db"
    assert sqlite_file(home.tracking_uri) == project / "a?b #c" / "mlflow" / "mlflow.db"


def test_the_project_is_that_of_the_nearest_recipe_upwards(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "inner" / "deep").mkdir(parents=True)
    monkeypatch.chdir(project / "inner" / "deep")
    assert Home.here().project == project / "inner" / "deep"
    (project / "ratchet.yaml").touch()
    assert Home.here().state == project / ".ratchet"
    (project / "inner" / "ratchet.yaml").touch()
    assert Home.here().project == project / "inner"


def test_a_repository_below_a_project_is_not_part_of_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "ratchet.yaml").touch()
    (project / ".ratchet" / "checkout" / "inner").mkdir(parents=True)
    (project / ".ratchet" / "checkout" / ".git").touch()  # as in a worktree
    for place in ("checkout", "checkout/inner"):
        monkeypatch.chdir(project / ".ratchet" / place)
        assert Home.here().project == project / ".ratchet" / place


def test_a_state_is_marked_once_and_one_without_a_mark_is_of_the_first_version(tmp_path: Path) -> None:
    home = Home(tmp_path, tmp_path / ".ratchet")
    check_version(home.state)
    home.mark()
    assert (home.state / "version").read_text() == "1\n"
    (home.state / "version").write_text("01")
    home.mark()
    assert (home.state / "version").read_text() == "01"


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"2\n", r"has version 2, of a later release than this one, which knows version 1\..*Upgrade: pip install"),
        (b"one", r"contains 'one', which is not a version\. Write"),
        (b"", "contains '', which is not a version"),
        (b"\xff", r"cannot read .*version.* Make it readable"),
    ],
)
def test_faults_a_state_of_a_later_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, cause: str) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RATCHET_HOME", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "version").write_bytes(content)
    with pytest.raises(StoreError, match=cause):
        Home.here()


def test_a_home_that_is_a_file_is_not_taken_for_a_damaged_state(tmp_path: Path) -> None:
    (tmp_path / "state").touch()
    check_version(tmp_path / "state")  # whoever writes there says what is wrong
