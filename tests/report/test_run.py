"""The report: everything untrusted is escaped, nothing sealed is shown, nothing is fetched."""

import base64
import re

import pytest
from jinja2 import UndefinedError

from ratchet.components.report.run import confusion_tables, dev_rows, interval_text, place_rows, render, training_plot
from ratchet.components.run.told import Told
from ratchet.components.text import MAX_TEXT

FIGURE = {"value": 0.912, "low": 0.88, "high": 0.936, "n": 400}
ARM = {"accuracy": FIGURE, "format_rate": FIGURE, "length": FIGURE, "kl": FIGURE}
SUMMARY = {f"{arm}_{decoding}": ARM for arm in ("incumbent", "challenger") for decoding in ("sampled", "greedy")}
POINTS = [(step, {"reward": 0.1 * step, "entropy": 1.0}) for step in range(5)]
SCRIPT = "<script>alert(1)</script>"
VALUES = {
    "told": Told("Version 3 answers 94 of 100 unseen examples right.", "The gain is 3.", "Promoted.", "Serve it."),
    "name": "quickstart",
    "algorithm": "grpo",
    "seed": 7,
    "dataset": "d41d8cd9",
    "base": "org/model, fine-tuned on 7 demonstrations",
    "status": "promoted",
    "tone": "good",
    "headline": "Promoted",
    "stop": None,
    "reasons": ["every rule held"],
    "dev": dev_rows(SUMMARY),
    "places": [],
    "sealed": None,
    "reward": {"kind": "mix", "passed": True, "checks": [
        {"name": "pair accuracy", "value": "0.91", "threshold": "0.75", "state": "passed", "advice": "more pairs"},
        {"name": "length", "value": "0.8", "threshold": "0.5", "state": "failed", "advice": "shorten"},
    ]},
    "tables": [("train", 100)],
    "kept": [],
    "samples": [{"prompt": "1 + 1", "completion": "#### 2", "passed": True, "score": 1.0}],
    "stages": [{"name": "prepare", "key": "abc", "cached": True, "seconds": 1.0}],
}  # fmt: skip


def test_the_page_begins_with_what_happened() -> None:
    page = render(VALUES, [])
    places = [page.index(said) for said in ("<h1>", *VALUES["told"], "Base model")]  # type: ignore[misc]
    assert places == sorted(places)


@pytest.mark.parametrize("part", range(4))
def test_a_script_in_a_sentence_is_only_text(part: int) -> None:
    told = Told(*[SCRIPT if number == part else "" for number in range(4)])
    assert "<script" not in render({**VALUES, "told": told}, [])


@pytest.mark.parametrize("where", ["name", "algorithm", "dataset", "base", "headline", "stop"])
def test_a_script_in_a_value_is_only_text(where: str) -> None:
    page = render({**VALUES, where: SCRIPT}, [])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "values",
    [
        {"samples": [{"prompt": SCRIPT, "completion": "", "passed": False, "score": 0.0}]},
        {"samples": [{"prompt": "", "completion": SCRIPT, "passed": False, "score": 0.0}]},
        {"reasons": [SCRIPT]},
        {"tables": [(SCRIPT, 1)]},
        {"stages": [{"name": SCRIPT, "key": "k", "cached": False, "seconds": 1}]},
        {"reward": {"kind": SCRIPT, "passed": False, "checks": []}},
        {"sealed": {"fold": SCRIPT, "rows": [{"label": SCRIPT, "before": SCRIPT, "after": SCRIPT}], "reasons": [SCRIPT]}},
    ],
)
def test_a_script_in_a_list_is_only_text(values: dict[str, object]) -> None:
    page = render({**VALUES, **values}, [])
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_a_sample_is_shown_through_visible() -> None:
    page = render({**VALUES, "samples": [{"prompt": "p", "completion": "\u202eabc\x07", "passed": False, "score": 0.0}]}, [])
    assert "\\u202eabc\\u0007" in page
    assert "\u202e" not in page


@pytest.mark.parametrize("where", ["name", "headline", "stop"])
def test_characters_that_nobody_would_see_are_written_out(where: str) -> None:
    page = render({**VALUES, where: "\u202eabc"}, [])
    assert "\\u202eabc" in page
    assert "\u202e" not in page


def test_an_image_is_whole_however_long() -> None:
    (image,) = re.findall(r'data:image/svg\+xml;base64,([^"]*)"', render(VALUES, POINTS))
    assert len(image) > MAX_TEXT
    assert base64.b64decode(image).rstrip().endswith(b"</svg>")


def test_the_page_may_load_nothing() -> None:
    page = render(VALUES, POINTS)
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_sealed_figures_are_shown_only_when_they_are_given() -> None:
    sealed = {
        "fold": "sealed_0",
        "rows": [{"label": "p-value", "before": "", "after": "1.23e-05"}],
        "reasons": ["primary: held"],
    }
    assert "now retired" not in render(VALUES, [])
    page = render({**VALUES, "sealed": sealed}, [])
    assert "(sealed_0, now retired)" in page
    assert "1.23e-05" in page


