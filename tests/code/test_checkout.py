"""What git knows of a project: the commit, every difference from it, and checkouts beside it."""

import hashlib
from pathlib import Path

import pytest

from ratchet.components.code import checkout, source_code
from ratchet.components.code.checkout import CodeState, code_state
from ratchet.components.errors import RegistryError
from tests.provenance.repository import git, new_repository


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return new_repository(tmp_path / "project")


def test_code_as_committed_has_a_commit_and_no_difference(repository: Path) -> None:
    state = code_state(repository)
    assert (state.commit, state.changed, state.difference_digest) == (git(repository, "rev-parse", "HEAD"), (), None)


def test_outside_a_repository_nothing_is_known(tmp_path: Path) -> None:
    assert code_state(tmp_path) == CodeState("unknown")


def test_an_edit_and_a_new_file_are_named_and_hashed(repository: Path) -> None:
    (repository / "components" / "data" / "prepare.py").write_text("x = 2\n", encoding="utf-8")
    (repository / "notes.txt").write_text("new", encoding="utf-8")
    state = code_state(repository)
    assert state.changed == ("components/data/prepare.py", "notes.txt")
    assert "-x = 1\n+x = 2" in state.difference
    assert state.difference_digest == hashlib.sha256(state.difference.encode()).hexdigest()


def test_faults_data_are_not_uncommitted_code(repository: Path) -> None:
    """They are recorded by content: a night's champion made from added rows can be rebuilt."""
    for name in (
        "data.dvc",
        "data.mine.dvc",
        "data/train.jsonl",
        "data.mine/dev.jsonl",
        ".dvc/config",
        "new/rows.jsonl",
        "a.csv",
    ):
        (repository / name).parent.mkdir(exist_ok=True)
        (repository / name).write_text("x", encoding="utf-8")
    assert code_state(repository) == CodeState(git(repository, "rev-parse", "HEAD"))
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "-m", "two")
    for name in ("data.dvc", "data/train.jsonl", "a.csv", "new/rows.jsonl"):
        (repository / name).write_text("y", encoding="utf-8")
    code_state.cache_clear()
    assert not code_state(repository).changed
    assert code_state(repository).tables == ("a.csv", "new/rows.jsonl")  # what no recipe names may be read by a grader
    assert code_state(repository / "new").tables == ("rows.jsonl",)
    for name in ("components/data/train.py", "data.py", "new/rows.py"):
        (repository / name).write_text("x", encoding="utf-8")
    code_state.cache_clear()
    assert code_state(repository).changed == ("components/data/train.py", "data.py", "new/rows.py")


def test_a_difference_that_is_not_utf8_is_no_error(repository: Path) -> None:
    (repository / "constraints.txt").write_bytes(b"\xff\xfe latin\n")
    assert code_state(repository).changed


def test_where_git_cannot_tell_the_code_does_not_count_as_committed(repository: Path) -> None:
    (repository / ".git" / "index").write_bytes(b"damaged")
    assert code_state(repository).changed


def test_a_project_below_the_root_knows_its_folder(repository: Path) -> None:
    assert code_state(repository / "components" / "data").folder == "components/data"


def test_the_state_is_that_of_the_process_start(repository: Path) -> None:
    before = code_state(repository)
    (repository / "constraints.txt").write_text("edited while the run continues", encoding="utf-8")
    assert code_state(repository) == before


def test_the_code_of_a_commit_hashes_as_the_code_that_runs(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "ROOT", repository / "components")
    running = source_code.sources_digest.__wrapped__()
    assert checkout.committed_code_digest(repository, git(repository, "rev-parse", "HEAD")) == running


@pytest.mark.parametrize("commit", ["0" * 40, "--output=x", "HEAD", "../x"])
def test_what_is_no_commit_of_the_repository_is_not_there(repository: Path, commit: str) -> None:
    assert not checkout.has_commit(repository, commit)
    with pytest.raises(RegistryError, match="git fetch"):
        checkout.add_worktree(repository, commit, repository / ".ratchet" / "code")


def test_a_worktree_has_the_commit_and_leaves_no_trace(repository: Path) -> None:
    commit = git(repository, "rev-parse", "HEAD")
    (repository / "constraints.txt").write_text("edited later", encoding="utf-8")
    target = repository / ".ratchet" / "code"
    checkout.add_worktree(repository, commit, target)
    assert (target / "constraints.txt").read_text(encoding="utf-8") == "numpy==2.1.0\n"
    checkout.remove_worktree(repository, target)
    assert not target.exists()
    assert len(git(repository, "worktree", "list").splitlines()) == 1


def test_a_checkout_runs_no_hook(repository: Path) -> None:
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.write_text("#!/bin/sh\ntouch hooked\n", encoding="utf-8")
    hook.chmod(0o755)
    target = repository / ".ratchet" / "code"
    checkout.add_worktree(repository, git(repository, "rev-parse", "HEAD"), target)
    assert not (target / "hooked").exists()
