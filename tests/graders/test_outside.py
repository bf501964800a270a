"""Users' functions as graders, in the worker's process: from the recipe's words to grades, digests and refusals."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ratchet.components.code.checkout import add_worktree
from ratchet.components.code.user_sources import source_digests
from ratchet.components.errors import RatchetError, RecipeError
from ratchet.components.graders.build import build_grader
from ratchet.components.graders.protocol import Grade, Grader
from ratchet.components.graders.verdicts import Scorer
from ratchet.components.recipe import GraderSettings
from tests.provenance.repository import git

ADAPTER: TypeAdapter[Any] = TypeAdapter(GraderSettings)
ROW = {"id": "r1", "prompt": "p", "answer": "Oslo", "item": {"town": "Oslo"}}
GRADERS = """
from helpers.texts import norm

def grade(sample, item):
    return 5.0 if norm(sample["output_text"]) == norm(item["town"]) else 1.0

def reward(completions, town, **kwargs):
    return [None if text == "?" else float(text == place) for text, place in zip(completions, town)]
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "helpers").mkdir()
    (tmp_path / "helpers" / "texts.py").write_text("from .more import low\nnorm = low\n", encoding="utf-8")
    (tmp_path / "helpers" / "more.py").write_text("def low(text):\n    return text.lower()\n", encoding="utf-8")
    (tmp_path / "graders.py").write_text(GRADERS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def built(**settings: Any) -> Grader:
    return build_grader(ADAPTER.validate_python(settings), "graders.right.file")


def grades(grader: Grader, *completions: str) -> list[tuple[float | None, bool | None]]:
    found = grader(["p"] * len(completions), completions, [ROW] * len(completions))
    return [(grade.score, grade.passed) for grade in found]


def test_a_file_of_the_project_grades_and_its_range_becomes_0_to_1(project: Path) -> None:
    grader = built(file="graders.py:grade", range=[1.0, 5.0], passes_at=3.0)
    assert grades(grader, "OSLO", "Bergen") == [(1.0, True), (0.0, False)]
    assert grader.measure.kind == "bounded"


@pytest.mark.parametrize("score", [3.0, -1.0])
def test_user_faults_a_score_beyond_the_range_is_neither_clipped_nor_judged(project: Path, score: float) -> None:
    (project / "graders.py").write_text(f"def grade(sample, item): return {score}\n", encoding="utf-8")
    (grade,) = built(file="graders.py:grade")(["p"], ["x"], [ROW])
    assert (grade.score, grade.passed, grade.fault) == (None, None, "protocol")
    assert f"a score of {score:g}, not 0 to 1. Correct range" in grade.reason


def test_a_function_of_trl_grades_and_none_stays_none(project: Path) -> None:
    assert grades(built(file="graders.py:reward", measure="binary"), "Oslo", "?", "x") == [
        (1.0, True),
        (None, None),
        (0.0, False),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def grade(sample, item)\n    return 1", r"graders\.right\.file 'graders\.py:grade' .*SyntaxError.*line 1"),
        ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
        ("def other(sample, item): return 1\n", "has no 'grade'"),
        ("grade = 3\n", "not a function"),
        ("def grade(text): return 1\n", r"grade\(text\) is a function of no known protocol"),
        ("raise SystemExit(0)\n", "SystemExit"),
    ],
)
def test_user_faults_a_file_that_cannot_be_used_names_the_key_and_the_file(project: Path, text: str, message: str) -> None:
    (project / "graders.py").write_text(text, encoding="utf-8")
    with pytest.raises(RatchetError, match=message):
        grades(built(file="graders.py:grade"), "x")


def test_user_faults_a_file_that_is_not_there_is_refused_before_anything_runs(project: Path) -> None:
    with pytest.raises(RecipeError, match=r"there is no 'none\.py'"):
        built(file="none.py:grade")
    with pytest.raises(ValidationError, match="file"):
        built(file="graders.py")


def test_user_faults_a_score_out_of_its_range_is_a_fault_and_not_clipped() -> None:
    def scored(score: float, **options: Any) -> Grade:
        measure = options.pop("measure", built(type="exact").measure)
        return Scorer(lambda *_: [Grade(score)], "d", measure, **options)(["p"], ["c"], [{}])[0]

    assert scored(1.0) == Grade(1.0, passed=True)
    assert (scored(0.5).score, scored(0.5).fault) == (None, "protocol")
    bounded = built(type="length", longest=3).measure
    assert scored(0.5, measure=bounded) == Grade(0.5)
    assert scored(2.0, measure=bounded, span=(0.0, 4.0), passes_at=2.0) == Grade(0.5, passed=True)
    assert scored(1.5, measure=bounded).fault == scored(-0.1, measure=bounded).fault == "protocol"


def test_sources_are_followed_through_the_projects_imports(project: Path) -> None:
    before = source_digests("graders.py:grade")
    assert sorted(before) == ["graders.py", "helpers/more.py", "helpers/texts.py"]
    (project / "unrelated.py").write_text("x = 1\n", encoding="utf-8")
    assert source_digests("graders.py:grade") == before


def test_the_digest_is_of_sources_function_and_parameters_and_not_of_limits(project: Path) -> None:
    def digest(**change: Any) -> str:
        return built(**{"file": "graders.py:grade", **change}).digest

    before = digest()
    assert digest(limits={"seconds": 3.0}) == before
    assert len({before, digest(file="graders.py:reward"), digest(passes_at=0.5), digest(protocol="openai")}) == 4
    (project / "helpers" / "more.py").write_text("def low(text):\n    return text.upper()\n", encoding="utf-8")
    assert digest() != before


def test_a_file_that_a_function_reads_is_part_of_its_digest_where_the_recipe_names_it(project: Path) -> None:
    (project / "towns.csv").write_text("Oslo", encoding="utf-8")
    before = [built(file="graders.py:grade", **more).digest for more in ({}, {"files": []}, {"files": ["towns.csv"]})]
    assert before[0] == before[1] != before[2]
    (project / "towns.csv").write_text("Oslo, Bergen", encoding="utf-8")
    assert built(file="graders.py:grade").digest == before[0]
    assert built(file="graders.py:grade", files=["towns.csv"]).digest != before[2]
    (project / "towns.csv").unlink()
    with pytest.raises(RecipeError, match=r"files of graders\.right\.file: there is no file 'towns\.csv' in"):
        built(file="graders.py:grade", files=["towns.csv"])


@pytest.mark.parametrize("name", ["/etc/hosts", "../towns.csv", ""])
def test_a_file_that_a_function_reads_is_in_the_project(name: str) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python({"file": "graders.py:grade", "files": [name]})


def test_a_checkout_below_the_project_grades_with_its_own_function(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit without a ratchet.yaml, as ``ratchet reproduce`` checks it out, within a project that has one now."""
    source = "def grade(sample, item):\n    return {score}\n"
    (project / "graders.py").write_text(source.format(score=0.0), encoding="utf-8")
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "-m", "one"]):
        git(project, *arguments)
    commit = git(project, "rev-parse", "HEAD")
    (project / "ratchet.yaml").write_text("name: m\n", encoding="utf-8")
    (project / "graders.py").write_text(source.format(score=1.0), encoding="utf-8")
    today = built(file="graders.py:grade")
    assert grades(today, "") == [(1.0, None)]
    code = project / ".ratchet" / "workspaces" / "reproduce" / "code"
    add_worktree(project, commit, code)
    monkeypatch.chdir(code)
    then = built(file="graders.py:grade")
    assert grades(then, "") == [(0.0, None)]
    assert then.digest != today.digest
