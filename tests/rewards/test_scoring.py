"""A file of completions is scored line by line, and a bad line is named."""

import json
from pathlib import Path

import pytest

from ratchet.components.errors import DataError
from ratchet.components.graders.rules import build_grader
from ratchet.components.recipe import Numbers
from ratchet.components.report.reward import reward_plot
from ratchet.components.rewards.scoring import score_rows, scored_rows


def test_rows_are_scored_in_order_and_what_cannot_be_judged_is_none(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "completion": "#### 1,000", "answer": "1000.00"},
        {"prompt": "p", "completion": "\u2028#### 2", "answer": "3"},
        {"prompt": "p", "completion": "#### 2"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n\n".join(json.dumps(row, ensure_ascii=False) for row in rows) + "\n", encoding="utf-8")
    scores = score_rows(build_grader(Numbers()), scored_rows(path))
    assert [(score.total, score.parts) for score in scores] == [(1.0, {"verifier": 1.0}), (0.0, {"verifier": 0.0}), (None, {})]


@pytest.mark.parametrize("line", ["{", "[]", '{"prompt": "p"}', '{"prompt": "p", "completion": 5}', "null"])
def test_a_line_that_is_no_completion_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "p", "completion": "c"}\n' + line, encoding="utf-8")
    with pytest.raises(DataError, match="line 2 of"):
        scored_rows(path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read"):
        scored_rows(tmp_path / "absent.jsonl")


def test_curves_are_drawn_where_there_are_any() -> None:
    assert reward_plot({"best_of_n": []}) is None
    points = [{"n": n, "gold": 0.5, "gold_low": 0.4, "gold_high": 0.6, "proxy": 0.7} for n in (1, 2)]
    assert reward_plot({"best_of_n": points, "reliability": [{"confidence": 0.7, "accuracy": 0.6}]})
