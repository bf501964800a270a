"""Whether a version that is made now could be reproduced: the same reasons as ``ratchet reproduce`` gives of one."""

from pathlib import Path

import pytest

from ratchet.components.code import source_code
from ratchet.components.code.constraints import installed_constraints, lock_digest
from ratchet.components.code.source_code import NOT_INSTALLED
from ratchet.components.provenance import outlook as module
from ratchet.components.provenance.match import Here, refusals
from ratchet.components.provenance.outlook import committed, outlook
from ratchet.components.provenance.reasons import Committed, Origin, reasons
from tests.provenance.records import ONE, THREE, TWO, lineage
from tests.provenance.repository import git, new_repository


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project that can be reproduced."""
    path = new_repository(tmp_path / "project")
    (path / "constraints.txt").write_text(installed_constraints(), encoding="utf-8")
    git(path, "commit", "--quiet", "-am", "two")
    return path


def test_a_committed_project_has_no_reason(project: Path) -> None:
    assert (outlook(project, None).reasons, outlook(project, None).remedy) == ([], "")


def test_a_lock_that_git_ignores_is_a_reason_before_the_run_and_after_it(project: Path) -> None:
    git(project, "rm", "--quiet", "--cached", "constraints.txt")
    (project / ".gitignore").write_text(".ratchet/\nconstraints.txt\n", encoding="utf-8")
    git(project, "commit", "--quiet", "-am", "three")
    found = outlook(project, None)
    assert found.said == "constraints.txt is not in git"
    assert found.remedy == "Before a run: take constraints.txt out of .gitignore, commit."
    commit = git(project, "rev-parse", "HEAD")
    code = {**lineage().code.model_dump(), "commit": commit, "release": "1.0"}
    record = lineage(code=code, lock_sha256=lock_digest(project))
    here = Here("lock", None, TWO, committed(project, commit, "", own_code=False))
    assert refusals(record, here) == [f"constraints.txt was not committed in {commit[:12]}"]


def test_a_ratchet_that_is_not_installed_is_a_reason(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "release_beside", lambda _: NOT_INSTALLED)
    assert outlook(project, None).said == "the Ratchet that runs is not installed"


def test_a_clone_whose_code_git_does_not_show_as_changed_is_a_reason(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(source_code, "ROOT", project / "components")
    monkeypatch.setattr(module, "sources_digest", source_code.sources_digest.__wrapped__)
    assert outlook(project, None).reasons == []
    git(project, "update-index", "--assume-unchanged", "components/data/prepare.py")
    (project / "components" / "data" / "prepare.py").write_text("x = 2\n", encoding="utf-8")
    assert outlook(project, None).said.startswith("the code that runs is not that of commit ")


def test_every_reason_has_words_for_before_and_after() -> None:
    many = tuple(f"{number}.py" for number in range(7))
    common = {"sources": ONE, "installed": {"torch": "2"}, "off_lock": {"torch": "3"}, "lacking": ["a"], "local": ["b"]}
    unlike = Committed(sources=TWO, lock=THREE)
    origins = (
        Origin("unknown", many, ["t.csv"], release=NOT_INSTALLED, lock=None, parent_is_registered=False, **common),  # type: ignore[arg-type]
        Origin("c" * 40, (), (), release=None, lock=ONE, committed=unlike, **common),  # type: ignore[arg-type]
        Origin("c" * 40, (), (), release=None, lock=ONE, committed=Committed(ONE, None), **common),  # type: ignore[arg-type]
    )
    found = [[*reasons(origin)] for origin in origins]
    assert [len(one) for one in found] == [9, 5, 4]
    assert all(one.was and one.now for several in found for one in several)
    assert found[0][1].now == "not committed: 0.py, 1.py, 2.py, 3.py, 4.py and 2 more"
