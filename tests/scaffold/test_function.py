"""A user's function as the gold: loaded in its own process, and measured by what it says of the first rows."""

from pathlib import Path
from typing import Any

import pytest

from ratchet.components.errors import RecipeError
from ratchet.components.scaffold.function import Inspected, inspected

ROWS = [{"file": "r.jsonl", "row": n, "prompt": f"p{n}", "answer": f"word{n}", "item": {"n": n}} for n in range(6)]


def inspect(tmp_path: Path, source: str) -> Inspected:
    (tmp_path / "graders.py").write_text(source, encoding="utf-8")
    return inspected("graders.py:grade", f"{tmp_path}/graders.py:grade", ROWS)


@pytest.mark.parametrize(
    ("body", "settings"),
    [
        ("float(prediction == target)", {"measure": "binary"}),
        ("len(prediction) / 10", {"passes_at": 0.5}),  # a reference has 5 characters
        ("5 if prediction == target else -2", {"range": [-2.0, 5.0], "passes_at": 5.0}),
        ("0.0", {}),  # not known to be binary, and nothing would be wrong from 0 on
        ("0.2 if prediction == target else 0.5", {}),
        ("0.9 if prediction == target and target != 'word3' else 0.2", {"passes_at": 0.9}),
    ],
)
def test_the_measure_follows_from_the_scores(tmp_path: Path, body: str, settings: dict[str, Any]) -> None:
    found = inspect(tmp_path, f"def grade(prediction, target):\n    return {body}\n")
    assert found.settings == {"file": "graders.py:grade", **settings}
    assert found.signature == "grade(prediction, target), protocol target"
    assert found.faults == []


def test_references_that_score_no_higher_than_nothing_are_counted(tmp_path: Path) -> None:
    found = inspect(tmp_path, "def grade(prediction, target):\n    return float(prediction == target.upper())\n")
    assert (found.settings, found.low, found.references) == ({"file": "graders.py:grade"}, 6, 6)


def test_without_references_nothing_is_known_of_what_is_right(tmp_path: Path) -> None:
    (tmp_path / "graders.py").write_text("def grade(sample, item):\n    return float(bool(sample['output_text']))\n")
    rows = [{**row, "answer": None} for row in ROWS]
    assert inspected("graders.py:grade", f"{tmp_path}/graders.py:grade", rows).settings == {"file": "graders.py:grade"}


def test_calls_that_fail_are_told_once(tmp_path: Path) -> None:
    found = inspect(tmp_path, "def grade(sample, item):\n    return 1 / len(sample['output_text'])\n")
    assert len(found.faults) == 1
    assert "ZeroDivisionError" in found.faults[0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def grade(sample, item): return item['no such column']\n",
            "failed on each answer to the first row, whose item has 'n': raised: KeyError",
        ),
        ("import nothing_like_it\n", "nothing_like_it"),
        ("def grad(sample, item): return 1\n", "has no 'grade'"),
        ("def grade(a, b, c, d): return 1\n", "no known protocol"),
        ("raise SystemExit(0)\n", "cannot be imported"),
        ("def grade(:\n", "Correct the file"),
    ],
)
def test_faults_a_function_that_cannot_be_used_is_refused_as_bad_usage(tmp_path: Path, source: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        inspect(tmp_path, source)


def test_faults_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"none\.py"):
        inspected("none.py:grade", f"{tmp_path}/none.py:grade", ROWS)
    with pytest.raises(RecipeError, match="names no function"):
        inspected("none.py", "none.py", ROWS)