def test_a_run_without_training_has_no_plot() -> None:
    assert training_plot([]) is None
    assert "<h2>Training</h2>" not in render(VALUES, [])


def test_a_single_point_is_no_curve() -> None:
    assert training_plot(POINTS[:1]) is None


def test_the_training_curves_are_part_of_the_page() -> None:
    page = render(VALUES, POINTS)
    assert "<h2>Training</h2>" in page
    assert "data:image/svg+xml;base64," in page


def test_the_report_of_a_run_that_ended_early_can_be_rendered() -> None:
    page = render({**VALUES, "status": "reward_refused", "tone": "bad", "dev": [], "samples": []}, [])
    assert "verdict bad" in page
    assert "Accuracy on the dev split" not in page


CONFUSION = {
    "incumbent_sampled": {"labels": ["a", SCRIPT], "counts": [[3, 1, 0], [0, 0, 0]]},
    "challenger_sampled": {"labels": ["a", SCRIPT], "counts": [[4, 0, 0], [0, 0, 0]]},
}


def test_a_confusion_matrix_is_a_table_for_each_arm() -> None:
    before, after = confusion_tables(CONFUSION)
    assert (before["when"], after["when"]) == ("before", "after")
    assert before["rows"][0] == {"label": "a", "counts": [(3, True), (1, False), (0, False)], "recall": "0.750"}
    assert before["rows"][1]["recall"] == "-"
    page = render({**VALUES, "confusion": [before, after]}, [])
    assert page.count("Confusion on dev") == 2
    assert "<script" not in page


def test_without_labels_or_with_too_many_there_is_no_confusion_matrix() -> None:
    many = {"challenger_sampled": {"labels": [str(n) for n in range(21)], "counts": [[1] * 22] * 21}}
    assert confusion_tables({}) == confusion_tables(many) == []
    assert "Confusion on dev" not in render(VALUES, [])


def test_a_failed_check_comes_with_its_advice() -> None:
    shown = render(VALUES, [])
    assert "failed" in shown
    assert "shorten" in shown
    assert "more pairs" not in shown


def test_faults_of_counting_the_report_says_what_was_not_measured() -> None:
    checks = [{"name": "sycophancy", "value": "none", "threshold": "0.25", "state": "not measured", "advice": "claims"}]
    shown = render(
        {**VALUES, "reward": {**VALUES["reward"], "checks": checks, "counts": "0 of 0 checks passed, 1 not measured"}}, []
    )
    assert ">not measured</td>" in shown
    assert "0 of 0 checks passed, 1 not measured" in shown


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render({k: v for k, v in VALUES.items() if k != "headline"}, [])


def test_dev_rows_set_before_beside_after() -> None:
    rows = dev_rows(SUMMARY)
    assert interval_text(FIGURE) == "0.912 (0.880 to 0.936)"
    assert len(rows) == 5
    assert rows[0] == {"label": "sampled accuracy", "before": interval_text(FIGURE), "after": interval_text(FIGURE)}


def test_a_stop_is_shown_with_its_reason() -> None:
    assert "Training was stopped" not in render(VALUES, [])
    assert "<div>length (24.7, limit 21.4)</div>" in render({**VALUES, "stop": "length (24.7, limit 21.4)"}, [])


def test_the_proxy_is_drawn_beside_gold() -> None:
    gold = [(step, {"eval_sampled_accuracy": 0.5}) for step in range(3)]
    both = [(step, {**values, "eval_proxy": float(step)}) for step, values in gold]
    alone, beside = training_plot(gold), training_plot(both)
    assert alone and beside
    assert b"#b3261e" in beside and b"#b3261e" not in alone


def test_measures_of_one_arm_alone_have_a_dash() -> None:
    summary = {**SUMMARY, "challenger_sampled": {**ARM, "kl_incumbent": FIGURE, "pass@2": {**FIGURE, "low": None}}}
    rows = {row["label"]: row for row in dev_rows(summary)}
    assert rows["KL to the incumbent (nats per completion)"]["before"] == "-"
    assert rows["pass@2"]["after"] == "0.912"


def test_an_arm_whose_scores_are_all_0_or_1_stands_beside_one_with_others() -> None:
    figure = {"value": 0.0, "low": None, "high": None, "n": 4}
    before = {"accuracy": figure}
    after = {"gold": {**figure, "value": 0.5}, "accuracy": figure}
    summary = {
        f"{arm}_{how}": each for arm, each in (("incumbent", before), ("challenger", after)) for how in ("sampled", "greedy")
    }
    first = dev_rows(summary)[0]
    assert first == {"label": "sampled mean score of the gold", "before": "0.000", "after": "0.500"}


def test_slices_and_benchmarks_have_rows_of_their_own() -> None:
    places = place_rows({"slice long": SUMMARY, "benchmark school": SUMMARY})
    assert [row["label"] for row in places] == ["slice long (400 answers)", "benchmark school (400 answers)"]
    assert "benchmark school" in render({**VALUES, "places": places}, [])
