"""From a recipe's settings to a grader that judges: what each kind measures, its digest, and settings that are refused."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from ratchet.components.errors import RecipeError
from ratchet.components.graders import build
from ratchet.components.graders.build import build_grader
from ratchet.components.recipe import GraderSettings

ADAPTER: TypeAdapter[Any] = TypeAdapter(GraderSettings)
LABEL = {"type": "label", "labels": ["a", "b"]}
MATCH = {"type": "json_match", "fields": {"total": {"number": {"abs": 0.01}}, "date": "date", "lines": {"list": "unordered"}}}
SIMILAR = {"type": "text_similarity", "metric": "rouge_l"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with closing(sqlite3.connect(tmp_path / "shop.sqlite")) as shop:
        shop.executescript("CREATE TABLE t (x); INSERT INTO t VALUES (1)")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def graded(settings: dict[str, Any], completion: str, row: dict[str, Any]) -> tuple[float | None, bool | None, str]:
    grader = build_grader(ADAPTER.validate_python(settings))
    (grade,) = grader(["p"], [completion], [row])
    return grade.score, grade.passed, grader.measure.kind


def test_each_kind_is_built_from_its_settings(project: Path) -> None:
    row = {"answer": '{"total": 1.0, "date": "2026-03-01", "lines": [1, 2]}'}
    assert graded(LABEL, "A", {"answer": "a"}) == (1.0, True, "binary")
    assert graded({**LABEL, "weights": {"a": 1.0, "b": 2.0}}, "A", {"answer": "a"}) == (0.5, True, "bounded")
    assert graded(MATCH, '{"total": 1.01, "date": "2026-03-01T08:00", "lines": [2, 1]}', row) == (1.0, True, "bounded")
    assert graded({**MATCH, "score": "all"}, "{}", row) == (0.0, False, "binary")
    assert graded(SIMILAR, "one two", {"answer": "one three"}) == (0.5, None, "bounded")
    assert graded({**SIMILAR, "metric": "chrf"}, "a\nb", {"answer": "a b"}) == (1.0, None, "bounded")
    sql = {"type": "sql", "database": "shop.sqlite"}
    assert graded(sql, "SELECT count(*) FROM t", {"answer": "SELECT 1"}) == (1.0, True, "binary")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "label", "labels": ["a", " A "]}, "two labels are the same"),
        ({**LABEL, "weights": {"a": 1.0}}, "one entry per label"),
        ({**LABEL, "weights": "balanced"}, "weights: Value error, balanced is for the grader that gold.grader names"),
        ({**LABEL, "reference": "{{sample.output_text}}"}, "cannot read the completion"),
        ({**LABEL, "reference": "{{item.a | upper}}"}, "is not a path"),
        ({**MATCH, "fields": {"total": "money"}}, "fields.total.by"),
        ({**MATCH, "fields": {"total": {"number": {"abs": -1.0}}}}, "fields.total.abs"),
        ({"type": "text_similarity", "metric": "cosine"}, "it needs an embedding model"),
        ({"type": "text_similarity", "metric": "meteor"}, "it needs WordNet"),
        ({"type": "text_similarity", "metric": "bleu"}, "use gleu"),
        ({"type": "sql", "database": "x", "dialect": "../x"}, "is not the name of a dialect"),
    ],
)
def test_settings_faults_are_refused_with_the_key(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ADAPTER.validate_python(settings)
    said = "; ".join(f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}" for error in refused.value.errors())
    assert message in said


def test_settings_faults_a_dialect_without_its_library_names_the_extra(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise build.PackageNotFoundError(name)

    monkeypatch.setattr(build, "version", missing)
    with pytest.raises(RecipeError, match=r"needs sqlglot. Install it: pip install 'ratchet-rl\[sql\]'"):
        build_grader(ADAPTER.validate_python({"type": "sql", "database": "shop.sqlite", "dialect": "postgres"}))


@pytest.mark.parametrize("change", [{"reference": "{{item.other}}"}, {"take": "last_line"}, {"labels": ["a", "c"]}])
def test_a_digest_changes_with_every_parameter(change: dict[str, Any]) -> None:
    digests = {build_grader(ADAPTER.validate_python(settings)).digest for settings in (LABEL, {**LABEL, **change})}
    assert len(digests) == 2


def test_a_digest_changes_with_the_database_and_not_with_limits_that_only_fail(project: Path) -> None:
    def digest(**change: Any) -> str:
        return build_grader(ADAPTER.validate_python({"type": "sql", "database": "shop.sqlite", **change})).digest

    before = digest()
    assert digest(seconds=5.0) == before
    assert digest(steps=5) != before
    with closing(sqlite3.connect(project / "shop.sqlite")) as shop:
        shop.executescript("INSERT INTO t VALUES (2)")
    assert digest() != before
