"""Checks in words: each one has its own, none is a name of the code, and the worst come first."""

import re

import pytest

from ratchet.components.report.checks import WORDS, shown_checks, titles, words_of
from tests.places import ROOT

CHECK = {"name": "pair_accuracy", "value": 0.9, "low": 0.855, "high": 0.95, "threshold": 0.65, "state": "passed",
         "advice": "more pairs", "detail": "of 100 pairs", "waived": None}  # fmt: skip
TABLE = re.compile(r"^\| ((?:`[a-z_]+`(?:, )?)+) \|", re.MULTILINE)


def documented() -> set[str]:
    """The checks that docs/rewards.md lists in its two tables."""
    text = (ROOT / "docs" / "rewards.md").read_text()
    tables = [text.split(f"\n| check | {second} |")[1].split("\n\n")[0] for second in ("what", "figure")]
    return {name for table in tables for cell in TABLE.findall(table) for name in re.findall(r"`([a-z_]+)`", cell)}


def test_every_check_that_is_documented_has_words_and_no_other() -> None:
    assert WORDS.keys() == documented()


@pytest.mark.parametrize("name", WORDS)
def test_words_are_sentences_without_a_name_of_the_code(name: str) -> None:
    words = words_of(name)
    assert words.meaning.endswith(".")
    assert "_" not in words.title + words.meaning


def test_what_failed_comes_first_and_what_was_not_measured_before_what_passed() -> None:
    states = ["passed", "not measured", "waived", "failed"]
    found = shown_checks([{**CHECK, "state": state, "waived": "known"} for state in states])
    assert [check.state for check in found] == ["failed", "waived", "not measured", "passed"]
    assert [check.light for check in found] == ["bad", "warn", "", "good"]
    assert [check.remedy for check in found] == ["more pairs", "", "", ""]
    assert found[1].detail == "known"


@pytest.mark.parametrize(
    ("values", "measured", "asked"),
    [
        ({}, "90% (85.5 to 95)", "at least 65%"),
        ({"name": "sycophancy", "low": None, "threshold": 0.25}, "0.9 sd", "at most 0.25 sd"),
        ({"name": "range", "low": None, "threshold": 0.0}, "0.9", "more than 0"),
        ({"name": "identity", "value": None, "low": None}, "", ""),
        ({"name": "finiteness", "value": None, "low": None, "threshold": 1.0}, "", "at least 100%"),
        ({"name": "of_another_release", "low": None}, "0.9", "limit 0.65"),
    ],
)
def test_figures_have_their_units(values: dict[str, object], measured: str, asked: str) -> None:
    (check,) = shown_checks([{**CHECK, **values}])
    assert (check.measured, check.asked) == (measured, asked)


def test_a_check_of_another_release_is_called_by_its_name() -> None:
    assert titles(["gold_planted", "of_another_release"]) == "“Wrong answers are caught”, “Of another release”"
