"""Figures of a retired fold in words."""

import pytest

from ratchet.components.report.sealed import rule_text, sealed_rows


def test_both_arms_stand_in_one_row_and_every_label_is_in_words() -> None:
    figures = {
        "challenger_accuracy": 0.94, "incumbent_accuracy": 0.61, "gain": 0.33, "gain_low": 0.2, "gain_high": 0.4,
        "items": 100.0, "wins": 35.0, "losses": 2.0, "p_value": 0.00123456,
        "challenger_length on sealed": 11.5, "incumbent_length on sealed": 12.0,
        "challenger_accuracy on guard": 0.5, "challenger_accuracy on school": 0.25,
        "challenger_accuracy on sealed, slice long": 0.75, "p_value_with_guards": 1.0,
    }  # fmt: skip
    assert [tuple(row.values()) for row in sealed_rows(figures)] == [
        ("sampled accuracy", "0.61", "0.94"),
        ("unseen examples", "", "100"),
        ("right only after", "", "35"),
        ("right only before", "", "2"),
        ("p-value of the test", "", "0.001235"),
        ("mean length (tokens)", "12", "11.5"),
        ("sampled accuracy, guard", "-", "0.5"),
        ("accuracy, school", "-", "0.25"),
        ("sampled accuracy, sealed, slice long", "-", "0.75"),
    ]


def test_the_level_stands_beside_the_p_value() -> None:
    (row,) = sealed_rows({"p_value": 0.02139}, 0.45)
    assert row == {"label": "p-value of the test", "before": "", "after": "0.02139, must be at most 0.45"}


FIGURES = {
    "challenger_length on sealed": 11.6, "incumbent_length on sealed": 11.3, "challenger_kl on sealed": 0.9,
    "challenger_accuracy on guard": 0.5, "incumbent_accuracy on guard": 0.75,
}  # fmt: skip


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "primary: exact McNemar, one sample per item, p = 0.0214 against alpha 0.45: held",
            "Better on unseen examples (exact McNemar, one sample per item): p = 0.0214, must be at most 0.45. Held.",
        ),
        (
            "primary macro_f1: clustered t, p = 0.5 against alpha 0.05: failed",
            "Better in macro-F1 on unseen examples (clustered t): p = 0.5, must be at most 0.05. Failed.",
        ),
        ("floor: accuracy above 0 (bound 0.575): held", "Accuracy above 0: surely at least 0.575. Held."),
        (
            "guard: length on sealed: at most 10 times the incumbent's (bound -101): held",
            "Mean length (tokens): 11.6 against 11.3; must be at most 10 times the incumbent's. Held.",
        ),
        (
            "guard: kl on sealed: at most 20 (bound 0.99): held",
            "KL to the starting policy (nats per completion): 0.9; must be at most 20, is surely at most 0.99. Held.",
        ),
        (
            "guard: accuracy on guard: worse than the incumbent by less than 0.02 (bound 0.3): failed",
            "Accuracy, guard: 0.5 against 0.75; may be worse than the incumbent by less than 0.02, is worse by at most 0.3. "
            "Failed.",
        ),
        (
            "guard: accuracy on sealed, slice long: worse than the incumbent by less than 0.02 (bound -0.1): held",
            "Accuracy, slice long: may be worse than the incumbent by less than 0.02, is surely better. Held.",
        ),
        ("guard: accuracy on sealed, slice long: no item belongs to the slice: failed",) * 2,
        ("there are no sealed items",) * 2,
    ],
)
def test_rules_are_sentences_and_those_of_another_form_stay(reason: str, said: str) -> None:
    assert rule_text(reason, FIGURES) == said


def test_of_several_primary_measures_each_has_its_p_value() -> None:
    rows = sealed_rows({"gain_macro_f1": 0.1, "p_value_macro_f1": 0.5, "p_value": 0.5})
    assert [row["label"] for row in rows] == ["p-value of the test, macro-F1", "p-value of the test"]
