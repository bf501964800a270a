"""The report: everything untrusted is escaped, nothing sealed is shown, nothing is fetched."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from ratchet.components.report.checks import shown_checks
from ratchet.components.report.reward import reward_plots
from ratchet.components.report.run import confusion_tables, dev_rows, interval_text, place_rows, render, training_plot
from ratchet.components.report.samples import Answer, Pair, grouped
from ratchet.components.report.theme import FILTER
from ratchet.components.run.changes import Changes, Row
from ratchet.components.run.told import Told
from ratchet.components.text import MAX_TEXT

FIGURE = {"value": 0.912, "low": 0.88, "high": 0.936, "n": 400}
ARM = {"accuracy": FIGURE, "format_rate": FIGURE, "length": FIGURE, "kl": FIGURE}
SUMMARY = {f"{arm}_{decoding}": ARM for arm in ("incumbent", "challenger") for decoding in ("sampled", "greedy")}
POINTS = [(step, {"reward": 0.1 * step, "entropy": 1.0}) for step in range(5)]
SCRIPT = "<script>alert(1)</script>"
PASSED = {"name": "pair_accuracy", "value": 0.91, "low": 0.9, "high": 0.92, "threshold": 0.65, "state": "passed",
          "advice": "pairs!", "detail": "of 100 pairs", "waived": None}  # fmt: skip
FAILED = {
    **PASSED,
    "name": "length_correlation",
    "value": 0.8,
    "low": None,
    "high": None,
    "state": "failed",
    "advice": "shorten",
}


def pair(prompt: str, before: str, after: str, reference: str | None = "#### 2") -> Pair:
    """An answer that was wrong and is right."""
    return Pair("a", prompt, reference, Answer(before, 0.0, False, None), Answer(after, 1.0, True, None))


VALUES: dict[str, Any] = {
    "told": Told("Version 3 answers 94 of 100 unseen examples right.", "The gain is 3.", "Promoted.", "Serve it."),
    "effect": None,
    "picture": None,
    "name": "quickstart",
    "run_id": "0123",
    "when": "2026-11-27 11:23 UTC",
    "links": [("All runs", "index.html")],
    "tone": "good",
    "dataset": "d41d8cd9",
    "stop": None,
    "reasons": ["every rule held"],
    "tested": None,
    "rival": "version 2",
    "changes": Changes("2", [Row("Seed", "7", "8"), Row("Code", "abc", "abc")]),
    "dev": dev_rows(SUMMARY),
    "confusion": [],
    "places": [],
    "sealed": None,
    "reward": {"kind": "mix", "passed": True, "counts": "1 of 2 checks passed", "waived": {}, "advice": {}, "chosen_k": 8,
               "mutation_score": None},
    "checks": shown_checks([PASSED, FAILED]),
    "plots": [],
    "chosen_step": 3,
    "tables": [("train", "100")],
    "kept": [],
    "offered": False,
    "groups": grouped([pair("1 + 1", "#### 3", "#### 2")]),
    "stages": [{"name": "prepare", "title": "prepare the data", "key": "abc", "cached": True, "seconds": 1.0}],
    "spent": [("Tokens sampled in training", "143,656")],
    "facts": [("Base model", "org/model, fine-tuned on 7 demonstrations")],
    "recipe": "name: quickstart\ntrain:\n  k: 8\n",
}  # fmt: skip


def scripts(page: str) -> list[str]:
    """What the page would run."""
    return re.findall(r"<script>(.*?)</script>", page, re.DOTALL)


class Reader(HTMLParser):
    """Notes the elements of a page with the names of their attributes, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: set[tuple[str, tuple[str, ...]]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add((tag, tuple(name for name, _ in attrs)))


def elements(page: str) -> set[tuple[str, tuple[str, ...]]]:
    reader = Reader()
    reader.feed(page)
    return reader.found


def test_the_page_begins_with_what_happened() -> None:
    page = render(VALUES, []).split("</head>")[1]
    places = [page.index(said) for said in ("<h1>", *VALUES["told"], "What changed since version 2")]
    assert places == sorted(places)


def test_what_did_not_change_is_named_in_one_line() -> None:
    page = render(VALUES, [])
    assert "Unchanged: Code." in page
    assert page.count("<td>Seed</td>") == 1
    assert "<td>Code</td>" not in page
    assert "Unchanged" not in render({**VALUES, "changes": Changes("2", [Row("Seed", "7", "8")])}, [])


@pytest.mark.parametrize(("tested", "said"), [("REJECT", "and was not convinced"), ("PROMOTE", "that stay hidden. Figures")])
def test_a_test_whose_figures_are_sealed_has_its_heading(tested: str, said: str) -> None:
    page = render({**VALUES, "tested": tested}, [])
    assert page.index("<h2>The test on unseen examples</h2>") < page.index(said) < page.index("In the gate's own words")


def test_a_figure_of_the_whole_comparison_spans_both_columns() -> None:
    rows = [
        {"label": "accuracy", "before": "0.6", "after": "0.9"},
        {"label": "p-value of the test", "before": "", "after": "0.01"},
    ]
    page = render({**VALUES, "sealed": {"fold": "sealed_1", "rows": rows, "reasons": []}}, [])
    assert '<td class="number both" colspan="2">0.01</td>' in page
    assert '<td class="number">0.6</td><td class="number">0.9</td>' in page


@pytest.mark.parametrize("part", range(4))
def test_a_script_in_a_sentence_is_only_text(part: int) -> None:
    told = Told(*[SCRIPT if number == part else "" for number in range(4)])
    assert scripts(render({**VALUES, "told": told}, [])) == [FILTER]


@pytest.mark.parametrize("where", ["name", "run_id", "when", "dataset", "rival", "stop", "recipe"])
def test_a_script_in_a_value_is_only_text(where: str) -> None:
    page = render({**VALUES, where: SCRIPT}, [])
    assert scripts(page) == [FILTER]
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "values",
    [
        {"groups": grouped([pair(SCRIPT, "", "")])},
        {"groups": grouped([pair("", SCRIPT, "")])},
        {"groups": grouped([pair("", "", SCRIPT)])},
        {"groups": grouped([pair("", "", "", SCRIPT)])},
        {"checks": shown_checks([{**FAILED, "name": SCRIPT}])},
        {"checks": shown_checks([{**FAILED, "detail": SCRIPT, "advice": SCRIPT}])},
        {"changes": Changes(SCRIPT, [Row(SCRIPT, SCRIPT, "")], SCRIPT)},
        {"facts": [(SCRIPT, SCRIPT)]},
        {"links": [(SCRIPT, SCRIPT)]},
        {"reasons": [SCRIPT]},
        {"tables": [(SCRIPT, 1)]},
        {"stages": [{"title": SCRIPT, "key": SCRIPT, "cached": False, "seconds": 1}]},
        {"reward": {**VALUES["reward"], "kind": SCRIPT}},
        {"sealed": {"fold": SCRIPT, "rows": [{"label": SCRIPT, "before": SCRIPT, "after": SCRIPT}], "reasons": [SCRIPT]}},
    ],
)
def test_a_script_in_a_list_is_only_text(values: dict[str, object]) -> None:
    page = render({**VALUES, **values}, [])
    assert scripts(page) == [FILTER]
    assert "&lt;script&gt;" in page


