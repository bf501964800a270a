"""Restylings change how an answer looks and nothing else."""

import pytest

from ratchet.components.graders.number import final_number
from ratchet.components.rewards.learned.styles import ALL, MARKERS, restyled

TEXT = "2+3=5\n#### 5"
PAIRS = [{"prompt": "p", "chosen": TEXT, "rejected": "2+3=6\n#### 6"}] * 400


@pytest.mark.parametrize("name", ALL)
def test_a_restyled_answer_has_the_same_final_number(name: str) -> None:
    assert final_number(ALL[name](TEXT), strict=False, last_number=False) == 5


def test_markers_are_written_as_people_write_them() -> None:
    assert [style(TEXT).splitlines()[-1] for style in MARKERS.values()] == ["The answer is 5", "\\boxed{5}"]


def test_a_share_of_the_answers_is_restyled_each_on_its_own() -> None:
    rows = restyled(PAIRS, 0.5, 1)
    changed = [[row[side] != pair[side] for side in ("chosen", "rejected")] for row, pair in zip(rows, PAIRS, strict=True)]
    # Half of 800 answers, plus or minus four standard deviations of sqrt(800 / 4) = 14.1.
    assert abs(sum(map(sum, changed)) - 400) < 57
    assert [True, False] in changed
    assert restyled(PAIRS, 0.0, 1) == PAIRS
