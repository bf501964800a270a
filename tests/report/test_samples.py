"""Answers of both models are paired by item and sample, sorted by how much they changed, and all are counted."""

import pytest

from ratchet.components.records import ItemResult
from ratchet.components.report.samples import PER_KIND, Answer, grouped, paired


def result(item: str, score: float | None, passed: bool | None = None, sample: int = 0, fault: str | None = None) -> ItemResult:
    text = f"{item} scored {score}"
    return ItemResult(item, f"prompt {item}", text, passed, score, 3, True, None, sample=sample, fault=fault)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        ((1.0, True), (0.0, False), "worse"),
        ((0.0, False), (1.0, True), "better"),
        ((0.0, False), (0.0, False), "wrong"),
        ((1.0, True), (1.0, True), "right"),
        ((0.5, None), (0.5, None), "same"),
        ((0.5, None), (0.4, None), "worse"),
        ((None, None), (1.0, True), "unjudged"),
        ((1.0, True), (None, None), "unjudged"),
    ],
)
def test_a_pair_is_of_the_kind_of_its_change(
    before: tuple[float | None, bool | None], after: tuple[float | None, bool | None], kind: str
) -> None:
    (pair,) = paired([result("a", *before)], [result("a", *after)], {"a": "r"})
    assert pair.kind == kind
    assert pair.reference == "r"


def test_the_worst_regressions_come_first() -> None:
    changes = {"a": -0.1, "b": 0.4, "c": -0.7, "d": -0.3}
    pairs = paired(
        [result(item, 1.0) for item in changes], [result(item, 1.0 + change) for item, change in changes.items()], {}
    )
    worse, better = grouped(pairs)
    assert [pair.id for pair in worse.shown] == ["c", "d", "a"]
    assert [pair.id for pair in better.shown] == ["b"]


def test_samples_of_an_item_are_paired_by_their_number() -> None:
    before = [result("a", 0.0, False, sample=0), result("a", 1.0, True, sample=1)]
    after = [result("a", 1.0, True, sample=1), result("a", 0.0, False, sample=0)]
    assert [pair.kind for pair in paired(before, after, {})] == ["right", "wrong"]


def test_many_pairs_are_counted_and_some_shown() -> None:
    results = [result(str(number), 1.0, True) for number in range(PER_KIND + 3)]
    (group,) = grouped(paired(results, results, {}))
    assert (group.count, len(group.shown)) == (PER_KIND + 3, PER_KIND)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer("", 1.0, True, None), "right"),
        (Answer("", 0.3, False, None), "wrong, score 0.3"),
        (Answer("", 0.25, None, None), "score 0.25"),
        (Answer("", None, None, "timeout"), "not judged (timeout)"),
    ],
)
def test_a_grade_in_words(answer: Answer, said: str) -> None:
    assert answer.said == said