def test_a_sample_is_shown_through_visible() -> None:
    page = render({**VALUES, "groups": grouped([pair("p", "", "\u202eabc\x07")])}, [])
    assert "\\u202eabc\\u0007" in page
    assert "\u202e" not in page


@pytest.mark.parametrize("where", ["name", "rival", "stop", "recipe"])
def test_characters_that_nobody_would_see_are_written_out(where: str) -> None:
    page = render({**VALUES, where: "\u202eabc"}, [])
    assert "\\u202eabc" in page
    assert "\u202e" not in page


def test_an_image_is_whole_however_long() -> None:
    points = [{"n": n, "gold": 0.5, "gold_low": 0.4, "gold_high": 0.6, "proxy": 0.5} for n in (1, 2, 4)]
    page = render({**VALUES, "plots": reward_plots({"best_of_n": points})}, [])
    (image,) = re.findall(r'data:image/svg\+xml;base64,([^"]*)"', page)
    assert len(image) > MAX_TEXT
    assert base64.b64decode(image).rstrip().endswith(b"</svg>")


def test_the_page_may_load_nothing() -> None:
    page = render(VALUES, POINTS)
    assert "default-src 'none'; img-src data:; style-src 'sha256-" in page
    assert "unsafe" not in page
    assert re.findall(r'(?:src|href)="(?!data:)([^"]*)', page) == ["index.html"]


