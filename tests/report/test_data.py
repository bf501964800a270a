"""The data report counts every step, draws without scripts, and shows untrusted text as text."""

import re
from pathlib import Path
from typing import Any

import pytest

from ratchet.components.data.prepare import prepare
from ratchet.components.recipe import Data
from ratchet.components.report.charts import bars, histogram
from ratchet.components.report.data import recalled, render

SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def facts(tmp_path: Path) -> dict[str, Any]:
    """The facts of a small version with one hostile file."""
    lines = [f"How many is {n} and {n}?,#### {2 * n}" for n in range(200)]
    odd = f"{SCRIPT} \u202eabc and more,#### {SCRIPT}\u202e 5"
    (tmp_path / "a.csv").write_text("\n".join(["question,answer", *lines, lines[0], odd]), encoding="utf-8")
    (tmp_path / "data").mkdir()
    checks = {"answers": "text"}
    return prepare(Data.model_validate({"source": str(tmp_path / "a.csv"), "checks": checks}), tmp_path / "data").facts


def test_the_report_counts_and_explains(facts: dict[str, Any]) -> None:
    page = render("mine", "0123.dir", facts)
    assert "202 rows read" in page
    assert "exact duplicates" in page
    assert "a.csv, row 201" in page
    assert "bidirectional override" in page
    assert page.count("<svg") == 2 + len(facts["lengths"])


def test_untrusted_text_is_only_text(facts: dict[str, Any]) -> None:
    facts["steps"][0]["examples"] = [{"file": SCRIPT, "row": 1, "text": f"{SCRIPT}\u202e", "why": SCRIPT}]
    facts["answers"]["top"] = [[SCRIPT + "\u202e", 3]]
    page = render(SCRIPT, "0123.dir", facts)
    assert "<script" not in page
    assert "\u202e" not in page
    assert "\\u202e" in page


def test_the_page_may_load_nothing(facts: dict[str, Any]) -> None:
    page = render("mine", "0123.dir", facts)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert "script-src" not in page
    assert not re.search(r"(?:src|href)=|url\(", page)


def test_a_version_that_was_restored_still_has_its_counts(facts: dict[str, Any]) -> None:
    summary = {"raw_rows": 202, "dropped": {"duplicates": 7}, "rows": {}}
    kept = {name: facts[name] for name in ("lengths", "answers", "tables")}
    assert re.search(
        r"<td>duplicates</td>.*\s*<td class=\"number\">7</td>", render("mine", "0123.dir", {**kept, **recalled(summary)})
    )


def test_charts_of_nothing_and_of_hostile_labels_are_drawn() -> None:
    assert "&lt;script&gt;" in bars([(SCRIPT, 0)], "name")
    assert histogram([1, 2], [0], SCRIPT).count("<script") == 0