def test_the_policy_admits_our_style_and_script_by_their_hashes() -> None:
    page = render(VALUES, [])
    for part, source in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(f"<{part}>(.*?)</{part}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{source} 'sha256-{digest}'" in page


HOSTILE = st.text() | st.sampled_from(
    [
        "</script><script>alert(1)</script>",
        "<img src=x onerror=alert(1)>",
        '" onfocus="alert(1)" tabindex="1',
        "</style>",
        "\u202e",
    ]
)


@settings(max_examples=30, deadline=None)
@given(HOSTILE, HOSTILE, HOSTILE, HOSTILE)
def test_whatever_a_text_is_it_makes_no_element_attribute_or_script(prompt: str, before: str, after: str, other: str) -> None:
    told = Told(other, f"the champion {other}", other, other)
    changes = Changes("1", [Row(other, before, after)], other)
    groups = grouped([pair(prompt, before, after, other)])
    hostile = {**VALUES, "told": told, "name": other, "recipe": other, "changes": changes, "groups": groups}
    page = render(hostile, [])
    assert elements(page) <= elements(render(VALUES, [])) | {
        ("code", ()),
        ("span", ("class", "tabindex", "data-tip", "aria-description")),
    }
    assert scripts(page) == [FILTER]
    assert not {"\u202e", "\x00", "\u200f"} & set(page)


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
    assert "How training went" not in render(VALUES, [])


def test_a_single_point_is_no_curve() -> None:
    assert training_plot(POINTS[:1]) is None


def test_the_training_curves_are_part_of_the_page() -> None:
    page = render(VALUES, POINTS)
    assert "How training went" in page
    assert 'aria-label="reward: 0 at step 0, 0.4 at step 4"' in page


def test_the_report_of_a_run_that_ended_early_can_be_rendered() -> None:
    page = render({**VALUES, "tone": "bad", "dev": [], "groups": [], "chosen_step": None, "spent": []}, [])
    assert "verdict bad" in page
    assert "sampled accuracy" not in page
    assert "side by side" not in page


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
    assert page.count("Confusion, ") == 2
    assert scripts(page) == [FILTER]


def test_without_labels_or_with_too_many_there_is_no_confusion_matrix() -> None:
    many = {"challenger_sampled": {"labels": [str(n) for n in range(21)], "counts": [[1] * 22] * 21}}
    assert confusion_tables({}) == confusion_tables(many) == []
    assert "Confusion, " not in render(VALUES, [])


def test_a_failed_check_comes_with_its_remedy_and_a_passed_one_without() -> None:
    shown = render(VALUES, [])
    assert shown.index("Length is not paid.") < shown.index("The better answer gets more.")
    assert "What to do: shorten" in shown
    assert "pairs!" not in shown


def test_what_was_not_measured_is_told_apart_from_what_passed() -> None:
    unknown = {
        **PASSED,
        "name": "sycophancy",
        "value": None,
        "low": None,
        "high": None,
        "state": "not measured",
        "detail": "no claims",
    }
    shown = render({**VALUES, "checks": shown_checks([PASSED, unknown])}, [])
    before, after = shown.split("1 not measured")
    assert "no claims" in after.split("1 passed")[0]
    assert "no claims" not in before


def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render({k: v for k, v in VALUES.items() if k != "stop"}, [])


def test_dev_rows_set_before_beside_after() -> None:
    rows = dev_rows(SUMMARY)
    assert interval_text(FIGURE) == "0.912 (0.880 to 0.936)"
    assert len(rows) == 5
    assert rows[0] == {"label": "sampled accuracy", "before": interval_text(FIGURE), "after": interval_text(FIGURE)}


def test_a_stop_is_shown_with_its_reason() -> None:
    assert "Training was stopped" not in render(VALUES, [])
    assert "length (24.7, limit 21.4)" in render({**VALUES, "stop": "length (24.7, limit 21.4)"}, [])


def test_the_proxy_is_drawn_beside_gold() -> None:
    gold = [(step, {"eval_sampled_accuracy": 0.5}) for step in range(3)]
    both = [(step, {**values, "eval_proxy": float(step)}) for step, values in gold]
    alone, beside = training_plot(gold), training_plot(both)
    assert alone and beside
    assert b"#b3261e" in beside and b"#b3261e" not in alone


def test_measures_of_one_arm_alone_have_a_dash() -> None:
    summary: dict[str, Any] = {
        **SUMMARY,
        "challenger_sampled": {**ARM, "kl_incumbent": FIGURE, "pass@2": {**FIGURE, "low": None}},
    }
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


@pytest.mark.parametrize(("value", "said"), [(None, False), (0.2, True)], ids=["nothing to measure", "failed"])
def test_a_check_that_the_recipe_accepts_without_anything_to_measure_has_not_failed(value: float | None, said: bool) -> None:
    accepted = {**FAILED, "state": "waived", "waived": "no pairs", "value": value}
    shown = render({**VALUES, "checks": shown_checks([PASSED, accepted])}, [])
    assert ("Trained against a reward that failed 1 of its checks" in shown) is said
    assert ("Yes, but for what the recipe accepts" in shown) is said
